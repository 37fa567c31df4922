/* Live streams as records: the same as Teller.one() of _inspect/telling.py, which does what is rare. */

#include "crowds.h"
#include "directions.h"
#include "handled.h"

/* Returns a record of an owner, or None, that came so long ago; takes the reference to `ago`. */
static PyObject *
direction_record(Look *look, PyObject *owner, PyObject *ago)
{
    PyObject *values[7] = {NULL};
    int count = 0, is_whole = ago != NULL;
    NEXT(Py_NewRef(owner));
    NEXT(PyTuple_New(0));
    NEXT(ago);
    NEXT(Py_NewRef(Py_None));
    NEXT(Py_NewRef(Py_False));
    NEXT(Py_NewRef(Py_None));
    NEXT(Py_NewRef(Py_None));
    return grpc_guard_make_record(look->new_direction, values);
}

/* Returns the record of a direction; None for None. */
static PyObject *
direction_of(Look *look, const Way *way)
{
    if (way->direction == Py_None) {
        Py_RETURN_NONE;
    }
    if (!grpc_guard_is_usual(look, way)) {
        return PyObject_CallOneArg(look->direction_of, way->direction);
    }
    if (grpc_guard_is_inside(way)) {
        PyObject *owner = way->owner != NULL ? Py_NewRef(way->owner)
                                             : grpc_guard_noted_owner(look->crowd, way->noted);
        PyObject *record =
            owner == NULL
                ? NULL
                : direction_record(look, owner, PyObject_GetAttr(owner, look->names[HELD]));
        Py_XDECREF(owner);
        return record;
    }
    double since = grpc_guard_since_of((AioFields *)way->direction);
    PyObject *ago = since != 0.0 ? grpc_guard_seconds_since(look, since) : Py_NewRef(Py_None);
    return direction_record(look, Py_None, ago);
}

/* Returns how long ago a stream began; None if that is not known. */
static PyObject *
age_of(Look *look, StreamFields *stream)
{
    PyObject *since;
    if (stream->origin != Py_None) {
        since = PyObject_GetAttr(stream->origin, look->names[SINCE]);
        if (since == NULL) {
            return NULL;
        }
    }
    else {
        const HandledOne *one = grpc_guard_handled_by(look->begun, (uintptr_t)stream);
        return one == NULL ? Py_NewRef(Py_None) : PyFloat_FromDouble(look->present - one->since);
    }
    double began = PyFloat_AsDouble(since);
    Py_DECREF(since);
    return began == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(look->present - began);
}

PyObject *
grpc_guard_channel_of(Look *look, PyObject *channel)
{
    PyObject *number;
    int is_there = grpc_guard_by_identity(look->channels, channel, &number);
    return is_there != 0 ? number : Py_NewRef(Py_None);
}

PyObject *
grpc_guard_tell(Look *look, StreamFields *stream, PyObject *number, Ways *ways)
{
    PyObject *values[11] = {NULL};
    int count = 0, is_whole = 1;
    NEXT(Py_NewRef(number));
    NEXT(Py_NewRef(stream->rpc));
    NEXT(grpc_guard_text_of(look, stream->side));
    NEXT(grpc_guard_text_of(look, stream->api));
    NEXT(grpc_guard_text_of(look, stream->mode));
    NEXT(Py_NewRef(ways->state));
    NEXT(age_of(look, stream));
    NEXT(grpc_guard_starter(look, stream->origin));
    NEXT(grpc_guard_channel_of(look, stream->channel));
    NEXT(direction_of(look, &ways->read));
    NEXT(direction_of(look, &ways->write));
    PyObject *record = grpc_guard_make_record(look->new_stream, values);
    PyObject *both = record == NULL ? NULL : PyTuple_Pack(2, ways->read.direction, ways->write.direction);
    PyObject *told = both == NULL ? NULL : PyTuple_Pack(3, record, stream, both);
    Py_XDECREF(both);
    Py_XDECREF(record);
    return told;
}

static PyObject *
tell_one(State *state, Look *look, PyObject *stream, PyObject *number)
{
    Ways ways = {0};
    int is_usual = grpc_guard_find_ways(state, look, stream, &ways);
    PyObject *told = NULL;
    if (is_usual == 0) {
        told = PyObject_CallFunctionObjArgs(look->one, stream, number, NULL);
    }
    else if (is_usual > 0) {
        told = ways.state == NULL ? Py_NewRef(Py_None)
                                  : grpc_guard_tell(look, (StreamFields *)stream, number, &ways);
    }
    grpc_guard_forget_ways(&ways);
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
    Look look = {0};
    PyObject *said, *streams, *told = NULL;
    long number;
    if (!PyArg_ParseTuple(args, "O!Ol:tell_streams", &PyTuple_Type, &said, &streams, &number)) {
        return NULL;
    }
    if (grpc_guard_take_look(state, &look, said) == 0) {
        told = tell_all(state, &look, streams, number);
    }
    grpc_guard_forget_look(&look);
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
