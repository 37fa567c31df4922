/* Tasks that were seen in directions: the same as Crowd of _inspect/noting.py.
 *
 * A look notes thousands of them. They become records when somebody asks for one.
 */

#include "arrays.h"
#include "crowds.h"

enum { SAID_LAST = 16 };

/* Finds a row without an index, and where there is no memory for one: step by step. */
static Noted *
find_row(const Crowd *self, PyObject *direction)
{
    Noted *all = self->noted.all;
    if (grpc_guard_is_said(self)) {
        if (!IS_AIO_DIRECTION(self->state, direction)) {
            return NULL;
        }
        unsigned int row = ((AioFields *)direction)->row;
        return row < self->noted.count && all[row].direction == direction ? &all[row] : NULL;
    }
    Py_ssize_t at = 0;
    while (at < self->noted.count && all[at].direction != direction) {
        at++;
    }
    return at < self->noted.count ? &all[at] : NULL;
}

static Noted *
find(const Crowd *self, PyObject *direction)
{
    if (self->noted.count == 0) {
        return NULL;
    }
    if (self->noted.index == NULL && !grpc_guard_is_said(self)
        && grpc_guard_make_index(&((Crowd *)self)->noted, sizeof(Noted)) < 0) {
        PyErr_Clear();
    }
    return self->noted.index == NULL ? find_row(self, direction)
                                     : grpc_guard_row_of(&self->noted, sizeof(Noted), (uintptr_t)direction);
}

const Noted *
grpc_guard_find_noted(const Crowd *self, PyObject *direction)
{
    const Noted *noted = find(self, direction);
    return noted == NULL || noted->task == NULL ? NULL : noted;
}

/* Returns the row of a direction, a new one if it has none; NULL: an error is set. */
static Noted *
put(Crowd *self, PyObject *direction)
{
    if (!grpc_guard_is_said(self) || !IS_AIO_DIRECTION(self->state, direction)) {
        return grpc_guard_put_row(&self->noted, sizeof(Noted), (uintptr_t)direction);
    }
    Noted *noted = find_row(self, direction);
    if (noted == NULL) {
        noted = grpc_guard_add_row(&self->noted, sizeof(Noted), (uintptr_t)direction);
        if (noted != NULL) {
            ((AioFields *)direction)->row = (unsigned int)(self->noted.count - 1);
        }
    }
    return noted;
}

Noted *
grpc_guard_note_one(Crowd *self, PyObject *direction, PyObject *task, double held)
{
    Py_ssize_t count = self->noted.count;
    Noted *noted = put(self, direction);
    if (noted == NULL) {
        return NULL;
    }
    if (self->noted.count > count) {
        Py_INCREF(direction);
    }
    SET(noted->task, Py_NewRef(task));
    noted->name = NULL;
    noted->is_listed = 0;
    noted->held = held;
    noted->said = (int)self->saying;
    return noted;
}

int
grpc_guard_say(Crowd *self, PyObject *operation, PyObject *stack)
{
    Py_ssize_t count = self->said_count, first = count > SAID_LAST ? count - SAID_LAST : 0;
    for (Py_ssize_t i = count; i > first; i--) { /* most stand at the same few places, and in no order */
        if (self->said[i - 1].operation == operation && self->said[i - 1].stack == stack) {
            self->saying = i - 1;
            return 0;
        }
    }
    Said *said = grpc_guard_resized(self->said, (size_t)self->said_count + 1, sizeof(Said));
    if (said == NULL) {
        return -1;
    }
    self->said = said;
    self->saying = self->said_count;
    said[self->said_count++] = (Said){Py_NewRef(operation), Py_NewRef(stack)};
    return 0;
}

PyObject *
grpc_guard_name_of(Crowd *self, PyObject *task)
{
    PyObject *name = grpc_guard_name_in_task(self->state, task);
    if (name == NULL || !PyUnicode_Check(name) || PyUnicode_READY(name) < 0) {
        if (name != NULL && !PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "the name of a task is a text");
        }
        Py_CLEAR(name);
    }
    return name;
}

int
grpc_guard_is_named(Crowd *self, const Noted *noted, PyObject *name)
{
    PyObject *its = noted->name;
    if (its == NULL) {
        its = grpc_guard_name_of(self, noted->task);
        Py_XDECREF(its); /* it is held, if it is the same */
    }
    return its == NULL ? -1 : its == name;
}

PyObject *
grpc_guard_shown_name(Crowd *self, PyObject *task)
{
    PyObject *name = grpc_guard_name_of(self, task);
    if (name == NULL) {
        return NULL;
    }
    if (PyUnicode_GET_LENGTH(name) == 0 || PyUnicode_READ_CHAR(name, 0) != 'H') {
        return name; /* see name_of_task() */
    }
    PyObject *shown = PyDict_GetItemWithError(self->names, name);
    Py_XINCREF(shown);
    if (shown == NULL && !PyErr_Occurred()) {
        shown = PyObject_CallOneArg(self->name_of, name);
        if (shown != NULL && PyDict_SetItem(self->names, name, shown) < 0) {
            Py_CLEAR(shown);
        }
    }
    Py_DECREF(name);
    return shown;
}

PyObject *
grpc_guard_noted_owner(Crowd *self, const Noted *noted)
{
    PyObject *values[7] = {NULL};
    int count = 0, is_whole = 1;
    NEXT(Py_NewRef(self->kind));
    NEXT(grpc_guard_shown_name(self, noted->task));
    NEXT(Py_NewRef(self->said[noted->said].operation));
    NEXT(PyFloat_FromDouble(noted->held));
    NEXT(Py_NewRef(self->said[noted->said].stack));
    NEXT(Py_NewRef(self->relation));
    NEXT(Py_NewRef(Py_None));
    return grpc_guard_make_record(self->new_owner, values);
}
