/* The starts of unary RPCs. See starts.c. */

#ifndef GRPC_GUARD_UNARY_STARTS_H
#define GRPC_GUARD_UNARY_STARTS_H

#include "guarded.h"
#include "layouts.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *module; /* that the state is of */
    State *state;
    PyObject *method;  /* in Python: does the same, whatever is the case */
    PyObject *forks;   /* the namespace that has generation */
    PyObject *in_force, *off; /* aio: the mode of the process, and the one in which all is as usual */
    PyObject *running_loop;
    PyObject *refusals, *refused; /* refused(proxy, error) is called for these errors */
    PyObject *late, *refused_late; /* aio: for a call that has the attribute, refused_late(proxy, call) */
    Own of_loop;
} UnaryStart;

/* Tells whether a proxy starts its RPC as usual; -1: an error is set. */
int grpc_guard_starts_as_usual(UnaryStart *self, PyObject *proxy, PyObject *wrapped);

/* Has an error that is set looked at, if it is a refusal; it stays set. */
void grpc_guard_look_at_refusal(UnaryStart *self, PyObject *proxy);

/* Looks at a call that has been started, whose reference is taken, or at the error that is set; returns the call. */
PyObject *grpc_guard_look_at_start(UnaryStart *self, PyObject *proxy, PyObject *call);

/* What notes how a proxy has just been found to start its RPC, and what looks at the call then, as
 * grpc_guard_look_at_start() does. */
typedef struct {
    void (*note)(UnaryStart *self, PyObject *proxy, PyObject *wrapped);
    PyObject *(*look)(UnaryStart *self, PyObject *proxy, PyObject *call);
} Noting;

/* Starts an RPC by what the class of a proxy has as `__call__`; if that is a UnaryStart, and all is as usual, it is
 * noted. */
PyObject *grpc_guard_start_noting(PyObject *proxy, PyObject *args, PyObject *kwargs, const Noting *noting);

/* tp_call of a class of proxies whose `__call__` is a UnaryStart: of the sync api, and of asyncio. */
PyObject *grpc_guard_call_unary(PyObject *proxy, PyObject *args, PyObject *kwargs);
PyObject *grpc_guard_call_aio_unary(PyObject *proxy, PyObject *args, PyObject *kwargs);

/* Has an error that is set looked at by what the class of a proxy has as `__call__`; it stays set. */
void grpc_guard_look_at_unary_error(PyObject *proxy);

/* Calls what a proxy wraps; `function` is what the class of that has as `__call__`, of this version, or 0. */
static inline PyObject *
grpc_guard_call_wrapped(
    PyObject *function, unsigned int version, PyObject *wrapped, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(args) + 1;
    if (!USUALLY(version != 0 && version == Py_TYPE(wrapped)->tp_version_tag && count <= FEW)) {
        return PyObject_Call(wrapped, args, kwargs);
    }
    PyObject *few[FEW];
    Py_INCREF(function);
    few[0] = wrapped;
    for (Py_ssize_t i = 1; i < count; i++) {
        few[i] = PyTuple_GET_ITEM(args, i - 1); /* the tuple holds them */
    }
    PyObject *result = kwargs == NULL ? ((PyFunctionObject *)function)->vectorcall(function, few, (size_t)count, NULL)
                                      : PyObject_VectorcallDict(function, few, (size_t)count, kwargs);
    Py_DECREF(function);
    return result;
}

#endif
