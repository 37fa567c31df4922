/* The entries of handlers in flight, as the file with their records sees them. */

#ifndef GRPC_GUARD_ENTRIES_H
#define GRPC_GUARD_ENTRIES_H

#include "core.h"

/* Entry and UnaryEntry. Neither holds what could hold it, so that the collector need not know them. */

#define ENTRY \
    PyObject_HEAD \
    PyObject *ident, *records, *since; /* the first two are NULL in the entry of a task */

typedef struct {
    ENTRY
    PyObject *stream;
} Entry;

typedef struct {
    ENTRY
    PyObject *rpc;
    char ended, is_gone;
} UnaryEntry;

typedef PyObject *(*Maker)(State *, PyObject *);

PyObject *grpc_guard_make_entry(State *state, PyObject *stream);
PyObject *grpc_guard_make_unary_entry(State *state, PyObject *rpc);

/* Notes what the running task of a loop begins to handle; -1 with an exception set. */
int grpc_guard_enter_task(State *state, PyObject *in_flight, Maker make, PyObject *what, PyObject *loop);

#endif
