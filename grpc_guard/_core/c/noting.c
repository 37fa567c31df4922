/* Who is inside which direction: noted for many tasks at once, see _inspect/sight.py. */

#include "looks.h"

enum { ITS_SINCE, ITS_STREAM, ITS_READ, ITS_WRITE, NOTING_NAMES };
static const char *const names[NOTING_NAMES] = {"since", "stream", "read", "write"};

static int
intern(PyObject **interned)
{
    for (int i = 0; i < NOTING_NAMES; i++) {
        interned[i] = PyUnicode_InternFromString(names[i]);
        if (interned[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

static void
let_go(PyObject **interned)
{
    for (int i = 0; i < NOTING_NAMES; i++) {
        Py_XDECREF(interned[i]);
    }
}

/* What is the same for all who are noted; borrowed. */
typedef struct {
    Maker *new_owner;
    PyObject *kind, *operation, *stack, *relation;
    int is_timed;
    double time;
    PyObject *directions, *holders, *owners; /* tables by the identity of directions */
} Noting;

/* Returns for how many seconds somebody has been inside a direction. */
static PyObject *
held(Noting *self, PyObject *direction, PyObject *str_since)
{
    double since = self->time;
    if (self->is_timed) {
        PyObject *noted = PyObject_GetAttr(direction, str_since);
        since = noted == NULL ? -1.0 : PyFloat_AsDouble(noted);
        Py_XDECREF(noted);
        if (since == -1.0 && PyErr_Occurred()) {
            return NULL;
        }
    }
    return PyFloat_FromDouble(since < self->time ? self->time - since : 0.0);
}

static int
note_one(Noting *self, PyObject *task, PyObject *name, PyObject *direction, PyObject *str_since)
{
    PyObject *values[7] = {NULL};
    int count = 0, is_whole = 1;
    NEXT(Py_NewRef(self->kind));
    NEXT(Py_NewRef(name));
    NEXT(Py_NewRef(self->operation));
    NEXT(held(self, direction, str_since));
    NEXT(Py_NewRef(self->stack));
    NEXT(Py_NewRef(self->relation));
    NEXT(Py_NewRef(Py_None));
    PyObject *owner = grpc_guard_make_record(self->new_owner, values);
    PyObject *key = owner == NULL ? NULL : PyLong_FromVoidPtr(direction);
    int failed = key == NULL || PyDict_SetItem(self->directions, key, direction) < 0
                 || PyDict_SetItem(self->holders, key, task) < 0
                 || PyDict_SetItem(self->owners, key, owner) < 0;
    Py_XDECREF(key);
    Py_XDECREF(owner);
    return failed ? -1 : 0;
}

/* note_owners(tasks, names, directions, and what Noting borrows). */
static PyObject *
note_owners(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    Noting self;
    PyObject *interned[NOTING_NAMES] = {NULL}, *tasks, *called, *directions;
    if (!PyArg_ParseTuple(args, "O!O!O!O!OOOOpdO!O!O!:note_owners", &PyList_Type, &tasks,
                          &PyList_Type, &called, &PyList_Type, &directions, state->maker,
                          &self.new_owner, &self.kind, &self.operation, &self.stack,
                          &self.relation, &self.is_timed, &self.time, &PyDict_Type,
                          &self.directions, &PyDict_Type, &self.holders, &PyDict_Type,
                          &self.owners)) {
        return NULL;
    }
    if (Py_SIZE(self.new_owner) != 7) {
        PyErr_SetString(PyExc_TypeError, "an owner has seven fields");
        return NULL;
    }
    int failed = intern(interned) < 0;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(directions); i++) {
        if (i >= PyList_GET_SIZE(tasks) || i >= PyList_GET_SIZE(called)) {
            PyErr_SetString(PyExc_ValueError, "fewer tasks or names than directions");
            failed = 1;
            break;
        }
        failed = note_one(&self, PyList_GET_ITEM(tasks, i), PyList_GET_ITEM(called, i),
                          PyList_GET_ITEM(directions, i), interned[ITS_SINCE]) < 0;
    }
    let_go(interned);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* Tells whether a stream has this direction under this name; -1: an error is set. */
static int
has(PyObject *stream, PyObject *name, PyObject *direction)
{
    PyObject *its = PyObject_GetAttr(stream, name);
    Py_XDECREF(its);
    return its == NULL ? -1 : its == direction;
}

/* strays(directions, streams): those that their streams do not know; adds what `streams` lacks. */
static PyObject *
strays(PyObject *module, PyObject *args)
{
    PyObject *interned[NOTING_NAMES] = {NULL}, *directions, *streams;
    if (!PyArg_ParseTuple(args, "O!O!:strays", &PyList_Type, &directions, &PyDict_Type, &streams)) {
        return NULL;
    }
    PyObject *found = PyList_New(0);
    int failed = found == NULL || intern(interned) < 0;
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(directions); i++) {
        PyObject *direction = Py_NewRef(PyList_GET_ITEM(directions, i));
        PyObject *stream = PyObject_GetAttr(direction, interned[ITS_STREAM]);
        PyObject *key = stream == NULL ? NULL : PyLong_FromVoidPtr(stream);
        int is_known = key == NULL || PyDict_SetDefault(streams, key, stream) == NULL
                           ? -1
                           : has(stream, interned[ITS_READ], direction);
        if (is_known == 0) {
            is_known = has(stream, interned[ITS_WRITE], direction);
        }
        failed = is_known < 0 || (is_known == 0 && PyList_Append(found, direction) < 0);
        Py_XDECREF(key);
        Py_XDECREF(stream);
        Py_DECREF(direction);
    }
    let_go(interned);
    if (failed) {
        Py_CLEAR(found);
    }
    return found;
}

static PyMethodDef module_methods[] = {
    {"note_owners", note_owners, METH_VARARGS, "Note tasks as the owners of directions."},
    {"strays", strays, METH_VARARGS, "Return the directions that their streams do not know."},
    {NULL},
};

int
grpc_guard_add_noting(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
