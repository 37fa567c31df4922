/* The streams that are handled, thousands of them: see handled.c. */

#ifndef GRPC_GUARD_HANDLED_H
#define GRPC_GUARD_HANDLED_H

#include "core.h"

typedef struct {
    uintptr_t key;    /* the address of a task, the ident of a thread, or the address of the stream */
    PyObject *stream; /* NULL: something else has taken its place */
    double since;
} HandledOne;

typedef struct HandledNow {
    PyObject_HEAD
    HandledOne *all;
    Py_ssize_t count, room;
    unsigned int *index; /* by their keys: one more than where one is; 0: free */
    size_t mask;
} HandledNow;

/* Finds what a key has, borrowed; NULL: nothing. */
const HandledOne *grpc_guard_handled_by(const HandledNow *table, uintptr_t key);

/* Has what is needed to find it fetched. */
void grpc_guard_fetch_handled(const HandledNow *table, uintptr_t key);

/* Puts a stream, or NULL, in place of what its key had before; -1: an error is set. */
int grpc_guard_put_handled(HandledNow *table, uintptr_t key, PyObject *stream, double since);

#endif
