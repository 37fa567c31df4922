/* The entries of handlers in flight, as the file with their records sees them. */

#ifndef GRPC_GUARD_ENTRIES_H
#define GRPC_GUARD_ENTRIES_H

#include "core.h"
#include "layouts.h"

/* Entry and UnaryEntry. Neither holds what could hold it, so that the collector need not know them. */

#define ENTRY \
    PyObject_HEAD \
    PyObject *records; /* NULL before it is entered, and then it has no ident either */ \
    unsigned long ident; \
    double since; \
    char is_counted; /* among those that are busy: see InFlight */

typedef struct {
    ENTRY
    PyObject *stream;
} Entry;

typedef struct {
    ENTRY
    char ended, is_gone;
    PyObject *rpc;
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

/* Where grpcio's own contexts have what is called at the end of their RPCs. */
typedef struct {
    unsigned int of_context, of_state; /* the versions of their classes; 0: not known yet */
    int state_at, callbacks_at;        /* among the values of an object */
} Usual;

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *itself; /* a weak reference */
    ByThread by_thread;
    Usual usual;
    Py_ssize_t size; /* of the pool; 0 if it is never taken to be full */
    int busy;        /* threads that handle an RPC, or a stream last */
    int has_native_clock;
    Links flights;   /* of tasks */
} InFlight;

/* Makes room for one more thread; -1 with an exception set. */
int grpc_guard_make_room(ByThread *table);

/* Returns where to look for the entry of a thread first; there must be room. */
static inline Slot *
grpc_guard_first_slot(Slot *slots, int bits, unsigned long ident)
{
    return slots + (size_t)((ident * 0x9E3779B97F4A7C15ull) >> (64 - bits));
}

/* Returns where the entry of a thread is, or goes; there must be room. */
Slot *grpc_guard_slot_of(ByThread *table, unsigned long ident);

/* Empties the table. */
void grpc_guard_forget_threads(ByThread *table);

/* Returns the entries in a new dict, by ident. */
PyObject *grpc_guard_entries_by_thread(ByThread *table);

/* Has a context call `entry` when its RPC ends, or calls it now if it has; -1: an error is set. The
 * list that has it last, a new reference, goes to `followed`. What is usual is noted. */
int grpc_guard_follow(State *state, Usual *usual, PyObject *context, PyObject *entry, PyObject **followed);

/* Returns the list to which that adds, borrowed, if it is known where that is; NULL, without an error. */
static inline PyObject *
grpc_guard_usual_callbacks(const Usual *usual, PyObject *context)
{
    if (Py_TYPE(context)->tp_version_tag != usual->of_context || usual->of_context == 0) {
        return NULL;
    }
    PyObject **values = grpc_guard_values_of(context);
    PyObject *inner = values == NULL ? NULL : values[usual->state_at];
    if (inner == NULL || Py_TYPE(inner)->tp_version_tag != usual->of_state) {
        return NULL;
    }
    values = grpc_guard_values_of(inner);
    PyObject *callbacks = values == NULL ? NULL : values[usual->callbacks_at];
    return callbacks != NULL && PyList_CheckExact(callbacks) ? callbacks : NULL;
}

/* Takes an entry out of a list that has it last. */
static inline void
grpc_guard_take_out(PyObject *followed, void *entry)
{
    Py_ssize_t last = PyList_GET_SIZE(followed) - 1;
    if (last < 0 || PyList_GET_ITEM(followed, last) != entry) {
        return;
    }
#ifdef Py_GIL_DISABLED
    if (!PyErr_Occurred() && PyList_SetSlice(followed, last, last + 1, NULL) < 0) {
        PyErr_Clear(); /* it will be called, and find that it has ended */
    }
#else
    Py_SET_SIZE(followed, last); /* the list keeps the room */
    Py_DECREF((PyObject *)entry);
#endif
}

/* Notes that an entry begins now; -1 with an exception set. */
int grpc_guard_begin_entry(State *state, double *since);

/* Returns the records that a method enter(), or enter_unary(), belongs to, borrowed; NULL if it is
 * another function, which has to be called. */
PyObject *grpc_guard_records_of(PyObject *method, int is_unary);

/* Looks whether all threads are busy, and has the server watched if so; -1: an error is set. */
static inline int
grpc_guard_watch_if_full(State *state, InFlight *self)
{
    if (!(0 < self->size && self->size <= self->busy)) {
        return 0;
    }
    PyObject *nothing = PyObject_CallMethodNoArgs((PyObject *)self, state->str_watches);
    Py_XDECREF(nothing);
    return nothing == NULL ? -1 : 0;
}

/* Do what these methods do. enter_unary() returns an entry, a new reference, and in `followed` the
 * list that has it last, a new reference, or NULL; end_unary() takes both. An error that is set stays. */
int grpc_guard_enter(State *state, PyObject *records, PyObject *stream, PyObject *context);
PyObject *grpc_guard_enter_unary(State *state, PyObject *records, PyObject *rpc, PyObject *context,
                                 PyObject **followed);

/* `records` is NULL if it is not known whose the entry is. */
static inline void
grpc_guard_end_unary(PyObject *records, PyObject *entry, PyObject *followed)
{
    UnaryEntry *ended = (UnaryEntry *)entry;
    ended->ended = 1;
    if (records != NULL && ended->is_counted) {
        ended->is_counted = 0;
        ((InFlight *)records)->busy--;
    }
    /* Where nobody has added a callback, that of the entry need not be called. */
    if (followed != NULL) {
        grpc_guard_take_out(followed, entry);
        Py_DECREF(followed);
    }
    Py_DECREF(entry);
}

#endif
