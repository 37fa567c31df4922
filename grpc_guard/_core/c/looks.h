/* What a look at the whole process does thousands of times: see _inspect/. */

#ifndef GRPC_GUARD_LOOKS_H
#define GRPC_GUARD_LOOKS_H

#include "core.h"

/* Makes records of one kind, a frozen dataclass with slots, from the values of all fields. */
typedef struct {
    PyObject_VAR_HEAD
    vectorcallfunc vectorcall;
    PyTypeObject *kind;
    Py_ssize_t offsets[1]; /* of the fields, in their order */
} Maker;

#define OF(record, offset) (*(PyObject **)((char *)(record) + (offset)))

/* Finds where records of `kind` have a field: an offset in bytes; -1: an error is set. */
Py_ssize_t grpc_guard_offset_of(PyTypeObject *kind, PyObject *name);

/* Returns a new record; takes the references to `values`, of which one may be NULL: an error is set. */
PyObject *grpc_guard_make_record(Maker *maker, PyObject **values);

enum { TEXTS = 8 }; /* both sides, both apis, all modes */
enum { SINCE, PLACE, KIND, NAME, OPERATION, HELD, INSIDE, NAMES };
/* Puts the next value into an array that is NULL at first, unless an error is set already. */
#define NEXT(value) is_whole = is_whole && (values[count++] = (value)) != NULL

/* What one look has found, and what makes records of it; all is borrowed but what was met. */
typedef struct {
    PyObject *one, *direction_of, *stack_at, *text; /* functions in Python */
    Maker *new_stream, *new_direction, *new_owner;
    PyObject *begun, *others, *owners, *channels; /* tables by identity */
    PyObject *plain, *server, *read; /* AioDirection, SERVER, READ */
    PyObject *states[3]; /* open, over, unknown */
    double present;
    int is_waited, is_sending; /* somebody waits for a turn; some aio call has a message to send */
    PyObject *met[TEXTS], *texts[TEXTS]; /* enums that were met, and their texts */
    int known;
    PyObject *place, *stack;
    PyObject *names[NAMES];
} Look;

/* Looks for an object by its identity: 1 and a new reference, 0 if it is not there, -1: an error. */
int grpc_guard_by_identity(PyObject *table, PyObject *object, PyObject **found);

/* Returns the text of an enum. */
PyObject *grpc_guard_text_of(Look *look, PyObject *named);

/* Returns how long ago it was, at least 0.0. */
PyObject *grpc_guard_seconds_since(Look *look, double began);

/* Returns the party that has started a stream; None if that is not known. */
PyObject *grpc_guard_starter(Look *look, PyObject *origin);

#endif
