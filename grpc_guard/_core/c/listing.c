/* Which streams there are, and in what order: the same as living.py, noting.py, telling.py of _inspect/. */

#include "crowds.h"
#include "handled.h"

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
    PyObject *reader = grpc_guard_reader((StreamFields *)stream, NULL);
    PyObject *writer = reader == NULL ? NULL : grpc_guard_writer((StreamFields *)stream, NULL);
    int is_known = reader == direction || writer == direction;
    int failed = writer == NULL || (!is_known && PyList_Append(strays, direction) < 0);
    Py_XDECREF(reader);
    Py_XDECREF(writer);
    return failed ? -1 : 0;
}

static int
place_all(State *state, Set *set, const Crowd *crowd, PyObject *others, PyObject *streams,
          PyObject *strays)
{
    const Noted *noted = grpc_guard_all_noted(crowd);
    Py_ssize_t count = crowd->noted.count;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i + 12 < count) {
            FETCH(noted[i + 12].direction);
        }
        PyObject *later = i + 6 < count ? noted[i + 6].direction : NULL;
        if (later != NULL && PyObject_TypeCheck(later, state->aio_fields)) {
            FETCH_LINES(((AioFields *)later)->stream, sizeof(StreamFields));
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

/* gather(listed, crowd, directions): all streams that are listed, or somebody was seen in, each once;
 * and those of the directions that their streams do not know. See Sight.streams_among(). */
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
    while (set.mask < 2 * (size_t)most) {
        set.mask *= 2;
    }
    set.spots = PyMem_Calloc(set.mask, sizeof(PyObject *));
    set.mask--;
    PyObject *streams = PyList_New(0), *strays = PyList_New(0);
    int failed = streams == NULL || strays == NULL;
    if (!failed && set.spots == NULL) {
        PyErr_NoMemory();
        failed = 1;
    }
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(listed); i++) {
        PyObject *stream = PyList_GET_ITEM(listed, i);
        failed = add_to(&set, stream) && PyList_Append(streams, stream) < 0;
    }
    failed = failed || place_all(state, &set, crowd, others, streams, strays) < 0;
    PyMem_Free(set.spots);
    PyObject *both = failed ? NULL : PyTuple_Pack(2, streams, strays);
    Py_XDECREF(streams);
    Py_XDECREF(strays);
    return both;
}

typedef struct {
    double since;
    Py_ssize_t at;
} Place;

static int
is_later(const void *one, const void *other)
{
    const Place *mine = one, *its = other;
    if (mine->since != its->since) {
        return mine->since < its->since ? -1 : 1;
    }
    return mine->at < its->at ? -1 : 1;
}

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

static PyObject *
sorted_by(State *state, Look *look, PyObject *streams, Place *places)
{
    Py_ssize_t count = PyList_GET_SIZE(streams);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *stream = PyList_GET_ITEM(streams, i);
        if (i + 12 < count) {
            FETCH_LINES(PyList_GET_ITEM(streams, i + 12), sizeof(StreamFields));
        }
        PyObject *later = i + 6 < count ? PyList_GET_ITEM(streams, i + 6) : stream;
        if (PyObject_TypeCheck(later, state->stream_fields)) {
            FETCH_LINES(((StreamFields *)later)->origin, 96);
        }
        places[i].at = i;
        if (!IS_STREAM(state, stream)) {
            return PyErr_Format(PyExc_TypeError, "%R is no stream", stream);
        }
        if (find_since(look, stream, &places[i].since) < 0) {
            return NULL;
        }
    }
    qsort(places, (size_t)count, sizeof(Place), is_later);
    PyObject *found = PyList_New(count);
    for (Py_ssize_t i = 0; found != NULL && i < count; i++) {
        PyList_SET_ITEM(found, i, Py_NewRef(PyList_GET_ITEM(streams, places[i].at)));
    }
    return found;
}

/* oldest_first(streams, begun, present): the streams, those first that began first; see Teller. */
static PyObject *
oldest_first(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    Look look = {0};
    PyObject *streams, *found = NULL;
    if (!PyArg_ParseTuple(args, "O!O!d:oldest_first", &PyList_Type, &streams, state->handled,
                          &look.begun, &look.present)) {
        return NULL;
    }
    Place *places = PyMem_Malloc((size_t)PyList_GET_SIZE(streams) * sizeof(Place));
    if (places == NULL) {
        PyErr_NoMemory();
    }
    else if (grpc_guard_take_names(&look) == 0) {
        found = sorted_by(state, &look, streams, places);
    }
    grpc_guard_forget_look(&look);
    PyMem_Free(places);
    return found;
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
            FETCH_LINES(PyList_GET_ITEM(streams, i + 16), sizeof(StreamFields));
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
            FETCH_LINES(PyList_GET_ITEM(streams, i + 16), sizeof(StreamFields));
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
    {"gather", gather, METH_VARARGS, "Return all streams: see Sight.streams_among()."},
    {"oldest_first", oldest_first, METH_VARARGS, "Return streams in their order: see Teller."},
    {NULL},
};

int
grpc_guard_add_listing(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
