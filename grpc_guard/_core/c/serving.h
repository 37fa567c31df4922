/* Handlers of grpc.aio as the bytes of a message: see serving.c. */

#ifndef GRPC_GUARD_SERVING_H
#define GRPC_GUARD_SERVING_H

#include "copies.h"
#include "crowds.h"
#include "encodings.h"
#include "handled.h"

enum { AHEAD = 16 };
enum { RPC, HANDLER, OVER, OF_HANDLER };

typedef struct {
    Buffer *buffer;
    Field field; /* of the handlers in their message */
    PyObject *loop, *plain; /* whose tasks they are, None if there is one alone; AioDirection */
    HandledNow *streams; /* Handlers.streams() */
    PyObject *names, *named, *one; /* what is known of a name; functions in Python */
    PyObject *unnamed, *kind, *operation, *relation;
    PyObject *get_loop;
    double present;
    Crowd *crowd;
    Copies *copies;   /* of the last answer, or NULL */
    size_t held_at;   /* of the handler that is put: where its seconds are in the buffer */
    unsigned int ahead[AHEAD]; /* of the tasks that follow, by their places: one more than their row of `streams`; 0: none */
    Scratch *scratch; /* where their bytes go, whose memory the buffer has meanwhile */
} Serving;

/* Notes how long the handler that was put last has run, of those with a number if that is known since it
 * began, and how many bytes it is; -1: an error is set. */
int grpc_guard_put_key(Serving *self, const HandledOne *noted, double held, size_t begin);

/* Puts a handler that has not changed since the last answer: 1; 0 if it has; -1: an error is set. */
int grpc_guard_put_handler_copy(State *state, Serving *self, const HandledOne *noted, PyObject *task,
                                PyObject *stack);

/* Keeps the bytes of the handler that was put, which are those from `begin` on; -1: an error is set. */
int grpc_guard_keep_handler_copy(State *state, Serving *self, const HandledOne *noted, PyObject *task,
                                 PyObject *stack, size_t begin);

#endif
