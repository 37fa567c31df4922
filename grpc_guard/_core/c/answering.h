/* Streams as the bytes of a message: see answering.c. */

#ifndef GRPC_GUARD_ANSWERING_H
#define GRPC_GUARD_ANSWERING_H

#include "copies.h"
#include "crowds.h"
#include "encodings.h"
#include "handled.h"

enum { AHEAD = 16 };
enum { NUMBER, RPC, SIDE, API, MODE, STATE, AGE, ORIGIN, CHANNEL, READ_WAY, WRITE_WAY, OF_STREAM };
enum { OWNER, WAITING, BEGAN, LAST, UNSENT, SUSPENDED, LAST_AT, OF_DIRECTION };

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
    Copies *copies;             /* of the last answer, or NULL; borrowed */
    size_t times[TIMES];        /* of the stream that is put: where its numbers are in the buffer; 0: nowhere */
    double began;               /* its begin, if that is known */
    long channel_number;        /* -1: it has no channel */
    long met_number;            /* that of `channel`, if it is not -2 */
    unsigned int ahead[AHEAD];  /* of the streams that follow, by their places: one more than their box; 0: none */
    Filter owners, others;      /* of the tables of the look */
} Answer;

/* Has what is needed of the streams that follow the one at this place fetched; so many are left. */
void grpc_guard_fetch_ahead(State *state, Answer *self, PyObject *const *streams, Py_ssize_t left, Py_ssize_t at);

/* Has this answer made where the bytes of the last one are, if nothing has been put yet. */
void grpc_guard_begin_in_place(Copies *copies, Scratch *scratch);

/* Has the bytes of the last answer elsewhere, as others are about to take their place; -1: an error is set. */
int grpc_guard_make_place(Answer *answer);

/* Finds the number of the channel of a stream, which is the one that was met last then; -1: it has none;
 * -2: an error is set. */
long grpc_guard_number_of(Answer *answer, PyObject *channel);

/* Adds the streams of the channel that was met last to those of its number; -1: an error is set. */
int grpc_guard_add_up(Answer *answer);

/* Puts the party that has started a stream; -1: an error is set. */
int grpc_guard_put_starter(Answer *answer, const Started *started);

/* Puts a direction that is like most, or nothing for None; -1: an error is set. */
int grpc_guard_put_direction(Answer *answer, const Field *field, const Way *way);

/* Puts the number of the bytes from `at` on before them, and moves so many of the times; -1: an error is set. */
int grpc_guard_close(Answer *answer, size_t at, int first, int count);

/* Puts a stream that has not changed since the last answer: 1; 0 if it has; -1: an error is set. */
int grpc_guard_put_copy(State *state, Answer *answer, StreamFields *stream, long number);

/* Keeps the bytes of the stream that was put, which are those from `from` on; -1: an error is set. */
int grpc_guard_keep_copy(Answer *answer, StreamFields *stream, long number, size_t from, const Ways *ways);

#endif
