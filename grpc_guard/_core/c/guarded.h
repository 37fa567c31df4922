/* The guarded objects of a stream in C: what the layers above say of them, and what makes them. */

#ifndef GRPC_GUARD_GUARDED_H
#define GRPC_GUARD_GUARDED_H

#include "core.h"

/* Has a new proxy wrap an object; `descriptor` is that of __wrapped__. */
int grpc_guard_wrap_in(State *state, PyObject *descriptor, PyObject *proxy, PyObject *wrapped);

/* Makes a proxy of no object, without its constructor; and takes what there is away from one that is kept. */
PyObject *grpc_guard_new_proxy(PyTypeObject *cls);
void grpc_guard_clear_kept_proxy(PyObject *kept);

/* Returns a proxy of `wrapped` that belongs to `stream`, of the class that `twins` has for it. NULL,
 * without an error, if there is none yet: the class in Python makes it. */
PyObject *grpc_guard_make_proxy(State *state, PyObject *twins, PyObject *wrapped, PyObject *stream);

/* The same for an iterator: its __next__ advances a new direction of `type`, which `field` of the stream,
 * unless it is NULL, has as long as that lives. */
PyObject *grpc_guard_make_iterator(State *state, PyObject *twins, PyObject *wrapped,
                                   PyObject *stream, PyObject *type, int kind, PyObject **field);

/* Does what bind() of _guard/generators.py does; -1: an error is set. */
int grpc_guard_bind(State *state, PyObject *iterator, PyObject *stream, PyObject *operation);

/* Notes that a stream has ended; an error that is set stays. */
void grpc_guard_end_stream(PyObject *stream);

/* Returns what a proxy, a true one, wraps. */
PyObject *grpc_guard_wrapped(State *state, PyObject *proxy);

/* Calls a function with one argument before the others. */
PyObject *grpc_guard_call_with(PyObject *function, PyObject *first, PyObject *args, PyObject *kwargs);

/* What a class of multi-callables' proxies has as `__call__`: a UnaryStart, or a Method. Each is called
 * as tp_call is. */
PyObject *grpc_guard_start_vectorcall(PyObject *start, PyObject *const *args, size_t flagged, PyObject *names);
PyObject *grpc_guard_start_unary(PyObject *start, PyObject *proxy, PyObject *args, PyObject *kwargs);
PyObject *grpc_guard_method_vectorcall(PyObject *method, PyObject *const *args, size_t flagged, PyObject *names);
PyObject *grpc_guard_call_method(PyObject *method, PyObject *proxy, PyObject *args, PyObject *kwargs);

typedef struct Method Method;
typedef PyObject *(*Quick)(State *, Method *, PyObject *const *, Py_ssize_t, PyObject *);
typedef PyObject *(*Start)(State *, Method *, PyObject *proxy, PyObject *args, PyObject *kwargs);

#define QUICK(name) \
    PyObject *name(State *, Method *, PyObject *const *args, Py_ssize_t count, PyObject *names);

/* Of a proxy's class: __call__ of a multi-callable. */
QUICK(grpc_guard_call_unary_stream)
QUICK(grpc_guard_call_stream_stream)
/* Of a generic handler: service(). */
QUICK(grpc_guard_service)
/* And what the guards of the process and of the registry call as well. */
QUICK(grpc_guard_start_unary_stream)
QUICK(grpc_guard_start_stream_stream)
QUICK(grpc_guard_begin_aio_unary_stream)
QUICK(grpc_guard_begin_aio_stream_unary)
QUICK(grpc_guard_begin_aio_stream_stream)
/* Of asyncio: __call__ of a multi-callable, and __aiter__ of a call and of requests. */
#define START(name) \
    PyObject *name(State *, Method *, PyObject *proxy, PyObject *args, PyObject *kwargs);
START(grpc_guard_start_aio_unary_stream)
START(grpc_guard_start_aio_stream_unary)
START(grpc_guard_start_aio_stream_stream)
QUICK(grpc_guard_iterate_call)
QUICK(grpc_guard_iterate_requests)
#undef QUICK
#undef START

/* Where the proxies of a class have a slot. */
typedef struct {
    unsigned int version; /* of the class; 0: not known yet */
    Py_ssize_t offset;
} SlotOf;

/* A function, or a method of a class, that stands for one in Python and leaves to it what is not usual. */
struct Method {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *weakrefs;
    PyObject *function;
    PyObject *module; /* that the state is of */
    State *state;
    Quick quick;
    Start start; /* or NULL: of a multi-callable that is called */
    Own of_loop;      /* of that */
    PyObject *called; /* what the class of that has as `__call__`, borrowed from it */
    unsigned int of_called; /* the version of that class; 0: not known */
    SlotOf of_messages; /* of one that iterates: where its proxies have their messages */
    Unbound of_plain;   /* and how what they wrap is iterated */
};

#define FEW 8 /* arguments, with the proxy */

#define IN_PYTHON(method, args, count, names) \
    PyObject_Vectorcall((method)->function, args, (size_t)(count), names)

#endif
