/* Streams that have not changed since the last answer, as bytes: see copies.c and answering.c. */

#include "answering.h"
#include "crowds.h"
#include "directions.h"

enum { LARGEST = 60000 }; /* bytes of a stream that are kept */

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

/* Tells whether a direction is told as it was, but for the time; -1: an error is set. */
static int
is_same_way(Answer *self, const Way *way, const CopiedWay *copied)
{
    if (how_of(way) != copied->how) {
        return 0;
    }
    if (way->noted == NULL) {
        return 1;
    }
    const Said *said = &self->look.crowd->said[way->noted->said];
    if (said->operation != copied->operation || said->stack != copied->stack) {
        return 0;
    }
    PyObject *name = grpc_guard_name_of(self->look.crowd, way->noted->task);
    Py_XDECREF(name); /* the entry holds it, if it is the same */
    return name == NULL ? -1 : name == copied->name;
}

/* Tells whether a stream is told as it was, but for the times and its number; -1: an error is set. */
static int
is_same(Answer *self, const StreamFields *stream, const Copied *one, const Ways *ways,
        const HandledOne *handled)
{
    if (one->state != ways->state || one->origin != stream->origin) {
        return 0;
    }
    if (stream->origin == Py_None
        && (one->times[ITS_AGE] != 0 ? handled == NULL || handled->since != one->began : handled != NULL)) {
        return 0;
    }
    long channel = grpc_guard_number_of(self, stream->channel);
    if (channel != one->channel) {
        return channel < -1 ? -1 : 0;
    }
    int is_so = is_same_way(self, &ways->read, &one->read);
    return is_so <= 0 ? is_so : is_same_way(self, &ways->write, &one->write);
}

/* Writes a number over the one that is there. */
static void
put_time(char *bytes, unsigned short at, double seconds)
{
    if (at != 0) {
        (void)PyFloat_Pack8(seconds, bytes + at, 1);
    }
}

static void
put_times_of(Answer *self, char *bytes, const Way *way, const unsigned short *times)
{
    double ago = 0.0;
    if (way->noted != NULL) {
        ago = way->noted->held;
    }
    else if (way->direction != Py_None) {
        double since = ((AioFields *)way->direction)->since, present = self->look.present;
        ago = since < present ? present - since : 0.0;
    }
    put_time(bytes, times[0], ago);
    put_time(bytes, times[1], ago);
}

int
grpc_guard_put_copy(Answer *self, StreamFields *stream, long number, const Ways *ways,
                    const HandledOne *handled)
{
    Copied *one = grpc_guard_copy_of(self->copies, stream);
    int is_so = one == NULL ? 0 : is_same(self, stream, one, ways, handled);
    if (is_so <= 0) {
        return is_so;
    }
    Buffer *buffer = self->buffer;
    const Field *its_number = &self->stream[NUMBER];
    size_t before = (size_t)its_number->tag_size + grpc_guard_size_of_varint((unsigned long long)number);
    if (grpc_guard_put_tag(buffer, &self->field) < 0
        || grpc_guard_put_varint(&buffer->bytes, before + one->size) < 0
        || grpc_guard_put_int(buffer, its_number, (unsigned long long)number) < 0) {
        return -1;
    }
    size_t at = buffer->bytes.size;
    if (grpc_guard_put(&buffer->bytes, self->copies->bytes.start + one->at, one->size) < 0) {
        return -1;
    }
    double present = self->look.present;
    char *bytes = buffer->bytes.start + at;
    put_time(bytes, one->times[ITS_AGE], present - one->began);
    put_time(bytes, one->times[STARTER_HELD], one->began < present ? present - one->began : 0.0);
    put_times_of(self, bytes, &ways->read, &one->times[READER_HELD]);
    put_times_of(self, bytes, &ways->write, &one->times[WRITER_HELD]);
    one->at = at;
    one->look = self->copies->look;
    self->count += one->channel >= 0;
    return 1;
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
grpc_guard_keep_copy(Answer *self, StreamFields *stream, size_t from, const Ways *ways)
{
    size_t size = self->buffer->bytes.size - from;
    if (self->copies == NULL || size > LARGEST || how_of(&ways->read) == RECORD_INSIDE
        || how_of(&ways->write) == RECORD_INSIDE) {
        return 0;
    }
    Copied *one = grpc_guard_place_for_copy(self->copies, stream);
    if (one == NULL) {
        return -1;
    }
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
