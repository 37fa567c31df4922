/* What a handler that yields has returned, for gRPC: as its three files see it. */

#ifndef GRPC_GUARD_AIO_GENERATED_H
#define GRPC_GUARD_AIO_GENERATED_H

#include "aio.h"

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *responses; /* the generator of the handler */
    PyObject *stream, *direction;
    PyObject *records;   /* of the server, until it has begun */
    PyObject *module;    /* that the state is of */
    PyObject *task;      /* a weak reference; NULL before it has begun */
    Flight flight;
    State *state;
    char has_begun;
    char is_running; /* a step has begun and has not ended */
    char owns;       /* the direction, for what it has yielded */
} Generated;

#define EACH_OF_GENERATED(DO) DO(responses) DO(stream) DO(direction) DO(records) DO(module) DO(task)

/* Returns what stands for the generator of a handler: it claims `direction` for what that yields.
 * `records` are those of the server, and `module` is the one that the state is of. */
PyObject *grpc_guard_new_generated(State *state, PyObject *stream, PyObject *direction,
                                   PyObject *responses, PyObject *records, PyObject *module);

/* What is awaited for one message: an async_generator_asend, or an athrow or aclose of it */

typedef enum { NEXT, SEND, THROW, CLOSE } Act;

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *generated;
    PyObject *responses; /* whom those who follow awaits look for */
    PyObject *inner;     /* what it drives */
    PyObject *given;     /* to asend() or athrow() */
    char act, progress;
    char counts;         /* no other step runs: what this one does is the handler's */
} Step;

#define EACH_OF_STEP(DO) DO(generated) DO(responses) DO(inner) DO(given)

PyObject *grpc_guard_new_step(Generated *self, Act act, PyObject *given);

/* Ends the claim of what was yielded. */
void grpc_guard_is_written(Generated *self);

/* Notes that the handler has ended: its stream objects are to be used no more. */
void grpc_guard_handler_has_ended(Generated *self);

/* Tells whether the task that handles the stream is the one that runs; -1: an error is set. */
int grpc_guard_runs_in_its_task(State *state, const Generated *self);

/* The handler goes on: makes what a step drives; -1 with an exception set. */
int grpc_guard_begin_step(State *state, Step *self);

/* Claims the direction for the message that a step for the next one has come to, if all is as usual: 1, else 0. */
int grpc_guard_is_yielded(State *state, Step *self);

/* Takes what is driven to have answered by `status`, and `*result` or an exception. */
PySendResult grpc_guard_after_step(State *state, Step *self, PySendResult status, PyObject **result);

#endif
