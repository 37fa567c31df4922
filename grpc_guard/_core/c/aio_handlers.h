/* The handlers of asyncio, as the file with the shortcuts to them sees them. */

#ifndef GRPC_GUARD_AIO_HANDLERS_H
#define GRPC_GUARD_AIO_HANDLERS_H

#include "aio.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *code;         /* of the function that calls this, where it does so with no frame */
    State *state;
    PyObject *running_loop;
    PyObject *chosen;       /* the mode, what has it, or None */
    PyObject *stream, *plain; /* the class of its stream, or None; the handler */
    PyObject *method;       /* of what runs: an AioMethod of the handler */
    PyObject *rpc, *handlers;
    Py_ssize_t first;       /* the index of the request */
    PyObject *off, *choose;
    PyObject *function;     /* in Python: does the same, whatever is the case */
    PyObject *side, *api, *context, *requests; /* of a streaming one, else None */
    PyObject *generate, *watched; /* of one that yields, else None */
    PyObject *module;             /* that the state is of */
    int reads;
    Spots of_read, of_write; /* the directions of a context */
} AioHandler; /* in the order in which they are read */

/* What a handler does: calls it. */
PyObject *grpc_guard_handle(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names);

int grpc_guard_add_shortcuts(PyObject *module);

/* The handlers' type of this module goes. */
void grpc_guard_forget_shortcuts(PyTypeObject *type);

#endif
