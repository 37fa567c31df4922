/* Memory for the bytes of a message: see scratch.c. */

#ifndef GRPC_GUARD_SCRATCHES_H
#define GRPC_GUARD_SCRATCHES_H

#include <Python.h>

#include "bytes.h"

typedef struct {
    PyObject_HEAD
    Bytes bytes;
    Bytes keys; /* of handlers: see serving.c */
    size_t placed, placed_keys; /* so many bytes are those of servers before: see ordering.c */
    Py_ssize_t exports;
    char is_busy; /* the memory is elsewhere: somebody writes */
} Scratch;

/* For how long a handler has run, in seconds, and how many bytes it is; its number among those of which that
 * is known, or 0. */
typedef struct {
    double held;
    size_t size;
    unsigned int number;
} Key;

/* Tells whether nobody looks at the bytes, or writes; else an error is set. */
int grpc_guard_scratch_is_free(Scratch *scratch);

#endif
