/* Arrays that grow: see arrays.c. */

#ifndef GRPC_GUARD_ARRAYS_H
#define GRPC_GUARD_ARRAYS_H

#include <stddef.h>

/* Returns the memory of an array, or of a new one if that is NULL, with room for so many entries of this size;
 * NULL: an error is set, and the array is as it was. */
void *grpc_guard_resized(void *array, size_t room, size_t size);

#endif
