/* Tasks inside an operation of ours: as long as it goes on, all that is outside of it is as it was.
 *
 * An operation is known by its direction: by its identity, and by when it began, which no other one of that
 * direction did. Its stream bears a mark, and is looked at only while the list of a look holds it. A weak
 * reference to each would do as well, but each counts as an object to the collector: thousands that are made in
 * one look have it go through all that the process has.
 */

#include "aio.h"
#include "copies.h"
#include "recalls.h"

#include <frameobject.h>

/* Returns the box that a stream bears the number of, if it is one of ours: another stream may be in it. */
static Marked *
box_of(const Recollection *self, const StreamFields *stream)
{
    int is_ours = stream->recalls == self->serial && stream->recall < self->boxes.count;
    return is_ours ? (Marked *)self->boxes.all + stream->recall : NULL;
}

void
grpc_guard_list_streams(Recollection *self, PyObject *streams)
{
    self->look++;
    self->is_listed = streams != Py_None;
    for (Py_ssize_t i = 0; self->is_listed && i < PyList_GET_SIZE(streams); i++) {
        if (i + 16 < PyList_GET_SIZE(streams)) {
            FETCH(PyList_GET_ITEM(streams, i + 16));
        }
        PyObject *later = i + 8 < PyList_GET_SIZE(streams) ? PyList_GET_ITEM(streams, i + 8) : NULL;
        if (later != NULL && IS_STREAM(self->state, later)) {
            FETCH(box_of(self, (StreamFields *)later));
        }
        PyObject *stream = PyList_GET_ITEM(streams, i);
        Marked *one = IS_STREAM(self->state, stream) ? box_of(self, (StreamFields *)stream) : NULL;
        if (one != NULL && one->stream == (StreamFields *)stream) {
            one->look = self->look;
        }
    }
}

void
grpc_guard_unmark(Recollection *self)
{
    for (unsigned int i = 0; self->is_listed && i < self->boxes.count; i++) {
        Marked *one = (Marked *)self->boxes.all + i;
        if (one->stream != NULL && one->look != self->look && one->made != self->look) {
            one->stream = NULL;
            grpc_guard_leave_box(&self->boxes, i);
        }
    }
    self->is_listed = 0;
}

/* Returns the box of a stream, a new one if it has none; NULL: an error is set. */
static Marked *
mark(Recollection *self, StreamFields *stream)
{
    Marked *one = box_of(self, stream);
    if (one != NULL && one->stream == stream) {
        return one;
    }
    unsigned int number;
    if (grpc_guard_take_box(&self->boxes, sizeof(Marked), &number) < 0) {
        return NULL;
    }
    one = (Marked *)self->boxes.all + number;
    *one = (Marked){.stream = stream, .made = self->look};
    stream->recalls = self->serial;
    stream->recall = number;
    return one;
}

/* Returns a direction of a stream, borrowed; NULL: there is none, or it has to be asked for. */
static PyObject *
direction_of(const StreamFields *stream, int is_write)
{
    PyObject *direction = is_write ? stream->writer : stream->reader; /* which its stream forgets when it dies */
    if (direction != NULL && Py_REFCNT(direction) > 0) {
        return direction;
    }
    PyObject *reference = is_write ? stream->write : stream->read;
    return reference != NULL && grpc_guard_sees_way(reference, direction, &direction) ? direction : NULL;
}

/* Tells whether an operation in C has a direction, and since when is known. */
static int
is_inside(const AioFields *direction)
{
    return direction->inside != NULL && direction->taken && !direction->is_untimed;
}

/* Tells by a number at which line a task awaits this operation, if its own coroutine does: nothing else is shown
 * of such a task. 0: not so, or nobody knows; -1: an error is set. */
static int
line_of(Recollection *self, PyObject *task, const void *operation)
{
    PyObject *coroutine = PyObject_CallMethodNoArgs(task, self->str_get_coro);
    if (coroutine == NULL || !PyCoro_CheckExact(coroutine)) {
        Py_XDECREF(coroutine);
        return coroutine == NULL ? -1 : 0;
    }
    PyObject *awaited = PyObject_GetAttr(coroutine, self->str_cr_await), *frame = NULL;
    int line = awaited == NULL ? -1 : 0;
    Py_XDECREF(awaited); /* it is compared, no more */
    if (awaited != NULL && awaited == operation) {
        frame = PyObject_GetAttr(coroutine, self->str_cr_frame);
        line = frame == NULL ? -1 : PyFrame_Check(frame) ? PyFrame_GetLasti((PyFrameObject *)frame) / 2 + 1 : 0;
    }
    Py_XDECREF(frame);
    Py_DECREF(coroutine);
    return line < 1 << 15 ? line : 0;
}

