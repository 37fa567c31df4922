/* What is handled, thousands of streams and unary RPCs: see handled.c. */

#ifndef GRPC_GUARD_HANDLED_H
#define GRPC_GUARD_HANDLED_H

#include "table.h"

typedef struct {
    uintptr_t key;    /* the address of a task, the ident of a thread, or the address of the stream */
    PyObject *what; /* a stream, or the name of a unary RPC */
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

/* Puts a stream, or the name of a unary RPC, in place of what its key had before; -1: an error is set. */
int grpc_guard_put_handled(HandledNow *handled, uintptr_t key, PyObject *what, double since);

#endif
