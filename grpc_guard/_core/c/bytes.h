/* Bytes that grow, as those of a message: see encoding.c. */

#ifndef GRPC_GUARD_BYTES_H
#define GRPC_GUARD_BYTES_H

#include <stddef.h>
#include <string.h>

typedef struct {
    char *start;
    size_t size, room;
} Bytes;

enum { LONGEST = 10 }; /* bytes of a varint, and more than a tag or a number has */

/* Each returns -1 with MemoryError set, else 0. */
int grpc_guard_grow(Bytes *bytes, size_t more);

/* The same, quickly where there is room. */
static inline int
grpc_guard_has_room(Bytes *bytes, size_t more)
{
    return bytes->size + more <= bytes->room ? 0 : grpc_guard_grow(bytes, more);
}

static inline int
grpc_guard_put(Bytes *bytes, const char *more, size_t size)
{
    if (grpc_guard_has_room(bytes, size) < 0) {
        return -1;
    }
    if (size > 0) { /* else there may be no memory yet */
        memcpy(bytes->start + bytes->size, more, size);
    }
    bytes->size += size;
    return 0;
}

static inline void
grpc_guard_swap(Bytes *one, Bytes *other)
{
    Bytes bytes = *one;
    *one = *other;
    *other = bytes;
}

/* Puts `size` of these eight bytes. */
static inline int
grpc_guard_put_few(Bytes *bytes, const char *eight, size_t size)
{
    if (grpc_guard_has_room(bytes, 8) < 0) {
        return -1;
    }
    memcpy(bytes->start + bytes->size, eight, 8);
    bytes->size += size;
    return 0;
}

static inline int
grpc_guard_put_varint(Bytes *bytes, unsigned long long value)
{
    if (grpc_guard_has_room(bytes, LONGEST) < 0) {
        return -1;
    }
    char *end = bytes->start + bytes->size;
    while (value > 0x7F) {
        *end++ = (char)(value | 0x80);
        value >>= 7;
    }
    *end++ = (char)value;
    bytes->size = (size_t)(end - bytes->start);
    return 0;
}

static inline size_t
grpc_guard_size_of_varint(unsigned long long value)
{
    size_t size = 1;
    for (; value > 0x7F; value >>= 7) {
        size++;
    }
    return size;
}

/* Puts the number of the bytes from `at` on before them. */
int grpc_guard_put_length_at(Bytes *bytes, size_t at);

#endif
