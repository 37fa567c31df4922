/* What the files of the compiled core share: its types, and the state of its module.
 *
 * Heap types and multi-phase init; nothing of CPython's that is not public. Each type is the base
 * of a class in Python, which adds what is no part of the hot path: see stream.py, steps.py and
 * _proxies/faithful.py.
 */

#ifndef GRPC_GUARD_CORE_H
#define GRPC_GUARD_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stddef.h>
#include "steps.h"

#ifndef CHECKSUM
#define CHECKSUM 0u /* of these files: see hatch_build.py and which.py */
#endif

typedef struct {
    PyTypeObject *stream_fields;
    PyTypeObject *sync_fields;
    PyTypeObject *aio_fields;
    PyTypeObject *constructing_type;
    PyTypeObject *entry, *unary_entry, *in_flight, *unary_start;
    PyObject *switches;   /* the namespace of fields.py: counting, watch, created */
    PyObject *serialize;  /* Mode.SERIALIZE */
    PyObject *become;     /* the descriptor object.__class__ */
    PyObject *loop_thread_of; /* of loops.py */
    PyObject *monotonic;  /* of time */
    PyObject *current_task; /* of asyncio */
    PyObject *of_entries; /* the namespace of entries.py: SERVER_CONTEXT */
    PyObject *str_add_callback, *str_callbacks, *str_state, *str_server_context, *str_ended, *str_rpc_ended, *str_watches;
    PyObject *str_generation, *str_mode, *str_choose, *str_wrapped, *str_own_loop;
    PyObject *str_created, *str_counting, *str_watch, *str_equip;
    PyObject *str_twins, *str_make_twin, *str_thread_id, *str_is_instrumented, *str_loop;
    PyObject *zero;       /* 0.0 */
    PyTypeObject *aio_method, *aio_operation;
    PyObject *aio_direction, *cancelled_error, *awaiting, *origin_depth; /* configure_aio() */
    PyObject *after_cancel; /* what is called after a cancelled operation, or NULL */
    PyObject *str_throw, *str_close, *str_await, *str_code, *str_name, *str_qualname;
    PyObject *str_cr_code, *str_cr_frame, *str_co_filename, *str_co_name;
    Steps steps;
} State;

/* Returns the state of the module that `type` belongs to; NULL with an exception set. */
State *grpc_guard_state_of(PyTypeObject *type);
#define state_of grpc_guard_state_of

/* Each adds the types of one file; -1 with an exception set. */
int grpc_guard_add_type(PyObject *module, PyTypeObject **type, PyType_Spec *spec, PyObject *bases);
int grpc_guard_add_streams(PyObject *module, State *state);
int grpc_guard_add_directions(PyObject *module, State *state);
int grpc_guard_add_entries(PyObject *module, State *state);
int grpc_guard_add_in_flight(PyObject *module, State *state);
int grpc_guard_add_starts(PyObject *module, State *state);
int grpc_guard_add_proxies(PyObject *module, State *state);
int grpc_guard_add_aio_methods(PyObject *module, State *state);
int grpc_guard_add_aio_operations(PyObject *module, State *state);
int grpc_guard_add_steps(PyObject *module, State *state);

/* Assigns a new reference to a field, and lets go of what was there. */
#define SET(field, value) Py_XSETREF(field, value)

/* StreamFields */

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *call, *context, *has_ended, *read, *write;
    PyObject *api, *channel, *ended, *handler, *in_done_callback, *is_instrumented, *loop;
    PyObject *mode, *origin, *rpc, *side;
} StreamFields;

/* Every field that may hold an object, for those who go through them all. */
#define EACH_OF_STREAM(DO) \
    DO(call) DO(context) DO(has_ended) DO(read) DO(write) DO(api) DO(channel) DO(ended) \
    DO(handler) DO(in_done_callback) DO(is_instrumented) DO(loop) DO(mode) DO(origin) DO(rpc) \
    DO(side)

/* SyncFields and AioFields: the directions. Their first fields are the same. */

#define DIRECTION \
    PyObject_HEAD \
    PyObject *weakrefs; \
    PyObject *extra, *owner, *since, *stream;

#define EACH_OF_SYNC(DO) \
    DO(extra) DO(owner) DO(since) DO(stream) DO(free) DO(iterator) DO(frame) DO(operation)
#define EACH_OF_AIO(DO) \
    DO(extra) DO(owner) DO(since) DO(stream) DO(loop_thread) DO(step) DO(taken) DO(way)

typedef struct {
    DIRECTION
    PyObject *free, *iterator;
    PyObject *frame, *operation; /* what called the operation in C that is in progress, its name */
    Links links;
} SyncFields;

typedef struct {
    DIRECTION
    PyObject *loop_thread, *step, *taken, *way;
    PyObject *inside; /* the operation that owns it; borrowed, for that gives it back before it dies */
} AioFields;

/* What advances a SyncFields, of one of the kinds in steps.h */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *weakrefs, *dict;
    SyncFields *direction;
    PyObject *self; /* __self__ */
    PyObject *call; /* whose metadata is read; NULL: the iterator of the direction is advanced */
    int kind;
} SyncOperation;

PyObject *grpc_guard_operate(
    PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames);

#define OBJECT(type, field, name) {name, T_OBJECT_EX, offsetof(type, field), 0, NULL}
#define WEAK(type) {"__weaklistoffset__", T_PYSSIZET, offsetof(type, weakrefs), READONLY, NULL}

#endif
