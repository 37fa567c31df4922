/* Handlers that have not changed since the last answer, as bytes: see copies.c and serving.c. */

#include "serving.h"

/* Finds what is kept of the stream that a task handles, if it is the one that reads it, under the name that it
 * had in the last answer: 1; 0 if it is not; -1: an error is set. */
static int
find_copy(State *state, Serving *self, const HandledOne *noted, PyObject *task, Copied **found)
{
    if (self->copies == NULL || noted == NULL || !IS_STREAM(state, noted->what)) {
        return 0;
    }
    StreamFields *stream = (StreamFields *)noted->what;
    Copied *one = grpc_guard_copy_of(self->copies, stream);
    PyObject *reader;
    if (one == NULL || one->read.how != TASK_INSIDE
        || !grpc_guard_sees_way(stream->read, stream->reader, &reader) || reader == NULL) {
        return 0;
    }
    *found = one;
    const Noted *seen = grpc_guard_seen_in(self->crowd, reader);
    return seen == NULL || seen->task != task ? 0 : grpc_guard_is_named(self->crowd, seen, one->read.name);
}

/* Tells whether Python need not look at where the generator of a handler is. */
static int
is_plain(const Serving *self, const StreamFields *stream)
{
    PyObject *writer;
    int is_seen = grpc_guard_sees_way(stream->write, stream->writer, &writer);
    return is_seen && (writer == NULL || (PyObject *)Py_TYPE(writer) == self->plain);
}

int
grpc_guard_put_handler_copy(State *state, Serving *self, const HandledOne *noted, PyObject *task,
                            PyObject *stack)
{
    Copied *one;
    int is_it = find_copy(state, self, noted, task, &one);
    if (is_it <= 0 || one->handled_at != stack || one->handler_look != self->copies->last
        || !is_plain(self, (StreamFields *)noted->what)) {
        return is_it < 0 ? -1 : 0;
    }
    Bytes *bytes = &self->buffer->bytes;
    size_t begin = bytes->size;
    double held = noted->since < self->present ? self->present - noted->since : 0.0;
    if (grpc_guard_put(bytes, self->copies->handlers.start + one->handler_at, one->handler_size) < 0
        || grpc_guard_put_key(self, noted, held, begin) < 0) {
        return -1;
    }
    grpc_guard_pack(bytes->start + begin + one->handler_held, held);
    one->handler_at = begin;
    one->handler_look = self->copies->look;
    return 1;
}

int
grpc_guard_keep_handler_copy(State *state, Serving *self, const HandledOne *noted, PyObject *task,
                             PyObject *stack, size_t begin)
{
    Copied *one;
    int is_it = find_copy(state, self, noted, task, &one);
    size_t size = self->buffer->bytes.size - begin;
    if (is_it <= 0 || size > LARGEST_COPY) {
        return is_it < 0 ? -1 : 0;
    }
    SET(one->handled_at, Py_NewRef(stack));
    one->handler_at = begin;
    one->handler_size = (unsigned int)size;
    one->handler_held = (unsigned short)(self->held_at - begin);
    one->handler_look = self->copies->look;
    return 0;
}
