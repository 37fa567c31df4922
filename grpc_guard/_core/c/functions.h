/* What stands for a function of Python, and passes for it. See functions.c. */

#ifndef GRPC_GUARD_FUNCTIONS_H
#define GRPC_GUARD_FUNCTIONS_H

#include "core.h"

/* How such an object begins. `function` does the same, whatever is the case; `dict` is its namespace, or NULL. */
#define FUNCTION \
    PyObject_HEAD \
    vectorcallfunc vectorcall; \
    PyObject *weakrefs, *function, *dict;

typedef struct {
    FUNCTION
} Function;

#define EACH_OF_FUNCTION(DO) DO(function) DO(dict)

/* Makes a new object stand for `function`; -1: an error is set. */
int grpc_guard_stand_for(PyObject *self, PyObject *function, vectorcallfunc vectorcall);

/* Has the type answer for the module of its functions; -1: an error is set. */
int grpc_guard_ready_function_type(PyTypeObject *type);

extern PyMemberDef grpc_guard_function_members[];
extern PyMethodDef grpc_guard_function_methods[];
extern PyGetSetDef grpc_guard_function_properties[];
PyObject *grpc_guard_function_repr(PyObject *self);
PyObject *grpc_guard_function_get(PyObject *self, PyObject *object, PyObject *owner);

#define FUNCTION_SLOTS \
    {Py_tp_call, PyVectorcall_Call}, {Py_tp_repr, grpc_guard_function_repr}, \
        {Py_tp_descr_get, grpc_guard_function_get}, {Py_tp_members, grpc_guard_function_members}, \
        {Py_tp_methods, grpc_guard_function_methods}, {Py_tp_getset, grpc_guard_function_properties}

#define FUNCTION_FLAGS \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR)

#endif
