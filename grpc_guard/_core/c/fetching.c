/* What is needed of the streams that follow, fetched, each from where the last step leads: see answering.c. */

#include "answering.h"
#include "layouts.h"

/* Has the calls and origins that streams lead to fetched, in the steps that lead there. */
static void
fetch_call(Answer *self, const StreamFields *stream, int step)
{
    PyObject *call = stream->call == Py_None ? NULL : grpc_guard_fetch_led_to(stream->call, 0);
    if (call == NULL || call == Py_None) {
        return;
    }
    if (step == 0) {
        FETCH((const char *)call - 32); /* where its values are */
        FETCH(call);
    }
    else if (self->look.of_core_call.index >= 0 && self->look.of_core_call.version != 0
             && Py_TYPE(call)->tp_version_tag == self->look.of_core_call.version) {
        PyObject **values = grpc_guard_values_of(call);
        if (values != NULL && step == 1) {
            FETCH(&values[self->look.of_core_call.index]);
        }
        else if (values != NULL) {
            FETCH_LINES(values[self->look.of_core_call.index], 128);
        }
    }
}

static void
fetch_origin(Answer *self, const StreamFields *stream, int step)
{
    PyObject *origin = stream->origin;
    if (origin == NULL || !Py_IS_TYPE(origin, self->look.started) || self->look.at[0] < 0) {
        return;
    }
    PyObject *place = OF(origin, self->look.at[PLACE]);
    if (step == 0) {
        FETCH(place);
        FETCH(OF(origin, self->look.at[NAME]));
    }
    else if (place != NULL && PyTuple_CheckExact(place) && PyTuple_GET_SIZE(place) == 2) {
        FETCH(PyTuple_GET_ITEM(place, 1));
    }
}

/* Returns a direction of a stream without holding it, or NULL. */
static PyObject *
led_to(PyObject *reference, PyObject *itself)
{
    return reference == Py_True ? itself : grpc_guard_fetch_led_to(reference, 0);
}

/* Has who is in the directions of a stream fetched, and further what it leads to. */
static void
fetch_further(Answer *self, const StreamFields *stream, int step)
{
    PyObject *directions[] = {
        led_to(stream->read, stream->reader), led_to(stream->write, stream->writer),
    };
    for (int i = 0; i < 2; i++) {
        if (step < 2) {
            grpc_guard_fetch_seen(self->look.crowd, directions[i], step);
        }
        else if (directions[i] != NULL) {
            const Noted *noted = grpc_guard_seen_in(self->look.crowd, directions[i]);
            if (noted != NULL) {
                FETCH_TASK(noted->task);
            }
        }
    }
    if (step > 0) {
        fetch_call(self, stream, step);
        fetch_origin(self, stream, step);
    }
}

/* Has what is compared of a direction that was told so fetched. */
static void
fetch_way(Answer *self, PyObject *direction, const CopiedWay *copied, int step)
{
    if (copied->how == TASK_INSIDE) {
        grpc_guard_fetch_seen(self->look.crowd, direction, step);
        if (step == 1) {
            FETCH(direction); /* how often it is held */
        }
    }
    else if (copied->how != NO_WAY && step == 0) {
        FETCH_LINES(direction, 80);
    }
}

/* The same of streams that were in the last answer: their bytes are read one after the other, which the processor
 * sees by itself. */
static void
fetch_copies(State *state, Answer *self, PyObject *const *streams, Py_ssize_t left, Py_ssize_t at)
{
    const Copied *all = self->copies->boxes.all;
    if (left > 20) {
        FETCH_LINES(streams[20], 112);
    }
    if (left > 16 && IS_STREAM(state, streams[16])) {
        const StreamFields *stream = (StreamFields *)streams[16];
        const Copied *one = grpc_guard_box_of(self->copies, stream);
        if (one != NULL) {
            FETCH_LINES(one, sizeof(Copied));
        }
        FETCH(stream->call);
    }
    unsigned int *ahead = &self->ahead[(at + 12) % AHEAD];
    *ahead = 0;
    if (left > 12 && IS_STREAM(state, streams[12])) {
        const StreamFields *stream = (StreamFields *)streams[12];
        const Copied *one = grpc_guard_copy_of(self->copies, stream);
        if (one != NULL) {
            *ahead = (unsigned int)(one - all) + 1;
            fetch_call(self, stream, 0);
            fetch_way(self, stream->reader, &one->read, 0);
            fetch_way(self, stream->writer, &one->write, 0);
        }
    }
    if (left > 8 && self->ahead[(at + 8) % AHEAD] != 0) {
        const StreamFields *stream = (StreamFields *)streams[8];
        const Copied *one = &all[self->ahead[(at + 8) % AHEAD] - 1];
        fetch_call(self, stream, 1);
        fetch_way(self, stream->reader, &one->read, 1);
        fetch_way(self, stream->writer, &one->write, 1);
    }
    if (left > 4 && self->ahead[(at + 4) % AHEAD] != 0) {
        fetch_call(self, (StreamFields *)streams[4], 2);
    }
}

void
grpc_guard_fetch_ahead(State *state, Answer *self, PyObject *const *streams, Py_ssize_t left, Py_ssize_t at)
{
    if (self->copies != NULL) {
        fetch_copies(state, self, streams, left, at);
        return;
    }
    if (left > 20) {
        FETCH_LINES(streams[20], sizeof(StreamFields));
    }
    if (left > 16 && IS_STREAM(state, streams[16])) {
        StreamFields *fields = (StreamFields *)streams[16];
        FETCH_LINES(fields->read == Py_True ? fields->reader : fields->read, sizeof(AioFields));
        FETCH_LINES(fields->write == Py_True ? fields->writer : fields->write, sizeof(AioFields));
        FETCH(fields->call);
        FETCH_LINES(fields->origin, 96);
    }
    if (left > 12 && IS_STREAM(state, streams[12])) {
        StreamFields *fields = (StreamFields *)streams[12];
        grpc_guard_fetch_led_to(fields->read, sizeof(AioFields)); /* of those that are references */
        grpc_guard_fetch_led_to(fields->write, sizeof(AioFields));
        fetch_call(self, fields, 0);
        fetch_origin(self, fields, 0);
    }
    for (int step = 0; step < 3; step++) {
        Py_ssize_t at = 9 - 3 * step;
        if (left > at && IS_STREAM(state, streams[at])) {
            fetch_further(self, (StreamFields *)streams[at], step);
        }
    }
}
