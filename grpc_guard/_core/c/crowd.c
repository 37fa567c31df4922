/* Tasks that were seen in directions: the same as Crowd of _inspect/noting.py.
 *
 * A look notes thousands of them. They become records when somebody asks for one.
 */

#include "crowds.h"

enum { FEWEST = 64 };

/* Returns where a direction is noted in the index, or would be. */
static unsigned int *
spot_of(const Crowd *self, PyObject *direction)
{
    size_t at = grpc_guard_hashed(direction) & self->mask;
    while (self->index[at] != 0 && self->noted[self->index[at] - 1].direction != direction) {
        at = (at + 1) & self->mask;
    }
    return &self->index[at];
}

const Noted *
grpc_guard_seen_in(const Crowd *self, PyObject *direction)
{
    unsigned int at = self->count == 0 ? 0 : *spot_of(self, direction);
    return at == 0 || self->noted[at - 1].task == NULL ? NULL : &self->noted[at - 1];
}

/* Makes room for one more; -1: an error is set. */
static int
make_room(Crowd *self)
{
    if (self->count < self->room) {
        return 0;
    }
    Py_ssize_t room = self->room == 0 ? FEWEST : 2 * self->room;
    Noted *noted = PyMem_Realloc(self->noted, (size_t)room * sizeof(Noted));
    if (noted == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->noted = noted;
    unsigned int *index = PyMem_Calloc((size_t)(2 * room), sizeof(unsigned int));
    if (index == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(self->index);
    self->index = index;
    self->mask = (size_t)(2 * room) - 1;
    self->room = room;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        *spot_of(self, noted[i].direction) = (unsigned int)i + 1;
    }
    return 0;
}

Noted *
grpc_guard_note_one(Crowd *self, PyObject *direction, PyObject *task, double held)
{
    if (make_room(self) < 0) {
        return NULL;
    }
    unsigned int *spot = spot_of(self, direction);
    if (*spot == 0) {
        self->noted[self->count++] = (Noted){.direction = Py_NewRef(direction)};
        *spot = (unsigned int)self->count;
    }
    Noted *noted = &self->noted[*spot - 1];
    SET(noted->task, Py_NewRef(task));
    noted->name = NULL;
    noted->held = held;
    noted->said = (int)self->said_count - 1;
    return noted;
}

int
grpc_guard_say(Crowd *self, PyObject *operation, PyObject *stack)
{
    Said *last = self->said_count == 0 ? NULL : &self->said[self->said_count - 1];
    if (last != NULL && last->operation == operation && last->stack == stack) {
        return 0;
    }
    Said *said = PyMem_Realloc(self->said, (size_t)(self->said_count + 1) * sizeof(Said));
    if (said == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->said = said;
    said[self->said_count++] = (Said){Py_NewRef(operation), Py_NewRef(stack)};
    return 0;
}

PyObject *
grpc_guard_name_of(Crowd *self, PyObject *task)
{
    PyObject *name = PyObject_CallMethodNoArgs(task, self->get_name);
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
