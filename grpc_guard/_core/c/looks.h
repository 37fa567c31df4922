/* What a look at the whole process does thousands of times: see _inspect/. */

#ifndef GRPC_GUARD_LOOKS_H
#define GRPC_GUARD_LOOKS_H

#include "core.h"
#include "known.h"

/* A look at thousands of objects waits for the memory more than for anything else: it is asked for
 * what comes some objects later. */
static inline void
grpc_guard_fetch(const void *address)
{
#if defined(__GNUC__)
    __builtin_prefetch(address); /* harmless where there is nothing */
    __asm__ volatile(""); /* else gcc takes what does nothing but this for a function without effect */
#endif
}
#define FETCH(address) grpc_guard_fetch(address)
#define FETCH_LINES(object, size) \
    for (size_t line = 0; line < (size); line += 64) { \
        FETCH((const char *)(object) + line); \
    }

/* What is looked at of a task: how often it is held, its loop, what it waits for, its name. */
#define FETCH_TASK(task) \
    FETCH(task); \
    FETCH((const char *)(task) + 128)

/* Returns what a weak reference leads to, a new reference, or None. */
static inline PyObject *
grpc_guard_led_to(PyObject *reference)
{
    if (!PyWeakref_CheckRefExact(reference)) {
        return PyObject_CallNoArgs(reference);
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *found;
    return PyWeakref_GetRef(reference, &found) == 0 ? Py_NewRef(Py_None) : found;
#else
    return Py_NewRef(PyWeakref_GET_OBJECT(reference));
#endif
}

/* Has what a weak reference leads to fetched; the reference itself must have been. */
static inline PyObject *
grpc_guard_fetch_led_to(PyObject *reference, size_t size)
{
    if (reference == NULL || reference == Py_None || !PyWeakref_CheckRefExact(reference)) {
        return NULL;
    }
    PyObject *object = ((PyWeakReference *)reference)->wr_object; /* looked at by nobody here */
    FETCH_LINES(object, size);
    return object;
}

/* Makes records of one kind, a frozen dataclass with slots, from the values of all fields. */
typedef struct {
    PyObject_VAR_HEAD
    vectorcallfunc vectorcall;
    PyTypeObject *kind;
    Py_ssize_t offsets[1]; /* of the fields, in their order */
} RecordMaker;

#define OF(record, offset) (*(PyObject **)((char *)(record) + (offset)))

/* Finds where records of `kind` have a field: an offset in bytes; -1: an error is set. */
Py_ssize_t grpc_guard_offset_of(PyTypeObject *kind, PyObject *name);

/* Returns a new record; takes the references to `values`, of which one may be NULL: an error is set. */
PyObject *grpc_guard_make_record(RecordMaker *maker, PyObject **values);

enum { TEXTS = 8 }; /* both sides, both apis, all modes */
enum { SINCE, PLACE, KIND, NAME, OPERATION, HELD, INSIDE, NAMES };
/* Puts the next value into an array that is NULL at first, unless an error is set already. */
#define NEXT(value) is_whole = is_whole && (values[count++] = (value)) != NULL

/* The identities that a table may have: nearly all others are known not to be there without a search. */
enum { FILTER = 8192 }; /* bits */
typedef struct {
    PyObject *table; /* borrowed; by identity */
    unsigned char bits[FILTER / 8];
} Filter;

/* What one look has found, and what makes records of it; all is borrowed but what was met. */
typedef struct {
    PyObject *one, *direction_of, *stack_at, *text; /* functions in Python */
    RecordMaker *new_stream, *new_direction, *new_owner;
    PyObject *others, *owners, *channels; /* tables by identity */
    struct HandledNow *begun; /* since when streams are handled, by their identity */
    struct Crowd *crowd; /* who is in no table of `owners` */
    PyObject *plain, *server, *read; /* AioDirection, SERVER, READ */
    PyObject *states[3]; /* open, over, unknown */
    double present, time; /* what began after that was not seen */
    double moment; /* for how long a write has to last that something follows from: see deductions.py */
    int is_waited, is_sending; /* somebody waits for a turn; some aio call has a message to send */
    PyObject *met[TEXTS], *texts[TEXTS]; /* enums that were met, and their texts */
    int known;
    PyObject *place, *stack;
    PyObject *names[NAMES];
    PyObject *has_ended, *done_of_calls, *str_core_call, *str_done; /* of calls of grpc.aio */
    PyTypeObject *done_type; /* the class of calls that was met last, borrowed; its version; and how many */
    unsigned int done_version; /* attributes its objects may have */
    Py_ssize_t done_count;
    int is_done_known; /* its method is done_of_calls */
    Own of_core_call;
    MethodInC of_done; /* of the core's calls */
    PyTypeObject *started; /* the class of origins that was met last, */
    Py_ssize_t at[HELD];   /* and where its objects have these; the first is -1 where they have not */
} Look;

/* A direction of a stream, or None, and who was seen inside: a record, or one of a crowd, or NULL. */
typedef struct {
    PyObject *direction, *owner;
    const struct Noted *noted;
} Way;

/* Both of them, and its state, borrowed, or NULL for a stream that is over. */
typedef struct {
    Way read, write;
    PyObject *state;
} Ways;

/* What is known of the start of a stream, borrowed. */
typedef struct {
    double since;
    PyObject *place, *kind, *name, *operation;
} Started;

/* Takes what Teller has; -1: an error is set. */
int grpc_guard_take_look(State *state, Look *look, PyObject *said);
void grpc_guard_forget_look(Look *look);

/* Takes nothing but the names that are looked up; -1: an error is set. */
int grpc_guard_take_names(Look *look);

/* Takes the identities of a table; -1: an error is set. And tells whether one is there. */
int grpc_guard_take_filter(Filter *filter, PyObject *table);
int grpc_guard_is_among(const Filter *filter, const void *object);

/* Finds the directions of a stream: 1; 0 for a stream that only Teller can tell; -1: an error is set. */
int grpc_guard_find_ways(State *state, Look *look, PyObject *stream, Ways *ways);
void grpc_guard_forget_ways(Ways *ways);

/* Returns in which state a stream is, borrowed; NULL: an error is set. */
PyObject *grpc_guard_state_of_stream(Look *look, StreamFields *stream);

/* Tells whether a direction in which nobody was seen is like most. */
int grpc_guard_is_idle(const Look *look, AioFields *direction);

/* Tells whether a direction is like most: Teller.described() is not needed. */
int grpc_guard_is_usual(Look *look, const Way *way);

static inline int
grpc_guard_is_inside(const Way *way)
{
    return way->owner != NULL || way->noted != NULL;
}

/* Returns the record of a stream, the stream, and its directions, as Teller.one(). */
PyObject *grpc_guard_tell(Look *look, StreamFields *stream, PyObject *number, Ways *ways);

/* Finds out about the start of a stream: 1; 0 for an origin that is unlike others; -1: an error is set. */
int grpc_guard_started(Look *look, PyObject *origin, Started *started);

/* Returns the line at a place, or None, as a stack. */
PyObject *grpc_guard_stack_of(Look *look, PyObject *place);

/* Returns the number of a channel, or None. */
PyObject *grpc_guard_channel_of(Look *look, PyObject *channel);

/* Looks for an object by its identity: 1 and a new reference, 0 if it is not there, -1: an error. */
int grpc_guard_by_identity(PyObject *table, PyObject *object, PyObject **found);

/* Returns the text of an enum. */
PyObject *grpc_guard_text_of(Look *look, PyObject *named);

/* Returns how long ago it was, at least 0.0. */
PyObject *grpc_guard_seconds_since(Look *look, double began);

/* Returns the party that has started a stream; None if that is not known. */
PyObject *grpc_guard_starter(Look *look, PyObject *origin);

/* Tells whether a coroutine of Python's runs at this moment, when it must not be asked for what it awaits: see
 * ../../_catalogue/cpython_awaits.py. */
static inline int
grpc_guard_runs_now(PyObject *coroutine)
{
#if PY_VERSION_HEX < 0x030D0000
    return ((PyCoroObject *)coroutine)->cr_frame_state == 0; /* FRAME_EXECUTING of its pycore_frame.h */
#else
    (void)coroutine;
    return 0;
#endif
}

#endif
