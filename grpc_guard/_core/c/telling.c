/* Live streams as records: the same as Teller.one() of _inspect/telling.py, which does what is rare. */

#include "directions.h"
#include "looks.h"

static const char *const names[NAMES] = {
    "since", "place", "kind", "name", "operation", "held_seconds", "inside",
};

/* Returns a record of an owner, or None, that came so long ago; takes the reference to `ago`. */
static PyObject *
direction_record(Look *look, PyObject *owner, PyObject *ago)
{
    PyObject *values[6] = {NULL};
    int count = 0, is_whole = ago != NULL;
    NEXT(Py_NewRef(owner));
    NEXT(PyTuple_New(0));
    NEXT(ago);
    NEXT(Py_NewRef(Py_None));
    NEXT(Py_NewRef(Py_False));
    NEXT(Py_NewRef(Py_None));
    return grpc_guard_make_record(look->new_direction, values);
}

/* Returns the record of a direction, whose owner was seen or is NULL; None for None. */
static PyObject *
direction_of(Look *look, PyObject *direction, PyObject *owner)
{
    AioFields *fields = (AioFields *)direction;
    if (direction == Py_None) {
        Py_RETURN_NONE;
    }
    if (look->is_waited || !Py_IS_TYPE(direction, (PyTypeObject *)look->plain)
        || (look->is_sending && fields->way != look->read)) {
        return PyObject_CallOneArg(look->direction_of, direction);
    }
    if (owner != NULL) {
        return direction_record(look, owner, PyObject_GetAttr(owner, look->names[HELD]));
    }
    if (fields->extra != Py_None || fields->taken || fields->loop_thread == Py_None
        || fields->loop_thread == NULL || fields->owner == NULL || PyLong_Check(fields->owner)) {
        return PyObject_CallOneArg(look->direction_of, direction);
    }
    double since = grpc_guard_since_of(fields);
    PyObject *ago =
        since != 0.0 ? grpc_guard_seconds_since(look, since) : Py_NewRef(Py_None);
    return direction_record(look, Py_None, ago);
}

/* Returns in which state a stream is, borrowed; NULL: an error is set. */
static PyObject *
state_of_stream(Look *look, StreamFields *stream)
{
    PyObject *over = grpc_guard_is_over(stream, NULL);
    int is_over = over == NULL ? -1 : PyObject_IsTrue(over);
    Py_XDECREF(over);
    if (is_over != 0) {
        return is_over < 0 ? NULL : look->states[1];
    }
    if (stream->call != Py_None || stream->context != Py_None) {
        return look->states[0];
    }
    int is_served = PyObject_RichCompareBool(stream->side, look->server, Py_EQ);
    return is_served < 0 ? NULL : look->states[is_served ? 0 : 2];
}

/* Returns how long ago a stream began; None if that is not known. */
static PyObject *
age_of(Look *look, PyObject *stream)
{
    PyObject *since;
    if (grpc_guard_by_identity(look->begun, stream, &since) <= 0) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    double began = PyFloat_AsDouble(since);
    Py_DECREF(since);
    return began == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(look->present - began);
}

static PyObject *
channel_of(Look *look, PyObject *channel)
{
    PyObject *number;
    int is_there = grpc_guard_by_identity(look->channels, channel, &number);
    return is_there != 0 ? number : Py_NewRef(Py_None);
}

