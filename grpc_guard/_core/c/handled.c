/* The streams that the tasks of servers handle: the same as Handlers.streams() and Handled.begun(). */

#include "looks.h"

enum { TASK, WHAT, SINCE_WHEN, ENTRY_NAMES };
static const char *const names[ENTRY_NAMES] = {"task", "what", "since"};

/* Puts the stream that a task handles, and since when, into a table, in place of what it handled
 * before; -1: an error is set. */
static int
put_handled(State *state, PyObject *found, PyObject *task, PyObject *what, PyObject *since)
{
    StreamFields *stream =
        IS_STREAM(state, what) ? (StreamFields *)what : NULL;
    int has_ended = stream == NULL || stream->ended == NULL ? 0 : PyObject_IsTrue(stream->ended);
    if (has_ended != 0) {
        return has_ended < 0 ? -1 : 0;
    }
    PyObject *key = PyLong_FromVoidPtr(task);
    PyObject *both = key == NULL ? NULL : PyTuple_Pack(2, stream == NULL ? Py_None : what, since);
    int failed = both == NULL || PyDict_SetItem(found, key, both) < 0;
    Py_XDECREF(both);
    if (!failed && stream == NULL) {
        failed = PyDict_DelItem(found, key) < 0; /* a unary RPC */
    }
    Py_XDECREF(key);
    return failed ? -1 : 0;
}

static int
look_at_entry(State *state, PyObject *found, PyObject *entry, PyObject **interned)
{
    PyObject *values[ENTRY_NAMES] = {NULL};
    int count = 0, is_whole = 1;
    for (int i = 0; i < ENTRY_NAMES; i++) {
        NEXT(PyObject_GetAttr(entry, interned[i]));
    }
    PyObject *task = is_whole ? grpc_guard_led_to(values[TASK]) : NULL;
    int failed = task == NULL;
    if (!failed && task != Py_None) {
        failed = put_handled(state, found, task, values[WHAT], values[SINCE_WHEN]) < 0;
    }
    Py_XDECREF(task);
    for (int i = 0; i < ENTRY_NAMES; i++) {
        Py_XDECREF(values[i]);
    }
    return failed ? -1 : 0;
}

/* handled(entries): what Handlers.streams() says of these entries of tasks. */
static PyObject *
handled(PyObject *module, PyObject *entries)
{
    State *state = PyModule_GetState(module);
    PyObject *interned[ENTRY_NAMES] = {NULL};
    if (!PyList_Check(entries)) {
        return PyErr_Format(PyExc_TypeError, "handled() takes a list, not %R", entries);
    }
    PyObject *found = PyDict_New();
    int failed = found == NULL;
    for (int i = 0; !failed && i < ENTRY_NAMES; i++) {
        interned[i] = PyUnicode_InternFromString(names[i]);
        failed = interned[i] == NULL;
    }
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(entries); i++) {
        failed = look_at_entry(state, found, PyList_GET_ITEM(entries, i), interned) < 0;
    }
    for (int i = 0; i < ENTRY_NAMES; i++) {
        Py_XDECREF(interned[i]);
    }
    if (failed) {
        Py_CLEAR(found);
    }
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
