/* Bytes that grow, as those of a message: see encoding.c. */

#ifndef GRPC_GUARD_BYTES_H
#define GRPC_GUARD_BYTES_H

#include <stddef.h>

typedef struct {
    char *start;
    size_t size, room;
} Bytes;

/* Each returns -1 with MemoryError set, else 0. */
int grpc_guard_put(Bytes *bytes, const char *more, size_t size);
int grpc_guard_put_varint(Bytes *bytes, unsigned long long value);

/* Puts the number of the bytes from `at` on before them. */
int grpc_guard_put_length_at(Bytes *bytes, size_t at);

#endif