int
grpc_guard_note_inside(Recollection *self, Inside *inside, PyObject *task, PyObject *direction, PyObject *future)
{
    if (!self->is_listed || !IS_AIO_DIRECTION(self->state, direction)) {
        return 0;
    }
    AioFields *fields = (AioFields *)direction;
    StreamFields *stream = (StreamFields *)fields->stream;
    if (!is_inside(fields) || !fields->is_of_fields || stream == NULL) {
        return 0;
    }
    int is_write = direction_of(stream, 0) != direction;
    if (is_write && direction_of(stream, 1) != direction) {
        return 0; /* its stream knows another one */
    }
    const void *operation = fields->inside; /* that was found: Python may run now, and the task go on */
    double since = fields->since;
    int line = line_of(self, task, operation);
    Marked *one = line < 0 ? NULL : mark(self, stream);
    if (one == NULL) {
        return -1;
    }
    *inside = (Inside){
        .operation = operation,
        .future = future,
        .since = since,
        .number = stream->recall + 1,
        .made = (unsigned short)one->made,
        .is_write = is_write != 0,
        .line = (unsigned short)line,
    };
    return 1;
}

/* Returns the box of the stream that somebody was inside of, if that is known: another stream may be in it. */
static const Marked *
box_with(const Recollection *self, const Inside *inside)
{
    int is_known = 0 < inside->number && inside->number <= self->boxes.count;
    return is_known ? (Marked *)self->boxes.all + inside->number - 1 : NULL;
}

/* Returns the stream that somebody was inside of, if it lives. */
static const StreamFields *
stream_of(const Recollection *self, const Inside *inside)
{
    const Marked *one = box_with(self, inside);
    if (one == NULL) {
        return NULL;
    }
    int is_it = self->is_listed && one->look == self->look && (unsigned short)one->made == inside->made;
    return is_it ? one->stream : NULL;
}

PyObject *
grpc_guard_goes_on(const Recollection *self, const Inside *inside)
{
    const StreamFields *stream = stream_of(self, inside);
    PyObject *direction = stream == NULL ? NULL : direction_of(stream, inside->is_write);
    if (direction == NULL || !IS_AIO_DIRECTION(self->state, direction)) {
        return NULL;
    }
    const AioFields *fields = (AioFields *)direction;
    int goes_on = is_inside(fields) && fields->inside == inside->operation && fields->since == inside->since;
    return goes_on ? direction : NULL;
}

/* Tells whether an operation is of the kind that a standing names. */
static int
is_of_kind(const Recollection *self, PyObject *operation, PyObject *standing)
{
    if (!Py_IS_TYPE(operation, self->state->aio_operation) || !PyTuple_Check(standing) || PyTuple_GET_SIZE(standing) != 4) {
        return 0;
    }
    const AioMethod *method = (AioMethod *)((AioOperation *)operation)->method;
    return method != NULL && method->operation == PyTuple_GET_ITEM(standing, 1);
}

int
grpc_guard_is_again(Recollection *self, Recalled *one, PyObject *task, PyObject *future)
{
    Inside *inside = &one->inside;
    const StreamFields *stream = stream_of(self, inside);
    PyObject *direction = stream == NULL || inside->line == 0 ? NULL : direction_of(stream, inside->is_write);
    if (direction == NULL || !IS_AIO_DIRECTION(self->state, direction) || (PyObject *)Py_TYPE(future) != self->plain) {
        return 0;
    }
    const AioFields *fields = (AioFields *)direction;
    if (!is_inside(fields) || !is_of_kind(self, fields->inside, one->standing)) {
        return 0;
    }
    const void *operation = fields->inside;
    double since = fields->since;
    int line = line_of(self, task, operation);
    if (line != inside->line) {
        return line < 0 ? -1 : 0;
    }
    inside->operation = operation;
    inside->future = future;
    inside->since = since;
    return 1;
}

void
grpc_guard_fetch_inside(const Recollection *self, const Inside *inside, int step)
{
    const Marked *one = step == 0 ? box_with(self, inside) : NULL;
    if (one != NULL) {
        FETCH(one->stream);
    }
    const StreamFields *stream = step == 0 ? NULL : stream_of(self, inside);
    if (stream != NULL) {
        FETCH_LINES(inside->is_write ? stream->writer : stream->reader, 96);
    }
}