/* Returns the record of a stream, the stream, and its directions, as Teller.one(). */
static PyObject *
usual_one(Look *look, StreamFields *stream, PyObject *number, PyObject **ways,
          PyObject **owners)
{
    PyObject *its_state = state_of_stream(look, stream);
    if (its_state == NULL) {
        return NULL;
    }
    if (its_state == look->states[1] && owners[0] == NULL && owners[1] == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *values[11] = {NULL};
    int count = 0, is_whole = 1;
    NEXT(Py_NewRef(number));
    NEXT(Py_NewRef(stream->rpc));
    NEXT(grpc_guard_text_of(look, stream->side));
    NEXT(grpc_guard_text_of(look, stream->api));
    NEXT(grpc_guard_text_of(look, stream->mode));
    NEXT(Py_NewRef(its_state));
    NEXT(age_of(look, (PyObject *)stream));
    NEXT(grpc_guard_starter(look, stream->origin));
    NEXT(channel_of(look, stream->channel));
    NEXT(direction_of(look, ways[0], owners[0]));
    NEXT(direction_of(look, ways[1], owners[1]));
    PyObject *record = grpc_guard_make_record(look->new_stream, values);
    PyObject *both = record == NULL ? NULL : PyTuple_Pack(2, ways[0], ways[1]);
    PyObject *told = both == NULL ? NULL : PyTuple_Pack(3, record, stream, both);
    Py_XDECREF(both);
    Py_XDECREF(record);
    return told;
}

/* Tells whether a stream lacks a field, as one that was made without its constructor. */
static int
is_bare(StreamFields *stream)
{
    return stream->rpc == NULL || stream->side == NULL || stream->api == NULL
           || stream->mode == NULL || stream->origin == NULL || stream->channel == NULL
           || stream->read == NULL || stream->write == NULL;
}

static PyObject *
tell_one(State *state, Look *look, PyObject *stream, PyObject *number)
{
    PyObject *ignored, *told = NULL;
    StreamFields *fields = (StreamFields *)stream;
    int is_unusual = !PyObject_TypeCheck(stream, state->stream_fields) || is_bare(fields);
    if (!is_unusual) {
        is_unusual = grpc_guard_by_identity(look->others, stream, &ignored);
        Py_XDECREF(ignored);
    }
    if (is_unusual) {
        return is_unusual < 0
                   ? NULL
                   : PyObject_CallFunctionObjArgs(look->one, stream, number, NULL);
    }
    PyObject *ways[] = {grpc_guard_reader(fields, NULL), grpc_guard_writer(fields, NULL)}, *owners[] = {NULL, NULL};
    if (ways[0] != NULL && ways[1] != NULL && grpc_guard_by_identity(look->owners, ways[0], &owners[0]) >= 0
        && grpc_guard_by_identity(look->owners, ways[1], &owners[1]) >= 0) {
        told = usual_one(look, fields, number, ways, owners);
    }
    for (int i = 0; i < 2; i++) {
        Py_XDECREF(ways[i]);
        Py_XDECREF(owners[i]);
    }
    return told;
}

static PyObject *
tell_all(State *state, Look *look, PyObject *streams, long number)
{
    PyObject *all = PySequence_Tuple(streams), *told = all == NULL ? NULL : PyList_New(0);
    for (Py_ssize_t i = 0; told != NULL && i < PyTuple_GET_SIZE(all); i++) {
        PyObject *next = PyLong_FromLong(number + 1 + (long)PyList_GET_SIZE(told));
        PyObject *one =
            next == NULL ? NULL : tell_one(state, look, PyTuple_GET_ITEM(all, i), next);
        if (one == NULL || (one != Py_None && PyList_Append(told, one) < 0)) {
            Py_CLEAR(told);
        }
        Py_XDECREF(next);
        Py_XDECREF(one);
    }
    Py_XDECREF(all);
    return told;
}

/* tell_streams(look, streams, number): what Teller.one() tells of each, in a list; see Teller. */
static PyObject *
tell_streams(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyTypeObject *maker = state->maker;
    Look look = {0};
    PyObject *said, *streams, *told = NULL;
    long number;
    if (!PyArg_ParseTuple(args, "O!Ol:tell_streams", &PyTuple_Type, &said, &streams, &number)) {
        return NULL;
    }
    if (!PyArg_ParseTuple(
            said, "OOOOO!O!O!O!O!O!O!O!OOUUUdpp:tell_streams", &look.one, &look.direction_of,
            &look.stack_at, &look.text, maker, &look.new_stream, maker, &look.new_direction, maker,
            &look.new_owner, &PyDict_Type, &look.begun, &PyDict_Type, &look.others, &PyDict_Type,
            &look.owners, &PyDict_Type, &look.channels, &PyType_Type, &look.plain, &look.server,
            &look.read, &look.states[0], &look.states[1], &look.states[2], &look.present, &look.is_waited,
            &look.is_sending)) {
        return NULL;
    }
    if (Py_SIZE(look.new_stream) != 11 || Py_SIZE(look.new_direction) != 6
        || Py_SIZE(look.new_owner) != 7
        || !PyType_IsSubtype((PyTypeObject *)look.plain, state->aio_fields)) {
        PyErr_SetString(PyExc_TypeError, "tell_streams() takes what Teller has");
        return NULL;
    }
    int is_whole = 1;
    for (int i = 0; i < NAMES; i++) {
        is_whole = is_whole && (look.names[i] = PyUnicode_InternFromString(names[i])) != NULL;
    }
    told = is_whole ? tell_all(state, &look, streams, number) : NULL;
    for (int i = 0; i < NAMES; i++) {
        Py_XDECREF(look.names[i]);
    }
    for (int i = 0; i < TEXTS; i++) {
        Py_XDECREF(look.met[i]);
        Py_XDECREF(look.texts[i]);
    }
    Py_XDECREF(look.place);
    Py_XDECREF(look.stack);
    return told;
}

static PyMethodDef module_methods[] = {
    {"tell_streams", tell_streams, METH_VARARGS, "Return what Teller.one() tells of each stream."},
    {NULL},
};

int
grpc_guard_add_telling(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
