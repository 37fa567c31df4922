/* An answer that is made where the last one is: see copies.c.
 *
 * Mostly the oldest streams have not changed, and none before them has ended: their bytes are where they have to
 * be, and get other times there. Megabytes need not be copied. With the first stream that is told in other bytes,
 * what follows of the last answer is put elsewhere.
 */

#include "answering.h"

void
grpc_guard_begin_in_place(Copies *self, Scratch *scratch)
{
    if (self->is_used_up || self->last == 0 || self->bytes.size == 0 || scratch->bytes.size > 0) {
        return;
    }
    grpc_guard_swap(&self->bytes, &scratch->bytes);
    self->whole = scratch->bytes.size;
    scratch->bytes.size = 0;
    self->is_in_place = self->is_used_up = 1;
}

int
grpc_guard_make_place(Answer *self)
{
    Copies *copies = self->copies;
    Bytes *bytes = &self->buffer->bytes;
    if (copies == NULL || !copies->is_in_place) {
        return 0;
    }
    size_t put = bytes->size, left = copies->whole - put;
    copies->is_in_place = 0;
    copies->bytes.size = 0;
    if (left <= put) {
        copies->base = put;
        return grpc_guard_put(&copies->bytes, bytes->start + put, left);
    }
    if (grpc_guard_has_room(&copies->bytes, put) < 0) {
        return -1;
    }
    grpc_guard_swap(bytes, &copies->bytes);
    return grpc_guard_put(bytes, copies->bytes.start, put);
}
