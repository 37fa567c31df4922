/* The entries of handlers in flight, as the file with their records sees them. */

#ifndef GRPC_GUARD_ENTRIES_H
#define GRPC_GUARD_ENTRIES_H

#include "core.h"

/* Entry and UnaryEntry. Neither holds what could hold it, so that the collector need not know them. */

#define ENTRY \
    PyObject_HEAD \
    PyObject *records; /* NULL before it is entered, and then it has no ident either */ \
    unsigned long ident; \
    double since;

typedef struct {
    ENTRY
    PyObject *stream;
} Entry;

typedef struct {
    ENTRY
    PyObject *rpc;
    char ended, is_gone;
} UnaryEntry;

PyObject *grpc_guard_make_entry(State *state, PyObject *stream);
PyObject *grpc_guard_make_unary_entry(State *state, PyObject *rpc);
/* Do the same with the entry that was there before, if nobody has it but the table and the caller: 1, or 0;
 * -1: an error is set. */
int grpc_guard_renew_entry(State *state, PyObject *before, PyObject *stream);
int grpc_guard_renew_unary_entry(State *state, PyObject *before, PyObject *rpc);

/* What a thread handles, or has handled last. */
typedef struct {
    unsigned long ident;
    PyObject *entry; /* NULL: free */
} Slot;

typedef struct {
    Slot *slots;      /* 1 << bits of them, or NULL */
    Py_ssize_t count; /* of those that are not free */
    int bits;
} ByThread;

/* Makes room for one more thread; -1 with an exception set. */
int grpc_guard_make_room(ByThread *table);

/* Returns where the entry of a thread is, or goes; there must be room. */
Slot *grpc_guard_slot_of(ByThread *table, unsigned long ident);

/* Empties the table. */
void grpc_guard_forget_threads(ByThread *table);

/* Returns the entries in a new dict, by ident. */
PyObject *grpc_guard_entries_by_thread(ByThread *table);

/* Has a context call `entry` when its RPC ends, or calls it now if it has; -1: an error is set. The
 * list that has it last, a new reference, goes to `followed`. */
int grpc_guard_follow(State *state, PyObject *context, PyObject *entry, PyObject **followed);

/* Notes that an entry begins now; -1 with an exception set. */
int grpc_guard_begin_entry(State *state, double *since);

/* Returns the records that a method enter(), or enter_unary(), belongs to, borrowed; NULL if it is
 * another function, which has to be called. */
PyObject *grpc_guard_records_of(PyObject *method, int is_unary);

/* Do what these methods do. enter_unary() returns an entry, a new reference, and in `followed` the
 * list that has it last, a new reference, or NULL; end_unary() takes both. An error that is set stays. */
int grpc_guard_enter(State *state, PyObject *records, PyObject *stream, PyObject *context);
PyObject *grpc_guard_enter_unary(State *state, PyObject *records, PyObject *rpc, PyObject *context,
                                 PyObject **followed);
void grpc_guard_end_unary(PyObject *entry, PyObject *followed);

#endif
