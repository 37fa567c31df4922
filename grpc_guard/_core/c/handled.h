/* The streams that are handled, thousands of them: see handled.c. */

#ifndef GRPC_GUARD_HANDLED_H
#define GRPC_GUARD_HANDLED_H

#include "table.h"

typedef struct {
    uintptr_t key;    /* the address of a task, the ident of a thread, or the address of the stream */
    PyObject *stream; /* NULL: something else has taken its place */
    double since;
} HandledOne;

typedef struct HandledNow {
    PyObject_HEAD
    Table table;
} HandledNow;

/* Finds what a key has, borrowed; NULL: nothing. */
const HandledOne *grpc_guard_handled_by(const HandledNow *handled, uintptr_t key);

/* Returns all its rows. */
static inline const HandledOne *
grpc_guard_all_handled(const HandledNow *handled)
{
    return handled->table.all;
}

/* Puts a stream, or NULL, in place of what its key had before; -1: an error is set. */
int grpc_guard_put_handled(HandledNow *handled, uintptr_t key, PyObject *stream, double since);

#endif
