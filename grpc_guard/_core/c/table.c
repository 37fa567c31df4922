/* A table of rows that are found by an address, with which each begins.
 *
 * A look makes some of them, with thousands of rows each.
 */

#include "arrays.h"
#include "table.h"

enum { FEWEST = 64 };

int
grpc_guard_room_for_row(Table *self, size_t size)
{
    if (self->count < self->room) {
        return 0;
    }
    Py_ssize_t room = self->room == 0 ? FEWEST : 2 * self->room;
    while (room < self->likely) {
        room *= 2;
    }
    void *all = grpc_guard_resized(self->all, (size_t)room, size);
    if (all == NULL) {
        return -1;
    }
    self->all = all;
    self->room = room;
    return 0;
}

int
grpc_guard_make_index(Table *self, size_t size)
{
    size_t spots = 2 * (size_t)self->room;
    unsigned int *index = PyMem_Calloc(spots, sizeof(unsigned int));
    if (index == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(self->index);
    self->index = index;
    self->mask = spots - 1;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        *grpc_guard_spot_of(self, size, *(uintptr_t *)((char *)self->all + (size_t)i * size)) = (unsigned int)i + 1;
    }
    return 0;
}

void *
grpc_guard_put_row(Table *self, size_t size, uintptr_t key)
{
    if (grpc_guard_room_for_row(self, size) < 0
        || ((self->index == NULL || self->mask + 1 < 2 * (size_t)self->room)
            && grpc_guard_make_index(self, size) < 0)) {
        return NULL;
    }
    unsigned int *spot = grpc_guard_spot_of(self, size, key);
    if (*spot == 0) {
        (void)grpc_guard_add_row(self, size, key); /* there is room */
        *spot = (unsigned int)self->count;
    }
    return (char *)self->all + (*spot - 1) * size;
}

void
grpc_guard_end_table(Table *self)
{
    PyMem_Free(self->all);
    PyMem_Free(self->index);
}
