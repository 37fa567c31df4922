/* Handlers that have not changed since the last answer, as bytes: see copies.c and serving.c. */

#include "serving.h"

/* Finds what is kept of the stream that a task handles, if it is the one that reads it, under the name that it
 * had in the last answer; NULL: it is not. */
static Copied *
copy_of_reader(State *state, Serving *self, const HandledOne *noted, PyObject *task)
{
    if (self->copies == NULL || noted == NULL || !IS_STREAM(state, noted->stream)) {
        return NULL;
    }
    StreamFields *stream = (StreamFields *)noted->stream;
    Copied *one = grpc_guard_copy_of(self->copies, stream);
    if (one == NULL || one->read.how != TASK_INSIDE || stream->read != Py_True || stream->reader == NULL) {
        return NULL;
    }
    const Noted *seen = grpc_guard_seen_in(self->crowd, stream->reader);
    int is_it = seen != NULL && seen->task == task && seen->name != NULL && seen->name == one->read.name;
    return is_it ? one : NULL;
}

/* Tells whether Python need not look at where the generator of a handler is. */
static int
is_plain(const Serving *self, const StreamFields *stream)
{
    if (stream->write == Py_None || (stream->write == Py_True && stream->writer == NULL)) {
        return 1;
    }
    return stream->write == Py_True && (PyObject *)Py_TYPE(stream->writer) == self->plain;
}

int
grpc_guard_put_handler_copy(State *state, Serving *self, const HandledOne *noted, PyObject *task,
                            PyObject *stack)
{
    Copied *one = copy_of_reader(state, self, noted, task);
    if (one == NULL || one->handled_at != stack || one->handler_look != self->copies->last
        || !is_plain(self, (StreamFields *)noted->stream)) {
        return 0;
    }
    Bytes *bytes = &self->buffer->bytes;
    size_t begin = bytes->size;
    double held = noted->since < self->present ? self->present - noted->since : 0.0;
    if (grpc_guard_put(bytes, self->copies->handlers.start + one->handler_at, one->handler_size) < 0
        || grpc_guard_put_key(self, noted, held, begin) < 0) {
        return -1;
    }
    (void)PyFloat_Pack8(held, bytes->start + begin + one->handler_held, 1);
    one->handler_at = begin;
    one->handler_look = self->copies->look;
    return 1;
}

void
grpc_guard_keep_handler_copy(State *state, Serving *self, const HandledOne *noted, PyObject *task,
                             PyObject *stack, size_t begin)
{
    Copied *one = copy_of_reader(state, self, noted, task);
    size_t size = self->buffer->bytes.size - begin;
    if (one == NULL || size > LARGEST_COPY) {
        return;
    }
    SET(one->handled_at, Py_NewRef(stack));
    one->handler_at = begin;
    one->handler_size = (unsigned int)size;
    one->handler_held = (unsigned short)(self->held_at - begin);
    one->handler_look = self->copies->look;
}
