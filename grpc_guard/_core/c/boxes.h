/* Numbered boxes for what is known of objects that bear the number: see boxes.c. */

#ifndef GRPC_GUARD_BOXES_H
#define GRPC_GUARD_BOXES_H

#include <stddef.h>

/* All zeros: there are none. */
typedef struct {
    void *all;
    unsigned int count, room;
    unsigned int *unused; /* those that are free; room for each */
    unsigned int unused_count;
} Boxes;

/* Finds a box of this size that is free; -1: an error is set. What is in it is left from before, or nothing. */
int grpc_guard_take_box(Boxes *boxes, size_t size, unsigned int *number);

/* Notes that a box is free. */
static inline void
grpc_guard_leave_box(Boxes *boxes, unsigned int number)
{
    boxes->unused[boxes->unused_count++] = number;
}

/* Gives their memory back. */
void grpc_guard_end_boxes(Boxes *boxes);

#endif
