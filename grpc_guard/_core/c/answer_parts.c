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

long
grpc_guard_number_of(Answer *self, PyObject *channel)
{
    if (channel == Py_None) {
        return -1;
    }
    if (channel != self->channel) {
        PyObject *number = grpc_guard_add_up(self) < 0 ? NULL : grpc_guard_channel_of(&self->look, channel);
        if (number == NULL) {
            return -2;
        }
        SET(self->channel, Py_NewRef(channel));
        SET(self->number, number);
        self->met_number = -2;
    }
    if (self->met_number == -2) {
        long number = self->number == Py_None ? -1 : PyLong_AsLong(self->number);
        if (number < 0 && PyErr_Occurred()) {
            return -2;
        }
        self->met_number = number;
    }
    return self->met_number;
}

int
grpc_guard_close(Answer *self, size_t at, int first, int count)
{
    Bytes *bytes = &self->buffer->bytes;
    size_t before = bytes->size;
    if (grpc_guard_put_length_at(bytes, at) < 0) {
        return -1;
    }
    for (int i = first; i < first + count; i++) {
        self->times[i] += self->times[i] == 0 ? 0 : bytes->size - before;
    }
    return 0;
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
        .held_at = &self->times[STARTER_HELD],
    };
    int failed =
        one.stack == NULL ? -1 : grpc_guard_put_party(self->buffer, &self->stream[ORIGIN], &one);
    Py_XDECREF(one.stack);
    return failed;
}

/* Puts how long ago the last operation of a direction began, and notes where; -1: an error is set. */
static int
put_began(Answer *self, double ago, size_t *times)
{
    int failed = grpc_guard_put_double(self->buffer, &self->direction[BEGAN], ago);
    times[1] = self->buffer->bytes.size - sizeof(double);
    return failed;
}

/* Puts somebody of the crowd, who is inside a direction, and how long ago that one came. */
static int
put_noted(Answer *self, const Noted *noted, size_t *times)
{
    Crowd *crowd = self->look.crowd;
    Party one = {
        .kind = crowd->kind,
        .name = grpc_guard_shown_name(crowd, noted->task),
        .operation = crowd->said[noted->said].operation,
        .held = noted->held,
        .stack = crowd->said[noted->said].stack,
        .relation = crowd->relation,
        .held_at = times,
    };
    int failed =
        one.name == NULL ? -1 : grpc_guard_put_party(self->buffer, &self->direction[OWNER], &one);
    Py_XDECREF(one.name);
    return failed < 0 ? -1 : put_began(self, noted->held, times);
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
    int first = field == &self->stream[READ_WAY] ? READER_HELD : WRITER_HELD;
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
        failed = put_noted(self, way->noted, &self->times[first]) < 0;
    }
    else if (way->owner != NULL) {
        failed = put_owner(self, way->owner) < 0;
    }
    else if (since != 0.0) {
        double ago = since < present ? present - since : 0.0;
        failed = put_began(self, ago, &self->times[first]) < 0;
    }
    failed = failed || grpc_guard_put_int(buffer, &self->direction[UNSENT], 0) < 0
             || grpc_guard_close(self, at, first, 2) < 0;
    return failed ? -1 : 0;
}
