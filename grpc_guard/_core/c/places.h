/* Things to be put in order: see places.c. */

#ifndef GRPC_GUARD_PLACES_H
#define GRPC_GUARD_PLACES_H

#include "core.h"

typedef struct {
    double since; /* the smallest comes first, */
    Py_ssize_t at; /* and of those that are alike the one that stands first */
    PyObject *stream;    /* of those of streams: borrowed */
    unsigned int before; /* its number in an order that may be right; 0: it has none */
} Place;

int grpc_guard_are_sorted(const Place *places, Py_ssize_t count);

/* Sorts places: mostly the others are between those in an order that is right. `sorted` has room for all.
 * Returns where they are in order. */
Place *grpc_guard_sort_places(Place *places, Place *sorted, Py_ssize_t count);

#endif
