/* The streams that the tasks of servers handle: the same as Handlers.streams() and Handled.begun(). */

#include "looks.h"
#include "entries.h"

/* Puts the stream of an entry, and since when it is handled, into a table; -1: an error is set. */
static int
put_handled(State *state, PyObject *found, PyObject *reference, Entry *entry)
{
    if (!Py_IS_TYPE(entry, state->entry)) {
        return 0; /* of a unary RPC */
    }
    PyObject *stream = grpc_guard_led_to(entry->stream);
    PyObject *task = stream == NULL ? NULL : grpc_guard_led_to(reference);
    int failed = task == NULL;
    if (!failed && task != Py_None && PyObject_TypeCheck(stream, state->stream_fields)) {
        PyObject *key = PyLong_FromVoidPtr(task);
        PyObject *both = key == NULL ? NULL : Py_BuildValue("(Od)", stream, entry->since);
        failed = both == NULL || PyDict_SetItem(found, key, both) < 0;
        Py_XDECREF(both);
        Py_XDECREF(key);
    }
    Py_XDECREF(stream);
    Py_XDECREF(task);
    return failed ? -1 : 0;
}

enum { STEPS = 3 };

/* Has what the next entry leads to fetched: the entry itself, its references, or what they lead to. */
static void
fetch_next(State *state, PyObject *by_task, Py_ssize_t *at, int step)
{
    PyObject *reference, *entry;
    if (!PyDict_Next(by_task, at, &reference, &entry)) {
        return;
    }
    if (step == 0) {
        FETCH_LINES(entry, sizeof(Entry));
        FETCH_LINES(reference, 64);
    }
    else if (step == 1 && Py_IS_TYPE(entry, state->entry)) {
        FETCH_LINES(((Entry *)entry)->stream, 64);
        grpc_guard_fetch_led_to(reference, 64);
    }
    else if (Py_IS_TYPE(entry, state->entry)) {
        grpc_guard_fetch_led_to(((Entry *)entry)->stream, 64);
    }
}

/* handled(by_task): the same as the part of Handlers.streams() that is about tasks. */
static PyObject *
handled(PyObject *module, PyObject *by_task)
{
    State *state = PyModule_GetState(module);
    if (!PyDict_Check(by_task)) {
        return PyErr_Format(PyExc_TypeError, "handled() takes a table, not %R", by_task);
    }
    PyObject *copy = PyDict_Copy(by_task), *found = copy == NULL ? NULL : PyDict_New();
    PyObject *reference, *entry;
    Py_ssize_t at = 0, ahead[STEPS] = {0};
    for (int step = 0; found != NULL && step < STEPS; step++) {
        for (int i = 0; i < 6 * (STEPS - step); i++) {
            fetch_next(state, copy, &ahead[step], step);
        }
    }
    while (found != NULL && PyDict_Next(copy, &at, &reference, &entry)) {
        for (int step = 0; step < STEPS; step++) {
            fetch_next(state, copy, &ahead[step], step);
        }
        if (put_handled(state, found, reference, (Entry *)entry) < 0) {
            Py_CLEAR(found);
        }
    }
    Py_XDECREF(copy);
    return found;
}

/* begun(tables): since when each stream of tables like that is handled, by its identity. */
static PyObject *
begun(PyObject *module, PyObject *tables)
{
    if (!PyList_Check(tables)) {
        return PyErr_Format(PyExc_TypeError, "begun() takes a list, not %R", tables);
    }
    PyObject *found = PyDict_New(), *key, *both;
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(tables); i++) {
        Py_ssize_t at = 0;
        PyObject *table = PyList_GET_ITEM(tables, i);
        int failed = !PyDict_Check(table);
        while (!failed && PyDict_Next(table, &at, &key, &both)) {
            failed = !PyTuple_Check(both) || PyTuple_GET_SIZE(both) != 2;
            PyObject *stream = failed ? NULL : PyLong_FromVoidPtr(PyTuple_GET_ITEM(both, 0));
            failed = stream == NULL || PyDict_SetItem(found, stream, PyTuple_GET_ITEM(both, 1)) < 0;
            Py_XDECREF(stream);
        }
        if (failed) {
            Py_CLEAR(found);
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_TypeError, "begun() takes tables of Handlers.streams()");
            }
        }
    }
    return found;
}

static PyMethodDef module_methods[] = {
    {"handled", handled, METH_O, "Return the streams that tasks handle: see Handlers.streams()."},
    {"begun", begun, METH_O, "Return since when streams are handled: see Handled.begun()."},
    {NULL},
};

int
grpc_guard_add_handled(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
