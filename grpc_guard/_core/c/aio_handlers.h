/* The handlers of asyncio, as the file with the shortcuts to them sees them. */

#ifndef GRPC_GUARD_AIO_HANDLERS_H
#define GRPC_GUARD_AIO_HANDLERS_H

#include "aio.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *code;         /* of the function that calls this, where it does so with no frame */
    PyObject *plain;        /* the handler */
    Kept kept;              /* of a unary one: runs that have ended, all their fields clear but the method */
    State *state;
    PyObject *rpc, *handlers;
    int first;              /* the index of the request */
    char is_unary;
    char is_usual;          /* a unary one, with a mode for good, on asyncio's own loop */
    PyObject *running_loop;
    PyObject *chosen;       /* the mode, what has it, or None */
    PyObject *stream;       /* the class of its stream, or None */
    PyObject *method;       /* of what runs: an AioMethod of the handler */
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

/* The same for a unary handler, mostly by itself. */
PyObject *grpc_guard_handle_aio_unary(
    AioHandler *self, PyObject *const *args, size_t flagged, PyObject *names);

/* Returns the run of what a unary handler has returned on a loop; takes the reference. */
PyObject *grpc_guard_run_of_unary(AioHandler *self, PyObject *made, PyObject *loop);

/* Returns the records of the server whose handler runs, borrowed, or NULL. */
static inline PyObject *
grpc_guard_records_of_run(const AioRun *run)
{
    return run->home != NULL ? ((AioHandler *)run->home)->handlers : run->records;
}

/* tp_iternext and am_send of a run. */
PyObject *grpc_guard_run_iternext(PyObject *run);
PySendResult grpc_guard_run_send(PyObject *run, PyObject *value, PyObject **result);

/* Keeps the memory of a run that has ended with its handler: 1, else 0. */
int grpc_guard_is_spared(AioRun *run);
int grpc_guard_visit_spared(AioHandler *self, visitproc visit, void *arg);
void grpc_guard_free_spared(AioHandler *self);

int grpc_guard_add_shortcuts(PyObject *module);

/* The handlers' type of this module goes. */
void grpc_guard_forget_shortcuts(PyTypeObject *type);

#endif
