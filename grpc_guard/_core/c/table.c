/* A table of rows that are found by an address, with which each begins.
 *
 * A look makes some of them, with thousands of rows each.
 */

#include "table.h"

enum { FEWEST = 64 };

/* Makes room for one more; -1: an error is set. */
static int
make_room(Table *self, size_t size)
{
    if (self->count < self->room) {
        return 0;
    }
    Py_ssize_t room = self->room == 0 ? FEWEST : 2 * self->room;
    while (room < self->likely) {
        room *= 2;
    }
    void *all = PyMem_Realloc(self->all, (size_t)room * size);
    if (all == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->all = all;
    unsigned int *index = PyMem_Calloc((size_t)(2 * room), sizeof(unsigned int));
    if (index == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(self->index);
    self->index = index;
    self->mask = (size_t)(2 * room) - 1;
    self->room = room;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        *grpc_guard_spot_of(self, size, *(uintptr_t *)((char *)all + (size_t)i * size)) = (unsigned int)i + 1;
    }
    return 0;
}

void *
grpc_guard_put_row(Table *self, size_t size, uintptr_t key)
{
    if (make_room(self, size) < 0) {
        return NULL;
    }
    unsigned int *spot = grpc_guard_spot_of(self, size, key);
    char *row = (char *)self->all + (*spot == 0 ? (size_t)self->count : *spot - 1) * size;
    if (*spot == 0) {
        memset(row, 0, size);
        *(uintptr_t *)row = key;
        *spot = (unsigned int)++self->count;
    }
    return row;
}

void
grpc_guard_end_table(Table *self)
{
    PyMem_Free(self->all);
    PyMem_Free(self->index);
}
