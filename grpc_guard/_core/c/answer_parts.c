/* The channel of a stream, who has started it, and its directions, as bytes: see answering.c. */

#include "answering.h"
#include "directions.h"

int
grpc_guard_add_up(Answer *self)
{
    if (self->count == 0) {
        return 0;
    }
    PyObject *before = PyDict_GetItemWithError(self->carried, self->number);
    long count = before == NULL ? 0 : PyLong_AsLong(before);
    PyObject *sum = PyErr_Occurred() ? NULL : PyLong_FromLong(count + self->count);
    int failed = sum == NULL || PyDict_SetItem(self->carried, self->number, sum) < 0;
    Py_XDECREF(sum);
    self->count = 0;
    return failed ? -1 : 0;
}

PyObject *
grpc_guard_count_one(Answer *self, PyObject *channel)
{
    if (channel == Py_None) {
        return Py_None;
    }
    if (channel != self->channel) {
        PyObject *number = grpc_guard_add_up(self) < 0 ? NULL : grpc_guard_channel_of(&self->look, channel);
        if (number == NULL) {
            return NULL;
        }
        SET(self->channel, Py_NewRef(channel));
        SET(self->number, number);
    }
    self->count += self->number != Py_None;
    return self->number;
}

int
grpc_guard_put_starter(Answer *self, const Started *started)
{
    Look *look = &self->look;
    Party one = {
        .kind = started->kind,
        .name = started->name,
        .operation = started->operation,
        .held = started->since < look->present ? look->present - started->since : 0.0,
        .stack = grpc_guard_stack_of(look, started->place),
        .relation = look->names[INSIDE],
    };
    int failed =
        one.stack == NULL ? -1 : grpc_guard_put_party(self->buffer, &self->stream[ORIGIN], &one);
    Py_XDECREF(one.stack);
    return failed;
}

/* Puts somebody of the crowd, who is inside a direction, and how long ago that one came. */
static int
put_noted(Answer *self, const Noted *noted)
{
    Crowd *crowd = self->look.crowd;
    Party one = {
        .kind = crowd->kind,
        .name = grpc_guard_shown_name(crowd, noted->task),
        .operation = crowd->said[noted->said].operation,
        .held = noted->held,
        .stack = crowd->said[noted->said].stack,
        .relation = crowd->relation,
    };
    int failed =
        one.name == NULL ? -1 : grpc_guard_put_party(self->buffer, &self->direction[OWNER], &one);
    Py_XDECREF(one.name);
    return failed < 0 ? -1
                      : grpc_guard_put_double(self->buffer, &self->direction[BEGAN], noted->held);
}

/* The same of a record. */
static int
put_owner(Answer *self, PyObject *owner)
{
    Buffer *buffer = self->buffer;
    const Field *its_owner = &self->direction[OWNER];
    if (grpc_guard_put_tag(buffer, its_owner) < 0
        || grpc_guard_put_nested(buffer, its_owner->of, owner) < 0) {
        return -1;
    }
    PyObject *held = OF(owner, its_owner->of->fields[ITS_HELD].offset);
    if (held == Py_None) {
        return 0;
    }
    double ago = PyFloat_AsDouble(held);
    return ago == -1.0 && PyErr_Occurred()
               ? -1
               : grpc_guard_put_double(buffer, &self->direction[BEGAN], ago);
}

int
grpc_guard_put_direction(Answer *self, const Field *field, const Way *way)
{
    Buffer *buffer = self->buffer;
    if (way->direction == Py_None) {
        return 0;
    }
    if (grpc_guard_put_tag(buffer, field) < 0) {
        return -1;
    }
    size_t at = buffer->bytes.size;
    double since = grpc_guard_since_of((AioFields *)way->direction), present = self->look.present;
    int failed = 0;
    if (way->noted != NULL) {
        failed = put_noted(self, way->noted) < 0;
    }
    else if (way->owner != NULL) {
        failed = put_owner(self, way->owner) < 0;
    }
    else if (since != 0.0) {
        double ago = since < present ? present - since : 0.0;
        failed = grpc_guard_put_double(buffer, &self->direction[BEGAN], ago) < 0;
    }
    failed = failed || grpc_guard_put_int(buffer, &self->direction[UNSENT], 0) < 0
             || grpc_guard_put_length_at(&buffer->bytes, at) < 0;
    return failed ? -1 : 0;
}
