/* Tasks inside an operation of ours: as long as it goes on, all that is outside of it is as it was.
 *
 * An operation is known by its direction: by its identity, and by when it began, which no other one of that
 * direction did. Its stream bears a mark, and is looked at only while the list of a look holds it. A weak
 * reference to each would do as well, but each counts as an object to the collector: thousands that are made in
 * one look have it go through all that the process has.
 */

#include "copies.h"
#include "recalls.h"

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

PyObject *
grpc_guard_way_of(const StreamFields *stream, int is_write)
{
    PyObject *direction = is_write ? stream->writer : stream->reader; /* which its stream forgets when it dies */
    if (direction != NULL && Py_REFCNT(direction) > 0) {
        return direction;
    }
    PyObject *reference = is_write ? stream->write : stream->read;
    return reference != NULL && grpc_guard_sees_way(reference, direction, &direction) ? direction : NULL;
}

/* Tells by a number at which line a task awaits this operation, if the coroutine is known that does; 0: nobody
 * knows; -1: an error is set. */
static int
line_of(Recollection *self, PyObject *standing, PyObject *task, const StreamFields *stream, const void *operation)
{
    if (!PyTuple_Check(standing) || PyTuple_GET_SIZE(standing) != 4) {
        return 0;
    }
    Awaiting found;
    int line = grpc_guard_find_line(self, task, stream, standing, &found);
    if (line > 0) {
        line = found.operation == operation ? found.line : 0;
    }
    if (line > 0 && grpc_guard_learn_line(self, &found, standing) < 0) {
        line = -1;
    }
    grpc_guard_forget_line(&found);
    return line;
}

int
grpc_guard_note_inside(Recollection *self, Recalled *known, PyObject *task, PyObject *direction, PyObject *future)
{
    if (!self->is_listed || !IS_AIO_DIRECTION(self->state, direction)) {
        return 0;
    }
    AioFields *fields = (AioFields *)direction;
    StreamFields *stream = (StreamFields *)fields->stream;
    if (!grpc_guard_has_inside(fields) || !fields->is_of_fields || stream == NULL) {
        return 0;
    }
    int is_write = grpc_guard_way_of(stream, 0) != direction;
    if (is_write && grpc_guard_way_of(stream, 1) != direction) {
        return 0; /* its stream knows another one */
    }
    const void *operation = fields->inside; /* that was found: Python may run now, and the task go on */
    double since = fields->since;
    int line = line_of(self, known->standing, task, stream, operation);
    Marked *one = line < 0 ? NULL : mark(self, stream);
    if (one == NULL) {
        return -1;
    }
    known->inside = (Inside){
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

const StreamFields *
grpc_guard_stream_of(const Recollection *self, const Inside *inside)
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
    const StreamFields *stream = grpc_guard_stream_of(self, inside);
    PyObject *direction = stream == NULL ? NULL : grpc_guard_way_of(stream, inside->is_write);
    if (direction == NULL || !IS_AIO_DIRECTION(self->state, direction)) {
        return NULL;
    }
    const AioFields *fields = (AioFields *)direction;
    int goes_on = grpc_guard_has_inside(fields) && fields->inside == inside->operation && fields->since == inside->since;
    return goes_on ? direction : NULL;
}

void
grpc_guard_fetch_inside(const Recollection *self, const Inside *inside, int step)
{
    const Marked *one = step == 0 ? box_with(self, inside) : NULL;
    if (one != NULL) {
        FETCH(one->stream);
    }
    const StreamFields *stream = step == 0 ? NULL : grpc_guard_stream_of(self, inside);
    if (stream != NULL) {
        FETCH_LINES(inside->is_write ? stream->writer : stream->reader, 96);
    }
}
