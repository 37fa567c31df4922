/* Streams that have not changed since the last answer, as bytes: see copies.c and answering.c. */

#include "answering.h"
#include "crowds.h"
#include "directions.h"

/* Tells whether somebody is in a direction, and described, as in the last answer, and for how long; -1: an
 * error is set. */
static int
is_same_task(Answer *self, const Noted *noted, const CopiedWay *copied, double *ago)
{
    const Said *said = &self->look.crowd->said[noted->said];
    if (copied->how != TASK_INSIDE || said->operation != copied->operation || said->stack != copied->stack) {
        return 0;
    }
    *ago = noted->held;
    return grpc_guard_is_named(self->look.crowd, noted, copied->name);
}

/* Tells whether a direction of a stream is told as it was, and how long ago its last operation began; -1:
 * an error is set. */
static int
is_same_way(Answer *self, PyObject *reference, PyObject *itself, const CopiedWay *copied, double *ago)
{
    if (!grpc_guard_sees_way(reference, itself, &itself)) {
        return 0;
    }
    if (itself == NULL) {
        return copied->how == NO_WAY;
    }
    const Noted *noted = grpc_guard_seen_in(self->look.crowd, itself);
    if (noted != NULL) {
        return is_same_task(self, noted, copied, ago);
    }
    int is_owned = grpc_guard_is_among(&self->owners, itself);
    AioFields *direction = (AioFields *)itself;
    if (is_owned != 0 || !Py_IS_TYPE(itself, (PyTypeObject *)self->look.plain)
        || !grpc_guard_is_idle(&self->look, direction)) {
        return is_owned < 0 ? -1 : 0;
    }
    double since = grpc_guard_since_of(direction), present = self->look.present;
    *ago = since < present ? present - since : 0.0;
    return copied->how == (since != 0.0 ? HAS_BEGAN : NEVER_BEGAN);
}

/* Tells whether the state, the begin and the channel of a stream are told as they were; -1: an error is set. */
static int
is_same_stream(Answer *self, StreamFields *stream, const Copied *one)
{
    int is_among = grpc_guard_is_among(&self->others, stream);
    if (is_among != 0 || one->origin != stream->origin) {
        return is_among < 0 ? -1 : 0;
    }
    if (stream->origin == Py_None) {
        const HandledOne *handled = grpc_guard_handled_by(self->look.begun, (uintptr_t)stream);
        if (one->times[ITS_AGE] == 0 ? handled != NULL : handled == NULL || handled->since != one->began) {
            return 0;
        }
    }
    long channel = grpc_guard_number_of(self, stream->channel);
    PyObject *state = channel < -1 ? NULL : grpc_guard_state_of_stream(&self->look, stream);
    return state == NULL ? -1 : state == one->state && channel == one->channel;
}

/* Writes a number over the one that is there. */
static void
put_time(char *bytes, unsigned short at, double seconds)
{
    if (at != 0) {
        grpc_guard_pack(bytes + at, seconds);
    }
}

/* Puts the bytes of a stream with a number where those end that are there, if it is not the place where they
 * are; -1: an error is set. */
static int
put_bytes(Answer *self, const Copied *one, long number, size_t before)
{
    Bytes *bytes = &self->buffer->bytes;
    Copies *copies = self->copies;
    size_t head = (size_t)self->field.tag_size + grpc_guard_size_of_varint(before + one->size) + before;
    if (copies->is_in_place && one->number == (unsigned int)number && one->at == bytes->size + head) {
        bytes->size = one->at + one->size;
        return 0;
    }
    if (grpc_guard_make_place(self) < 0 || grpc_guard_put_tag(self->buffer, &self->field) < 0
        || grpc_guard_put_varint(bytes, before + one->size) < 0
        || grpc_guard_put_int(self->buffer, &self->stream[NUMBER], (unsigned long long)number) < 0) {
        return -1;
    }
    return grpc_guard_put(bytes, copies->bytes.start + (one->at - copies->base), one->size);
}

