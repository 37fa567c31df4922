/* The handlers of asyncio, as the file with the shortcuts to them sees them. */

#ifndef GRPC_GUARD_AIO_HANDLERS_H
#define GRPC_GUARD_AIO_HANDLERS_H

#include "aio.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;     /* in Python: does the same, whatever is the case */
    PyObject *plain;        /* the handler */
    PyObject *rpc, *choose, *off, *running_loop, *handlers;
    PyObject *method;       /* of what runs: an AioMethod of the handler */
    PyObject *stream, *side, *api, *context, *requests; /* of a streaming one, else None */
    PyObject *generate, *watched; /* of one that yields, else None */
    PyObject *code;         /* of the function that calls this, where it does so with no frame */
    Py_ssize_t first;       /* the index of the request */
    Spots of_read, of_write; /* the directions of a context */
    int reads;
} AioHandler;

/* What a handler does: calls it. */
PyObject *grpc_guard_handle(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names);

int grpc_guard_add_shortcuts(PyObject *module);

#endif
