/* In what order streams are told: the same as Teller of _inspect/telling.py. */

#include "copies.h"
#include "handled.h"
#include "places.h"

/* Finds since when a stream exists, as far as that is known; -1: an error is set. */
static int
find_since(Look *look, PyObject *stream, double *since)
{
    StreamFields *fields = (StreamFields *)stream;
    PyObject *found;
    Started started;
    if (fields->origin == NULL && fields->noted.code != NULL) {
        *since = fields->noted.since;
        return 0;
    }
    if (fields->origin != NULL && fields->origin != Py_None) {
        int is_known = grpc_guard_started(look, fields->origin, &started);
        if (is_known != 0) {
            *since = started.since;
            return is_known < 0 ? -1 : 0;
        }
        found = PyObject_GetAttr(fields->origin, look->names[SINCE]);
    }
    else {
        const HandledOne *one = grpc_guard_handled_by(look->begun, (uintptr_t)stream);
        *since = one == NULL ? look->present : one->since;
        return 0;
    }
    *since = found == NULL ? -1.0 : PyFloat_AsDouble(found);
    Py_XDECREF(found);
    return *since == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* Finds since when the streams exist; -1: an error is set. */
static int
place_by_since(State *state, Look *look, PyObject *streams, const Copies *copies, Place *places)
{
    Py_ssize_t count = PyList_GET_SIZE(streams);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i >= PyList_GET_SIZE(streams)) {
            return 0; /* see put_in_order() */
        }
        PyObject *stream = PyList_GET_ITEM(streams, i);
        if (i + 12 < PyList_GET_SIZE(streams)) {
            FETCH_LINES(PyList_GET_ITEM(streams, i + 12), copies != NULL ? 112 : sizeof(StreamFields));
        }
        PyObject *next = i + 9 < PyList_GET_SIZE(streams) ? PyList_GET_ITEM(streams, i + 9) : NULL;
        if (next != NULL && copies != NULL && IS_STREAM(state, next)) {
            FETCH(grpc_guard_box_of(copies, (StreamFields *)next));
        }
        PyObject *later = i + 6 < PyList_GET_SIZE(streams) ? PyList_GET_ITEM(streams, i + 6) : stream;
        if (PyObject_TypeCheck(later, state->stream_fields)
            && grpc_guard_copy_of(copies, (StreamFields *)later) == NULL) {
            FETCH_LINES(((StreamFields *)later)->origin, 96);
        }
        places[i] = (Place){.at = i, .stream = stream};
        if (!IS_STREAM(state, stream)) {
            PyErr_Format(PyExc_TypeError, "%R is no stream", stream);
            return -1;
        }
        StreamFields *fields = (StreamFields *)stream;
        const Copied *one = grpc_guard_copy_of(copies, fields);
        places[i].before = one == NULL ? 0 : one->number;
        if (one != NULL && one->origin == fields->origin && one->origin != NULL && one->origin != Py_None) {
            places[i].since = one->began;
        }
        else if (find_since(look, stream, &places[i].since) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Puts a list in the order of these places. Python code may have run since they were found; -1: an error is
 * set. */
static int
put_in_order(PyObject *streams, Place *places, Py_ssize_t count)
{
    int is_same = PyList_GET_SIZE(streams) == count;
    for (Py_ssize_t i = 0; is_same && i < count; i++) {
        is_same = PyList_GET_ITEM(streams, i) == places[i].stream;
    }
    if (!is_same) {
        PyErr_SetString(PyExc_RuntimeError, "the list was changed while it was sorted");
        return -1;
    }
    if (!grpc_guard_are_sorted(places, count)) {
        Place *in_order = grpc_guard_sort_places(places, places + count, count);
        for (Py_ssize_t i = 0; i < count; i++) {
            PyList_SET_ITEM(streams, i, in_order[i].stream);
        }
    }
    return 0;
}

/* oldest_first(streams, begun, present, copies): sorts a list of streams, those first that began first;
 * `copies` may be None. See Teller. */
static PyObject *
oldest_first(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    Look look = {0};
    PyObject *streams, *copies;
    if (!PyArg_ParseTuple(args, "O!O!dO:oldest_first", &PyList_Type, &streams, state->handled,
                          &look.begun, &look.present, &copies)) {
        return NULL;
    }
    if (copies != Py_None && !Py_IS_TYPE(copies, state->copies)) {
        return PyErr_Format(PyExc_TypeError, "%R is not what the last answer said", copies);
    }
    Py_ssize_t count = PyList_GET_SIZE(streams);
    Place *places = PyMem_Malloc((2 * (size_t)count + 1) * sizeof(Place)); /* to be sorted: see grpc_guard_sort_places() */
    int failed = places == NULL;
    if (failed) {
        PyErr_NoMemory();
    }
    failed = failed || grpc_guard_take_names(&look) < 0
             || place_by_since(state, &look, streams, copies == Py_None ? NULL : (Copies *)copies, places) < 0
             || put_in_order(streams, places, count) < 0;
    grpc_guard_forget_look(&look);
    PyMem_Free(places);
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef module_methods[] = {
    {"oldest_first", oldest_first, METH_VARARGS, "Put streams in their order: see Teller."},
    {NULL},
};

int
grpc_guard_add_oldest(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