/* Puts a stream as it was, with a number and other times; -1: an error is set. */
static int
put_again(Answer *self, Copied *one, long number, const double *ago)
{
    Bytes *bytes = &self->buffer->bytes;
    const Field *its_number = &self->stream[NUMBER];
    size_t before = (size_t)its_number->tag_size + grpc_guard_size_of_varint((unsigned long long)number);
    if (put_bytes(self, one, number, before) < 0) {
        return -1;
    }
    one->at = bytes->size - one->size;
    one->look = self->copies->look;
    one->number = (unsigned int)number;
    double present = self->look.present;
    char *start = bytes->start + one->at;
    put_time(start, one->times[ITS_AGE], present - one->began);
    put_time(start, one->times[STARTER_HELD], one->began < present ? present - one->began : 0.0);
    for (int i = 0; i < 2; i++) {
        put_time(start, one->times[READER_HELD + i], ago[0]);
        put_time(start, one->times[WRITER_HELD + i], ago[1]);
    }
    return 0;
}

int
grpc_guard_put_copy(State *state, Answer *self, StreamFields *stream, long number)
{
    if (!IS_STREAM(state, (PyObject *)stream) || self->look.is_waited || self->look.is_sending) {
        return 0;
    }
    Copied *one = grpc_guard_copy_of(self->copies, stream);
    if (one == NULL || one->at < self->copies->base) {
        return 0;
    }
    int is_same = is_same_stream(self, stream, one);
    double ago[2] = {0.0, 0.0};
    if (is_same > 0) {
        is_same = is_same_way(self, stream->read, stream->reader, &one->read, &ago[0]);
    }
    if (is_same > 0) {
        is_same = is_same_way(self, stream->write, stream->writer, &one->write, &ago[1]);
    }
    /* A write may wait for somebody who reads: see needs_record(). */
    int may_wait = one->write.how == TASK_INSIDE && one->read.how != TASK_INSIDE && one->read.how != NO_WAY;
    if (is_same <= 0 || (may_wait && ago[1] >= self->look.moment)) {
        return is_same < 0 ? -1 : 0;
    }
    if (put_again(self, one, number, ago) < 0) {
        return -1;
    }
    self->count += one->channel >= 0;
    self->copies->same++;
    return 1;
}

/* Tells how a direction is told. */
static int
how_of(const Way *way)
{
    if (way->direction == Py_None) {
        return NO_WAY;
    }
    if (grpc_guard_is_inside(way)) {
        return way->noted != NULL ? TASK_INSIDE : RECORD_INSIDE;
    }
    return grpc_guard_since_of((AioFields *)way->direction) != 0.0 ? HAS_BEGAN : NEVER_BEGAN;
}

/* Notes how a direction was told; -1: an error is set. */
static int
note_way(Answer *self, const Way *way, CopiedWay *copied)
{
    copied->how = how_of(way);
    if (way->noted == NULL) {
        return 0;
    }
    const Said *said = &self->look.crowd->said[way->noted->said];
    copied->operation = Py_NewRef(said->operation);
    copied->stack = Py_NewRef(said->stack);
    copied->name = grpc_guard_name_of(self->look.crowd, way->noted->task);
    return copied->name == NULL ? -1 : 0;
}

int
grpc_guard_keep_copy(Answer *self, StreamFields *stream, long number, size_t from, const Ways *ways)
{
    size_t size = self->buffer->bytes.size - from;
    if (self->copies == NULL || size > LARGEST_COPY || how_of(&ways->read) == RECORD_INSIDE
        || how_of(&ways->write) == RECORD_INSIDE) {
        return 0;
    }
    Copied *one = grpc_guard_place_for_copy(self->copies, stream);
    if (one == NULL) {
        return -1;
    }
    one->number = (unsigned int)number;
    one->state = ways->state;
    one->origin = stream->origin;
    one->channel = self->channel_number;
    one->began = self->began;
    one->at = from;
    one->size = (unsigned int)size;
    for (int i = 0; i < TIMES; i++) {
        one->times[i] = (unsigned short)(self->times[i] == 0 ? 0 : self->times[i] - from);
    }
    if (note_way(self, &ways->read, &one->read) < 0 || note_way(self, &ways->write, &one->write) < 0) {
        grpc_guard_forget_copy(self->copies, one);
        return -1;
    }
    return 0;
}
