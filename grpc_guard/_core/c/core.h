/* What the files of the compiled core share: its types, and the state of its module.
 *
 * Heap types and multi-phase init; what is not public in CPython is in callers.h alone. Each type is
 * the base of a class in Python, which adds what is no part of the hot path: see stream.py, steps.py
 * and _proxies/faithful.py.
 */

#ifndef GRPC_GUARD_CORE_H
#define GRPC_GUARD_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stddef.h>

#if defined(__GNUC__) /* what these files share, they share with no other library */
#pragma GCC visibility push(hidden)
#endif

#include "errors.h"
#include "kept.h"
#include "known.h"
#include "starts.h"
#include "steps.h"

#ifndef CHECKSUM
#define CHECKSUM 0u /* of these files: see hatch_build.py and which.py */
#endif

/* Where the classes of proxies have a slot: by the version of a class, which no other class has, nor
 * itself once it has changed. A few, for the classes that one method belongs to. */
#define SPOTS 4

typedef struct {
    unsigned int version[SPOTS]; /* 0: not known yet */
    int offset[SPOTS];
    int newest; /* to be used next */
} Spots;

/* Returns what an object has in the slot of this name, found again by its class. */
PyObject *grpc_guard_in_slot(Spots *spots, PyObject *object, PyObject *name);

/* The mode of what chooses one for each RPC, if that is always the same. */
typedef struct {
    PyObject *choose[SPOTS], *mode[SPOTS];
    int newest;
} Chosen;

#define TWINS 8 /* of the classes of proxies that were made last */

typedef struct {
    /* What each unary RPC reads, side by side. */
    int is_told; /* what a sync handler needs: see told.c */
    Own of_context, of_callbacks;
    LookedUp of_usual_context, of_generation;
    PyObject *of_entries; /* the namespace of entries.py: SERVER_CONTEXT */
    PyObject *str_callbacks, *str_state, *str_server_context, *str_generation;
    PyObject *loop_of_thread; /* the running_loop() of told.c, if that is of asyncio; borrowed */
    LoopsHere loops;

    /* What each operation of asyncio reads. */
    uint64_t here_version; /* of the dict of the thread that asked for its loop last, or 0 */
    PyObject *here;        /* that loop, or None; borrowed from the dict */
    PyObject *aio_direction, *origin_depth; /* configure_aio() */
    PyTypeObject *aio_operation;
    Py_ssize_t wrapped_at; /* where wrapt's proxies have what they wrap: see guarded.c; -1: unknown */
    Kept kept_steps;

    PyTypeObject *stream_fields;
    PyTypeObject *sync_fields;
    PyTypeObject *aio_fields;
    PyTypeObject *constructing_type;
    PyTypeObject *entry, *unary_entry, *task_entry, *in_flight, *unary_start, *method, *handling;
    PyTypeObject *recipe, *count;
    PyTypeObject *maker, *encoding, *crowd, *handled, *scratch, *copies; /* of a look: see looks.h */
    Py_ssize_t noted_last; /* by the crowd that went last */
    unsigned int copies_made, recollections_made, crowds_made; /* see copies.c, inside.c, crowd.c */
    struct Hints *hints; /* of flights.c, or NULL */
    PyObject *switches;   /* the namespace of fields.py: counting, watch, created */
    PyObject *serialize;  /* Mode.SERIALIZE */
    PyObject *become;     /* the descriptor object.__class__ */
    PyObject *loop_thread_of; /* of loops.py */
    PyObject *monotonic;  /* of time */
    PyObject *current_task; /* of asyncio */
    PyObject *tasks_by_loop; /* the dict whose get() that is, or NULL */
    PyObject *str_follows, *str_ended, *str_rpc_ended, *str_watches;
    PyObject *str_mode, *str_wrapped, *str_own_loop;
    PyObject *str_created, *str_counting, *str_watch, *str_equip;
    PyObject *str_twins, *str_make_twin, *str_recipe, *str_prepared, *str_self_read, *str_turns;
    PyObject *str_thread_id, *str_is_instrumented, *str_loop;
    PyTypeObject *aio_method, *aio_run, *aio_handler, *aio_generated, *aio_step;
    PyObject *cancelled_error, *awaiting; /* configure_aio() */
    PyObject *after_cancel; /* what is called after a cancelled operation, or NULL */
    PyObject *handler_cancelled; /* the same for the run of a handler */
    PyObject *str_throw, *str_close, *str_await, *str_code, *str_name, *str_qualname;
    PyObject *str_asend, *str_athrow, *str_aclose, *str_ag_frame, *str_yield;
    PyObject *str_cr_code, *str_cr_frame, *str_co_filename, *str_co_name;
    MadeSo made_so[MADE_SO];
    Own of_channel, of_attempt, of_thread_name;
    MethodInC of_task_name;
    uint64_t of_usual_streams; /* the version of `switches` when they asked for nothing, or 0 */
    PyObject *usual_count;     /* what is there as `created`, borrowed */
    LookedUp of_created, of_counting, of_watch, of_note_origin, of_get_ident;
    Threads threads;
    Numbered of_life, of_twins[TWINS];
    int newest_twin;
    unsigned int of_named; /* the version of a class of threads whose property name reads _name */
    Spots of_wrapped, of_mode, of_on_loop;
    Py_ssize_t stream_at, next_at; /* of proxies, as wrapped_at */
    Spots of_key, of_choose, of_rpc, of_read, of_stream, of_life_generation, of_life_limit, of_life_streams;
    Kept kept_runs, kept_generated;
    Own of_thread_id;
    MethodInC of_append, of_popleft;
    Chosen chosen;
    Steps steps;
    Starts starts;
} State;

