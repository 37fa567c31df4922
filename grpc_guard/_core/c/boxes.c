/* Numbered boxes, which keep their number as long as they are in use.
 *
 * An object that bears the number of its box is found without a search, and what is in the box tells whether it
 * is that object: others may have been in the same memory.
 */

#include <Python.h>

#include "arrays.h"
#include "boxes.h"

enum { FEWEST = 64 };

/* Makes room for one more; -1: an error is set. */
static int
make_room(Boxes *self, size_t size)
{
    unsigned int room = self->room == 0 ? FEWEST : 2 * self->room;
    unsigned int *unused = grpc_guard_resized(self->unused, room, sizeof(unsigned int));
    if (unused == NULL) {
        return -1;
    }
    self->unused = unused;
    void *all = grpc_guard_resized(self->all, room, size);
    if (all == NULL) {
        return -1;
    }
    self->all = all;
    self->room = room;
    return 0;
}

int
grpc_guard_take_box(Boxes *self, size_t size, unsigned int *number)
{
    if (self->unused_count > 0) {
        *number = self->unused[--self->unused_count];
        return 0;
    }
    if (self->count == self->room && make_room(self, size) < 0) {
        return -1;
    }
    *number = self->count++;
    return 0;
}

void
grpc_guard_end_boxes(Boxes *self)
{
    PyMem_Free(self->all);
    PyMem_Free(self->unused);
}
