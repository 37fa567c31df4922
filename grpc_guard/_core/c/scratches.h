/* Memory for the bytes of a message: see scratch.c. */

#ifndef GRPC_GUARD_SCRATCHES_H
#define GRPC_GUARD_SCRATCHES_H

#include <Python.h>

#include "bytes.h"

typedef struct {
    PyObject_HEAD
    Bytes bytes;
    Bytes keys; /* of handlers: see serving.c */
    Py_ssize_t exports;
    char is_busy; /* the memory is elsewhere: somebody writes */
} Scratch;

/* For how long a handler has run, in seconds, and how many bytes it is. */
typedef struct {
    double held;
    size_t size;
} Key;

/* Tells whether nobody looks at the bytes, or writes; else an error is set. */
int grpc_guard_scratch_is_free(Scratch *scratch);

#endif
