/* Streams as the bytes of a message: see answering.c. */

#ifndef GRPC_GUARD_ANSWERING_H
#define GRPC_GUARD_ANSWERING_H

#include "crowds.h"
#include "encodings.h"

enum { NUMBER, RPC, SIDE, API, MODE, STATE, AGE, ORIGIN, CHANNEL, READ_WAY, WRITE_WAY, OF_STREAM };
enum { OWNER, WAITING, BEGAN, LAST, UNSENT, SUSPENDED, OF_DIRECTION };

typedef struct {
    Look look;
    Buffer *buffer;
    Field field; /* of the streams in their message */
    const Field *stream, *direction;
    PyObject *carried;          /* how many streams a channel has, by its number; borrowed */
    PyObject *channel, *number; /* the channel that was met last, or NULL, and its number or None */
    long count;                 /* of its streams that are not in `carried` yet */
    PyObject *streams;          /* that were told, in their order; borrowed */
    PyObject *told;             /* of them, those with a record, as Teller.one() has it; borrowed */
} Answer;

/* Has what is needed of the streams that follow fetched; so many are left. */
void grpc_guard_fetch_ahead(State *state, Answer *self, PyObject *const *streams, Py_ssize_t left);

/* Counts one stream of a channel; returns its number, or None, borrowed; NULL: an error is set. */
PyObject *grpc_guard_count_one(Answer *answer, PyObject *channel);

/* Adds the streams of the channel that was met last to those of its number; -1: an error is set. */
int grpc_guard_add_up(Answer *answer);

/* Puts the party that has started a stream; -1: an error is set. */
int grpc_guard_put_starter(Answer *answer, const Started *started);

/* Puts a direction that is like most, or nothing for None; -1: an error is set. */
int grpc_guard_put_direction(Answer *answer, const Field *field, const Way *way);

#endif
