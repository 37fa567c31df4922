/* Bytes that grow. https://protobuf.dev/programming-guides/encoding/ */

#include "core.h"
#include "bytes.h"

enum { LONGEST = 10 }; /* bytes of a varint */

static int
make_room(Bytes *bytes, size_t more)
{
    size_t needed = bytes->size + more;
    if (needed <= bytes->room) {
        return 0;
    }
    char *start = PyMem_Realloc(bytes->start, 2 * needed);
    if (start == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    bytes->start = start;
    bytes->room = 2 * needed;
    return 0;
}

int
grpc_guard_put(Bytes *bytes, const char *more, size_t size)
{
    if (make_room(bytes, size) < 0) {
        return -1;
    }
    if (size > 0) { /* else there may be no memory yet */
        memcpy(bytes->start + bytes->size, more, size);
    }
    bytes->size += size;
    return 0;
}

static size_t
varint(char *found, unsigned long long value)
{
    size_t size = 0;
    while (value > 0x7F) {
        found[size++] = (char)(value | 0x80);
        value >>= 7;
    }
    found[size++] = (char)value;
    return size;
}

int
grpc_guard_put_varint(Bytes *bytes, unsigned long long value)
{
    char found[LONGEST];
    return grpc_guard_put(bytes, found, varint(found, value));
}

int
grpc_guard_put_length_at(Bytes *bytes, size_t at)
{
    char found[LONGEST];
    size_t size = bytes->size - at, more = varint(found, size);
    if (grpc_guard_put(bytes, found, more) < 0) {
        return -1;
    }
    memmove(bytes->start + at + more, bytes->start + at, size);
    memcpy(bytes->start + at, found, more);
    return 0;
}
