/* The handler of a unary RPC: what is noted of it, in as few lines of memory as can be.
 *
 * An RPC finds all of this cold, code and data. Where all is as it was at the last RPC, nothing is called
 * but the handler; else what in_flight.c and following.c do for any kind of handler.
 */

#include "callers.h"
#include "entries.h"
#include "handling.h"

static inline PyObject *
call(PyObject *plain, PyObject *const *args, size_t count)
{
    if (USUALLY(Py_IS_TYPE(plain, &PyFunction_Type))) {
        return ((PyFunctionObject *)plain)->vectorcall(plain, args, count, NULL);
    }
    return PyObject_Vectorcall(plain, args, count, NULL);
}

/* Returns the entry of the thread that runs, borrowed, if it has handled the same RPC before, and nobody has
 * the entry; else NULL. */
static inline UnaryEntry *
last_entry(Handling *self, InFlight *records)
{
    ByThread *table = &records->by_thread;
    if (!USUALLY(table->slots != NULL)) {
        return NULL;
    }
    unsigned long ident = PyThreadState_Get()->thread_id;
    Slot *slot = grpc_guard_first_slot(table->slots, table->bits, ident);
    UnaryEntry *entry = (UnaryEntry *)slot->entry;
    int is_usual = slot->ident == ident && entry != NULL && Py_IS_TYPE(entry, self->of_entries)
                   && Py_REFCNT(entry) == 1 && entry->rpc == self->rpc;
    return is_usual ? entry : NULL;
}

/* Does what enter_unary() does if all is as usual; else returns NULL, and nothing is done. */
static inline PyObject *
enter_as_usual(Handling *self, InFlight *records, PyObject *context, PyObject **followed)
{
    PyObject *callbacks = grpc_guard_usual_callbacks(&records->usual, context);
    UnaryEntry *entry = callbacks == NULL ? NULL : last_entry(self, records);
    if (!USUALLY(entry != NULL && records->itself != NULL && records->has_native_clock)) {
        return NULL;
    }
    entry->since = grpc_guard_moments_ago();
    entry->ended = entry->is_gone = 0;
    if (!entry->is_counted) {
        entry->is_counted = 1;
        records->busy++;
    }
    *followed = Py_NewRef(callbacks);
    return Py_NewRef((PyObject *)entry);
}

/* Does the rest of that; -1: an error is set. */
static inline int
follow(Handling *self, InFlight *records, PyObject *entry, PyObject *followed)
{
    if (USUALLY(PyList_Append(followed, entry) == 0
                && grpc_guard_watch_if_full(self->state, records) == 0)) {
        return 0;
    }
    grpc_guard_end_unary((PyObject *)records, entry, followed); /* it is noted, and nobody handles it */
    return -1;
}

static PyObject *
enter(Handling *self, PyObject *context, PyObject **followed)
{
    if (self->records == NULL) {
        PyObject *args[] = {self->rpc, self->follows ? context : Py_None};
        return PyObject_Vectorcall(self->enter, args, 2, NULL);
    }
    return grpc_guard_enter_unary(self->state, self->records, self->rpc,
                                  self->follows ? context : Py_None, followed);
}

USUAL PyObject *
grpc_guard_handle_unary(Handling *self, PyObject *const *args, size_t count)
{
    PyObject *followed = NULL, *entry = enter(self, args[self->first + 1], &followed);
    if (entry == NULL) {
        return NULL;
    }
    PyObject *result = call(self->plain, args, count);
    if (self->records != NULL || Py_IS_TYPE(entry, self->of_entries)) {
        grpc_guard_end_unary(self->records, entry, followed);
    }
    else {
        Py_DECREF(entry);
    }
    return result;
}

/* Calls the handler if the mode is off: 1; -1: an error is set. */
static UNUSUAL int
is_off(Handling *self)
{
    PyObject *mode = grpc_guard_mode_of(self);
    Py_XDECREF(mode);
    return mode == NULL ? -1 : mode == self->state->starts.OFF;
}

USUAL PyObject *
grpc_guard_unary_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    Handling *self = (Handling *)callable;
    size_t count = (size_t)PyVectorcall_NARGS(flagged);
    if (!USUALLY(count == (size_t)self->first + 2 && names == NULL)) {
        return PyObject_Vectorcall(self->function, args, count, names);
    }
    if (!USUALLY(self->is_fixed)) {
        int off = is_off(self);
        if (off != 0) {
            return off < 0 ? NULL : call(self->plain, args, count);
        }
    }
    InFlight *records = (InFlight *)self->records;
    PyObject *followed, *entry = enter_as_usual(self, records, args[self->first + 1], &followed);
    if (!USUALLY(entry != NULL)) {
        return grpc_guard_handle_unary(self, args, count);
    }
    if (follow(self, records, entry, followed) < 0) {
        return NULL;
    }
    PyObject *result = call(self->plain, args, count);
    grpc_guard_end_unary((PyObject *)records, entry, followed);
    return result;
}
