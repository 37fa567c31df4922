/* What stands for a sync handler function while it is guarded. See handling.c. */

#ifndef GRPC_GUARD_HANDLING_H
#define GRPC_GUARD_HANDLING_H

#include "functions.h"

typedef struct {
    FUNCTION
    PyObject *plain;     /* the handler; here begins what each unary RPC reads */
    PyObject *records;   /* of enter(), borrowed; NULL: it has to be called */
    PyObject *rpc;
    PyTypeObject *of_entries; /* of a unary RPC; the module has it */
    PyObject *chosen;    /* the mode, what has it, or None */
    State *state;
    unsigned char first; /* the index of the request */
    char follows, reads, responds;
    char is_fixed; /* the mode, and it is not off */
    PyObject *module; /* that the state is of */
    PyObject *choose, *enter, *api;
} Handling;

#define EACH_OF_HANDLING(DO) \
    DO(plain) DO(choose) DO(chosen) DO(enter) DO(rpc) DO(api)

/* Returns the mode of the next RPC. */
PyObject *grpc_guard_mode_of(Handling *self);

/* Calls the handler of a unary RPC, and notes that it runs. */
PyObject *grpc_guard_handle_unary(Handling *self, PyObject *const *args, size_t count);

/* The same as a whole, where that is most usual. */
PyObject *grpc_guard_unary_vectorcall(
    PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names);

#endif