/* Returns the state of the module that `type` belongs to; NULL with an exception set. */
State *grpc_guard_state_of(PyTypeObject *type);
#define state_of grpc_guard_state_of
/* The same for a type whose objects go; NULL, without an error, if the module has gone before. */
State *grpc_guard_state_left(PyTypeObject *type);

/* Adds a type to the module; -1 with an exception set. The files that add some are in types.h. */
int grpc_guard_add_type(PyObject *module, PyTypeObject **type, PyType_Spec *spec, PyObject *bases);

/* Returns what running_loop() does, a new reference, mostly without a call. */
PyObject *grpc_guard_loop_here(State *state, PyObject *running_loop);

/* Returns what name_in_task() of _catalogue/cpython_loops.py does: its class may tell it by code of the program. */
PyObject *grpc_guard_name_in_task(State *state, PyObject *task);

/* Lets go of what is in so many fields, one after the other. */
static inline void
grpc_guard_clear_all(PyObject **fields, size_t count)
{
#if defined(__GNUC__)
#pragma GCC unroll 1
#endif
    for (PyObject **end = fields + count; fields < end; fields++) {
        PyObject *held = *fields;
        if (held != NULL) {
            *fields = NULL;
            Py_DECREF(held);
        }
    }
}

/* Assigns a new reference to a field, and lets go of what was there. */
#define SET(field, value) Py_XSETREF(field, value)

#include "streams.h"

/* Assigns to a field of an object in Python, by the descriptor that its class has for it. */
static inline int
grpc_guard_set(PyObject *descriptor, PyObject *object, PyObject *value)
{
    return Py_TYPE(descriptor)->tp_descr_set(descriptor, object, value);
}

/* SyncFields and AioFields: the directions. Their first fields are the same. */

#define DIRECTION \
    PyObject_HEAD \
    PyObject *weakrefs; \
    PyObject *extra, *stream;

#define EACH_OF_SYNC(DO) DO(extra) DO(stream) DO(iterator)
#define EACH_OF_AIO(DO) \
    DO(extra) DO(owner) DO(stream) DO(loop_thread) DO(step) DO(wrapped) DO(name) DO(way)

/* Numbers in place of objects: a program has as many of these as streams. */
typedef struct {
    DIRECTION
    PyObject *iterator;
    unsigned long long owner; /* a thread; with has_owner */
    double since;
    void *caller;             /* of the operation in C that is in progress: see callers.h */
    char free;                /* the token is there */
    char has_owner;
    char operation;           /* one more than the kind of the operation in C that is in progress */
    char is_of_fields;        /* its stream is a StreamFields */
    Links links;              /* among all of its kind that live */
} SyncFields;

typedef struct {
    DIRECTION
    /* What a look compares is side by side, up to the owner. */
    double since;
    char is_untimed; /* `since` is to be noted: by the operation when it waits, or when somebody asks */
    char taken;
    char is_of_fields; /* its stream is a StreamFields */
    unsigned int row; /* where the crowd that has noted somebody in it last has that: see crowd.c */
    PyObject *inside; /* the operation that owns it; borrowed, for that gives it back before it dies */
    PyObject *loop_thread, *owner;
    PyObject *step;           /* or NULL: the method `name` of `wrapped` */
    PyObject *wrapped, *name, *way;
} AioFields;

/* What advances a SyncFields, of one of the kinds in steps.h */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    SyncFields *direction; /* until the collector takes it from an operation that nobody has */
    PyObject *call; /* whose metadata is read; NULL: the iterator of the direction is advanced */
    char kind;
    char is_native; /* get_ident and the clock are what C knows: see this_party() */
    PyObject *weakrefs;
} SyncOperation;

PyObject *grpc_guard_operate(
    PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames);

/* The same as a call without arguments, but for the end of an iterator: NULL without an exception. */
PyObject *grpc_guard_advance(SyncOperation *self);
PyObject *grpc_guard_next_by_slot(PyObject *module, PyObject *const *args, Py_ssize_t count);
/* Tells whether an object is a proxy, whose class was told to attributes_by_slot(). */
int grpc_guard_is_proxy(PyObject *object);
PyObject *grpc_guard_attributes_by_slot(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *grpc_guard_calls_by_slot(PyObject *module, PyObject *cls);

/* Makes a direction of a class that extends SyncFields, and what advances it, of a kind in steps.h. */
PyObject *grpc_guard_make_direction(
    State *state, PyTypeObject *type, PyObject *stream, PyObject *iterator);
PyObject *grpc_guard_make_operation(State *state, PyObject *direction, int kind);

#define OBJECT(type, field, name) {name, T_OBJECT_EX, offsetof(type, field), 0, NULL}
#define WEAK(type) {"__weaklistoffset__", T_PYSSIZET, offsetof(type, weakrefs), READONLY, NULL}

#include "types.h"

#endif
