/* Which streams there are: the same as living.py and noting.py of _inspect/. */

#include "crowds.h"

/* Streams by their identity, which their list holds. */
typedef struct {
    PyObject **spots;
    size_t mask;
} Set;

/* Adds a stream: 1 if it was not there, else 0. */
static int
add_to(Set *set, PyObject *stream)
{
    size_t at = grpc_guard_hashed((uintptr_t)stream) & set->mask;
    while (set->spots[at] != NULL) {
        if (set->spots[at] == stream) {
            return 0;
        }
        at = (at + 1) & set->mask;
    }
    set->spots[at] = stream;
    return 1;
}

/* Tells whether a stream knows a direction; -1: an error is set. */
static int
knows(StreamFields *stream, PyObject *direction)
{
    if ((stream->read == Py_True && stream->reader == direction)
        || (stream->write == Py_True && stream->writer == direction)) {
        return 1;
    }
    PyObject *reader = grpc_guard_reader(stream, NULL);
    PyObject *writer = reader == NULL ? NULL : grpc_guard_writer(stream, NULL);
    int is_known = writer == NULL ? -1 : reader == direction || writer == direction;
    Py_XDECREF(reader);
    Py_XDECREF(writer);
    return is_known;
}

/* Adds the stream of a direction to the others, and the direction to the strays if its stream does
 * not know it; -1: an error is set. */
static int
place(State *state, Set *set, PyObject *direction, PyObject *streams, PyObject *strays)
{
    int has_fields = PyObject_TypeCheck(direction, state->aio_fields)
                     || PyObject_TypeCheck(direction, state->sync_fields);
    PyObject *stream = has_fields ? ((SyncFields *)direction)->stream : NULL;
    if (stream == NULL || !IS_STREAM(state, stream)) {
        PyErr_Format(PyExc_TypeError, "%R is not the direction of a stream", direction);
        return -1;
    }
    if (add_to(set, stream) && PyList_Append(streams, stream) < 0) {
        return -1;
    }
    int is_known = knows((StreamFields *)stream, direction);
    return is_known < 0 || (!is_known && PyList_Append(strays, direction) < 0) ? -1 : 0;
}

/* Leaves each stream in a list once; -1: an error is set. */
static int
leave_once(Set *set, PyObject *listed)
{
    Py_ssize_t count = 0, size = PyList_GET_SIZE(listed);
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *stream = PyList_GET_ITEM(listed, i);
        if (add_to(set, stream)) {
            PyList_SET_ITEM(listed, i, PyList_GET_ITEM(listed, count));
            PyList_SET_ITEM(listed, count++, stream);
        }
    }
    return count == size ? 0 : PyList_SetSlice(listed, count, size, NULL);
}

static int
place_all(State *state, Set *set, const Crowd *crowd, PyObject *others, PyObject *streams,
          PyObject *strays)
{
    const Noted *noted = grpc_guard_all_noted(crowd);
    Py_ssize_t count = crowd->noted.count;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (noted[i].is_listed) {
            continue;
        }
        if (i + 12 < count) {
            FETCH(noted[i + 12].direction);
        }
        PyObject *later = i + 6 < count ? noted[i + 6].direction : NULL;
        if (later != NULL && PyObject_TypeCheck(later, state->aio_fields)) {
            FETCH_LINES((const char *)((AioFields *)later)->stream + 32, 64);
        }
        if (noted[i].task != NULL && place(state, set, noted[i].direction, streams, strays) < 0) {
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(others); i++) {
        if (place(state, set, PyList_GET_ITEM(others, i), streams, strays) < 0) {
            return -1;
        }
    }
    return 0;
}

/* gather(listed, crowd, directions): adds the streams that somebody was seen in to those that are listed,
 * and leaves each once; returns the directions that their streams do not know. See Sight.streams_among(). */
static PyObject *
gather(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyObject *listed, *others;
    Crowd *crowd;
    if (!PyArg_ParseTuple(args, "O!O!O!:gather", &PyList_Type, &listed, state->crowd, &crowd,
                          &PyList_Type, &others)) {
        return NULL;
    }
    Set set = {.mask = 64};
    Py_ssize_t most = PyList_GET_SIZE(listed) + crowd->noted.count + PyList_GET_SIZE(others);
    while (set.mask < (size_t)(most + most / 4)) { /* mostly half of them are the same */
        set.mask *= 2;
    }
    set.spots = PyMem_Calloc(set.mask, sizeof(PyObject *));
    if (set.spots == NULL) {
        return PyErr_NoMemory();
    }
    set.mask--;
    PyObject *strays = PyList_New(0);
    if (strays != NULL) {
        if (leave_once(&set, listed) < 0 || place_all(state, &set, crowd, others, listed, strays) < 0) {
            Py_CLEAR(strays);
        }
    }
    PyMem_Free(set.spots);
    return strays;
}

