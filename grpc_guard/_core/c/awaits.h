/* The links of chains of awaits: how each is read, and what it says. See chains.c. */

#ifndef GRPC_GUARD_AWAITS_H
#define GRPC_GUARD_AWAITS_H

#include "looks.h"

enum { READERS = 16, KINDS_KNOWN = 512 };
enum { GET_CORO, CR_CODE, CR_AWAIT, CHAIN_NAMES };

typedef enum { OF_ATTRIBUTES, IN_C, WITHOUT_CODE, OF_FUNCTIONS, AT_END } How;

/* How the links of one type are read. */
typedef struct {
    PyTypeObject *type;
    How how;
    PyObject *code_of, *awaited_by;
} Reader;

/* What is known of some code, or of a type. */
typedef struct {
    PyObject *code;
    long kind;
} Kind;

/* What one call has met: types and code by their identity, and they are held meanwhile. */
typedef struct {
    State *state;
    PyObject *reader, *kind, *without_code, *is_driven; /* of Lines and waiters.py, borrowed */
    PyObject *names[CHAIN_NAMES];
    Reader readers[READERS];
    int known_readers;
    Kind kinds[KINDS_KNOWN];
    Kind driven[READERS]; /* by type: 1 if its objects are driven, else 0 */
} Awaits;

/* 0; -1: an error is set. */
int grpc_guard_awaits_begin(Awaits *awaits);
void grpc_guard_awaits_end(Awaits *awaits);

/* Returns how a link is read; NULL: an error is set. */
Reader *grpc_guard_reader_of(Awaits *awaits, PyObject *link);

/* Returns the code of a link, or None, and what it awaits, or None. */
PyObject *grpc_guard_code_of_link(Awaits *awaits, const Reader *reader, PyObject *link);
PyObject *grpc_guard_awaited_by(Awaits *awaits, const Reader *reader, PyObject *link);

/* Returns what the code of a link is, in bits; -1: an error is set. */
long grpc_guard_kind_of_link(Awaits *awaits, PyObject *code, PyObject *link);

#endif
