/* The directions of a stream, who is inside, and which of them are like most: see telling.c. */

#include "crowds.h"
#include "directions.h"
#include "layouts.h"

/* Tells whether a stream lacks a field, as one that was made without its constructor. */
static int
is_bare(StreamFields *stream)
{
    return stream->rpc == NULL || stream->side == NULL || stream->api == NULL
           || stream->mode == NULL || !grpc_guard_has_origin(stream) || stream->channel == NULL
           || stream->read == NULL || stream->write == NULL;
}

/* Tells whether a call of grpc.aio is asked by the method of its class, which does nothing but to ask
 * the core's call. */
static int
is_asked_as_usual(Look *look, PyObject *call)
{
    PyTypeObject *type = Py_TYPE(call);
    Py_ssize_t count = grpc_guard_count_of(type);
    if (type != look->done_type || type->tp_version_tag != look->done_version
        || count != look->done_count || type->tp_version_tag == 0) {
        look->is_done_known = grpc_guard_method_of(type, look->str_done) == look->done_of_calls;
        look->done_type = type;
        look->done_version = type->tp_version_tag;
        look->done_count = count;
    }
    return look->is_done_known && grpc_guard_values_of(call) != NULL; /* else it may have its own */
}

/* Tells whether a stream is over, as is_over() does; -1: an error is set. */
static int
is_over(Look *look, StreamFields *stream)
{
    PyObject *call = NULL, *over = NULL;
    if (stream->ended == Py_False && stream->has_ended == look->has_ended && stream->call != NULL
        && PyWeakref_CheckRefExact(stream->call)) {
        call = grpc_guard_led_to(stream->call);
    }
    if (call != NULL && call != Py_None && is_asked_as_usual(look, call)) {
        PyObject *core = grpc_guard_own(&look->of_core_call, call, look->str_core_call);
        over = core == NULL ? NULL : grpc_guard_call_in_c(&look->of_done, core, look->str_done, NULL);
        Py_XDECREF(core);
    }
    else {
        over = grpc_guard_is_over(stream, NULL);
    }
    Py_XDECREF(call);
    int is_true = over == NULL ? -1 : PyObject_IsTrue(over);
    Py_XDECREF(over);
    return is_true;
}

PyObject *
grpc_guard_state_of_stream(Look *look, StreamFields *stream)
{
    int has_ended = is_over(look, stream);
    if (has_ended != 0) {
        return has_ended < 0 ? NULL : look->states[1];
    }
    if (stream->call != Py_None || stream->context != Py_None) {
        return look->states[0];
    }
    int is_served = PyObject_RichCompareBool(stream->side, look->server, Py_EQ);
    return is_served < 0 ? NULL : look->states[is_served ? 0 : 2];
}

/* Finds out whether a stream is over, and forgets its state if nobody is inside; -1: an error is set. */
static int
find_state(Look *look, StreamFields *stream, Ways *ways)
{
    ways->state = grpc_guard_state_of_stream(look, stream);
    if (ways->state == NULL) {
        return -1;
    }
    if (ways->state == look->states[1] && !grpc_guard_is_inside(&ways->read) && !grpc_guard_is_inside(&ways->write)) {
        ways->state = NULL;
    }
    return 0;
}

/* Takes a direction, or None, or NULL with an error set, and finds who is inside; -1: an error is set. */
static int
find_way(Look *look, PyObject *direction, Way *way)
{
    way->direction = direction;
    if (way->direction == NULL || way->direction == Py_None) {
        return way->direction == NULL ? -1 : 0;
    }
    if (PyDict_GET_SIZE(look->owners) > 0
        && grpc_guard_by_identity(look->owners, way->direction, &way->owner) < 0) {
        return -1;
    }
    way->noted = way->owner == NULL ? grpc_guard_seen_in(look->crowd, way->direction) : NULL;
    return 0;
}

int
grpc_guard_find_ways(State *state, Look *look, PyObject *stream, Ways *ways)
{
    PyObject *ignored;
    StreamFields *fields = (StreamFields *)stream;
    if (!PyObject_TypeCheck(stream, state->stream_fields) || is_bare(fields)) {
        return 0;
    }
    int is_there = PyDict_GET_SIZE(look->others) == 0
                       ? 0
                       : grpc_guard_by_identity(look->others, stream, &ignored);
    if (is_there != 0) {
        Py_XDECREF(ignored);
        return is_there < 0 ? -1 : 0;
    }
    if (find_way(look, grpc_guard_reader(fields, NULL), &ways->read) < 0
        || find_way(look, grpc_guard_writer(fields, NULL), &ways->write) < 0) {
        return -1;
    }
    return find_state(look, fields, ways) < 0 ? -1 : 1;
}

void
grpc_guard_forget_ways(Ways *ways)
{
    Py_CLEAR(ways->read.direction);
    Py_CLEAR(ways->read.owner);
    Py_CLEAR(ways->write.direction);
    Py_CLEAR(ways->write.owner);
}

int
grpc_guard_is_idle(const Look *look, AioFields *direction)
{
    return direction->extra == Py_None
           && !(direction->taken && grpc_guard_since_of(direction) <= look->time)
           && direction->loop_thread != Py_None && direction->loop_thread != NULL
           && direction->owner != NULL && !PyLong_Check(direction->owner);
}

int
grpc_guard_is_usual(Look *look, const Way *way)
{
    AioFields *fields = (AioFields *)way->direction;
    if (way->direction == Py_None) {
        return 1;
    }
    if (look->is_waited || !Py_IS_TYPE(way->direction, (PyTypeObject *)look->plain)
        || (look->is_sending && fields->way != look->read)) {
        return 0;
    }
    return grpc_guard_is_inside(way) || grpc_guard_is_idle(look, fields);
}

int
grpc_guard_take_filter(Filter *filter, PyObject *table)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    memset(filter->bits, 0, sizeof(filter->bits));
    filter->table = table;
    while (PyDict_Next(table, &at, &key, &value)) {
        PyObject *object = PyLong_AsVoidPtr(key);
        if (object == NULL && PyErr_Occurred()) {
            return -1;
        }
        size_t bit = grpc_guard_hashed((uintptr_t)object) % FILTER;
        filter->bits[bit / 8] |= (unsigned char)(1 << bit % 8);
    }
    return 0;
}

int
grpc_guard_is_among(const Filter *filter, const void *object)
{
    size_t bit = grpc_guard_hashed((uintptr_t)object) % FILTER;
    if (!(filter->bits[bit / 8] & 1 << bit % 8)) {
        return 0;
    }
    PyObject *found;
    int is_there = grpc_guard_by_identity(filter->table, (PyObject *)object, &found);
    Py_XDECREF(found);
    return is_there;
}