/* let_go(streams): clears a list. */
static PyObject *
let_go(PyObject *module, PyObject *streams)
{
    if (!PyList_Check(streams)) {
        return PyErr_Format(PyExc_TypeError, "let_go() takes a list, not %R", streams);
    }
    for (Py_ssize_t left = PyList_GET_SIZE(streams); left > 0; left = PyList_GET_SIZE(streams)) {
        if (left > 9) {
            FETCH(PyList_GET_ITEM(streams, left - 9));
        }
        PyObject *stream = PyList_GET_ITEM(streams, left - 1);
        Py_SET_SIZE(streams, left - 1); /* before anything runs */
        Py_DECREF(stream);
    }
    Py_RETURN_NONE;
}

/* loops_of(streams): the loops that they belong to, in a set. */
static PyObject *
loops_of(PyObject *module, PyObject *streams)
{
    State *state = PyModule_GetState(module);
    PyObject *found = PyList_Check(streams) ? PySet_New(NULL) : NULL, *last = Py_None;
    if (found == NULL && !PyErr_Occurred()) {
        PyErr_Format(PyExc_TypeError, "loops_of() takes a list, not %R", streams);
    }
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(streams); i++) {
        if (i + 16 < PyList_GET_SIZE(streams)) {
            FETCH(PyList_GET_ITEM(streams, i + 16));
            FETCH((char *)PyList_GET_ITEM(streams, i + 16) + offsetof(StreamFields, loop));
        }
        PyObject *stream = PyList_GET_ITEM(streams, i);
        int is_one = IS_STREAM(state, stream);
        PyObject *loop = is_one ? ((StreamFields *)stream)->loop : NULL;
        if (!is_one) {
            PyErr_Format(PyExc_TypeError, "%R is no stream", stream);
        }
        if (!is_one || (loop != NULL && loop != Py_None && loop != last && PySet_Add(found, loop) < 0)) {
            Py_CLEAR(found);
        }
        last = loop != NULL ? loop : last; /* the set has it */
    }
    return found;
}

/* unread(streams, api, side): those of this api and side that know no direction to read from. */
static PyObject *
unread(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyObject *streams, *api, *side;
    if (!PyArg_ParseTuple(args, "O!OO:unread", &PyList_Type, &streams, &api, &side)) {
        return NULL;
    }
    PyObject *found = PyList_New(0);
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(streams); i++) {
        if (i + 16 < PyList_GET_SIZE(streams)) {
            FETCH(PyList_GET_ITEM(streams, i + 16));
            FETCH((char *)PyList_GET_ITEM(streams, i + 16) + offsetof(StreamFields, api));
        }
        StreamFields *stream = (StreamFields *)PyList_GET_ITEM(streams, i);
        if (!IS_STREAM(state, (PyObject *)stream)) {
            PyErr_Format(PyExc_TypeError, "%R is no stream", stream);
            Py_CLEAR(found);
        }
        else if (stream->api == api && stream->side == side) {
            PyObject *reader = grpc_guard_reader(stream, NULL);
            if (reader == NULL || (reader == Py_None && PyList_Append(found, (PyObject *)stream) < 0)) {
                Py_CLEAR(found);
            }
            Py_XDECREF(reader);
        }
    }
    return found;
}

static PyMethodDef module_methods[] = {
    {"loops_of", loops_of, METH_O, "Return the loops of streams: see living.py."},
    {"unread", unread, METH_VARARGS, "Return the streams that know no direction to read from."},
    {"gather", gather, METH_VARARGS, "Add all streams to a list: see Sight.streams_among()."},
    {"let_go", let_go, METH_O, "Clear a list of streams."},
    {NULL},
};

int
grpc_guard_add_listing(PyObject *module, State *state)
{
    return grpc_guard_add_oldest(module, state) < 0 ? -1 : PyModule_AddFunctions(module, module_methods);
}
