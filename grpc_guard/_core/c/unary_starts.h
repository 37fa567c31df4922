/* The starts of unary RPCs. See starts.c. */

#ifndef GRPC_GUARD_UNARY_STARTS_H
#define GRPC_GUARD_UNARY_STARTS_H

#include "core.h"

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

/* tp_call of a class of proxies whose `__call__` is a UnaryStart of the sync api. */
PyObject *grpc_guard_call_unary(PyObject *proxy, PyObject *args, PyObject *kwargs);

#endif
