/* The frames of all threads, and which threads may be inside of something: see _inspect/threads.py. */

#include "callers.h"
#include "core.h"

#include <frameobject.h>

/* Returns a frame and those that called it, innermost first, in a list. */
static PyObject *
chain_from(PyObject *innermost)
{
    PyObject *chain = PyList_New(0), *frame = Py_NewRef(innermost);
    while (chain != NULL && frame != NULL) {
        if (PyList_Append(chain, frame) < 0) {
            Py_CLEAR(chain);
            break;
        }
        Py_SETREF(frame, (PyObject *)PyFrame_GetBack((PyFrameObject *)frame));
        if (frame == NULL && PyErr_Occurred()) {
            Py_CLEAR(chain);
        }
    }
    Py_XDECREF(frame);
    return chain;
}

/* Tells whether a dict or set of identities has this one; -1: an error is set. */
static int
has(PyObject *identities, const void *object)
{
    PyObject *key = PyLong_FromVoidPtr((void *)object);
    int is_there = key == NULL ? -1 : PySequence_Contains(identities, key);
    Py_XDECREF(key);
    return is_there;
}

/* Finds the frames of a chain that called what is noted, and whether the code of one is marked; -1: an error is set. */
static int
find(PyObject *chain, PyObject *noted, PyObject *marked, PyObject *callers, int *is_marked)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(chain); i++) {
        PyObject *frame = PyList_GET_ITEM(chain, i);
        int is_caller = has(noted, grpc_guard_key_of(frame));
        if (is_caller > 0) {
            PyObject *index = PyLong_FromSsize_t(i);
            is_caller = index == NULL ? -1 : PyList_Append(callers, index);
            Py_XDECREF(index);
        }
        if (is_caller < 0) {
            return -1;
        }
        if (!*is_marked) {
            PyCodeObject *code = PyFrame_GetCode((PyFrameObject *)frame);
            *is_marked = has(marked, code);
            Py_DECREF(code);
            if (*is_marked < 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* Adds a thread to `met` if there is something about it; takes the reference to `callers`; -1: an error is set. */
static int
meet(PyObject *met, PyObject *ident, PyObject *chain, PyObject *callers, int is_marked, int meets_all)
{
    if (!is_marked && !meets_all && PyList_GET_SIZE(callers) == 0) {
        Py_DECREF(callers);
        return 0;
    }
    PyObject *one = Py_BuildValue("(OONO)", ident, chain, callers, is_marked ? Py_True : Py_False);
    int failed = one == NULL || PyList_Append(met, one) < 0;
    Py_XDECREF(one);
    return failed ? -1 : 0;
}

static int
look_at(PyObject *chains, PyObject *met, PyObject *frames, PyObject *noted, PyObject *marked)
{
    PyObject *ident, *innermost;
    Py_ssize_t at = 0;
    int meets_all = PyDict_Contains(noted, Py_None);
    while (meets_all >= 0 && PyDict_Next(frames, &at, &ident, &innermost)) {
        if (!PyFrame_Check(innermost)) {
            PyErr_Format(PyExc_TypeError, "%R is no frame", innermost);
            return -1;
        }
        PyObject *chain = chain_from(innermost), *callers = chain == NULL ? NULL : PyList_New(0);
        int is_marked = 0;
        int failed = callers == NULL || find(chain, noted, marked, callers, &is_marked) < 0
                     || PyDict_SetItem(chains, ident, chain) < 0;
        if (failed) {
            Py_XDECREF(callers);
        }
        else {
            failed = meet(met, ident, chain, callers, is_marked, meets_all) < 0;
        }
        Py_XDECREF(chain);
        if (failed) {
            return -1;
        }
    }
    return meets_all < 0 ? -1 : 0;
}

static PyObject *
look_at_threads(PyObject *module, PyObject *args)
{
    PyObject *frames, *noted, *marked;
    if (!PyArg_ParseTuple(args, "O!O!O!:look_at_threads", &PyDict_Type, &frames, &PyDict_Type, &noted,
                          &PySet_Type, &marked)) {
        return NULL;
    }
    PyObject *chains = PyDict_New(), *met = PyList_New(0), *both = NULL;
    if (chains != NULL && met != NULL && look_at(chains, met, frames, noted, marked) == 0) {
        both = PyTuple_Pack(2, chains, met);
    }
    Py_XDECREF(chains);
    Py_XDECREF(met);
    return both;
}

/* Puts the identity of a frame's code, and the index of its instruction, into a tuple; -1: an error is set. */
static int
put_place(PyObject *places, Py_ssize_t at, PyObject *frame)
{
    if (!PyFrame_Check(frame)) {
        PyErr_Format(PyExc_TypeError, "%R is no frame", frame);
        return -1;
    }
    PyCodeObject *code = PyFrame_GetCode((PyFrameObject *)frame);
    PyObject *identity = PyLong_FromVoidPtr(code);
    PyObject *instruction = PyLong_FromLong(PyFrame_GetLasti((PyFrameObject *)frame));
    Py_DECREF(code);
    if (identity == NULL || instruction == NULL) {
        Py_XDECREF(identity);
        Py_XDECREF(instruction);
        return -1;
    }
    PyTuple_SET_ITEM(places, at, identity);
    PyTuple_SET_ITEM(places, at + 1, instruction);
    return 0;
}

static PyObject *
places_of(PyObject *module, PyObject *frames)
{
    PyObject *all = PySequence_Tuple(frames);
    PyObject *places = all == NULL ? NULL : PyTuple_New(2 * PyTuple_GET_SIZE(all));
    for (Py_ssize_t i = 0; places != NULL && i < PyTuple_GET_SIZE(all); i++) {
        if (put_place(places, 2 * i, PyTuple_GET_ITEM(all, i)) < 0) {
            Py_CLEAR(places);
        }
    }
    Py_XDECREF(all);
    return places;
}

static PyMethodDef module_methods[] = {
    {"look_at_threads", look_at_threads, METH_VARARGS, "See threads.py."},
    {"places_of", places_of, METH_O, "Return identities of code, and indexes of instructions in it."},
    {NULL},
};

int
grpc_guard_add_threads(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
