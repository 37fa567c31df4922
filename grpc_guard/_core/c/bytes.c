/* Bytes that grow, as those of a message. https://protobuf.dev/programming-guides/encoding/ */

#include "core.h"
#include "arrays.h"
#include "bytes.h"

int
grpc_guard_grow(Bytes *bytes, size_t more)
{
    size_t needed = bytes->size + more;
    char *start = grpc_guard_resized(bytes->start, 2 * needed, 1);
    if (start == NULL) {
        return -1;
    }
    bytes->start = start;
    bytes->room = 2 * needed;
    return 0;
}

int
grpc_guard_put_length_at(Bytes *bytes, size_t at)
{
    size_t size = bytes->size - at;
    if (grpc_guard_put_varint(bytes, size) < 0) {
        return -1;
    }
    char found[LONGEST];
    size_t more = bytes->size - at - size;
    memcpy(found, bytes->start + at + size, more);
    memmove(bytes->start + at + more, bytes->start + at, size);
    memcpy(bytes->start + at, found, more);
    return 0;
}
