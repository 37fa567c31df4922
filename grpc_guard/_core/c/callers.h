/* Who calls an operation, and when, found without a call through Python and without an object made;
 * an attribute that is not there, without an exception made; and what has been looked up before,
 * without another lookup.
 *
 * The one place that knows what is private in CPython, for the versions that it was read in: an
 * operation is asked for from a cold cache, and a frame object for each cost as much as the claim.
 * Another version takes the public way.
 */

#ifndef GRPC_GUARD_CALLERS_H
#define GRPC_GUARD_CALLERS_H

#include <Python.h>

#include "clock.h"

/* Called for each operation: not by way of a table that is as cold as all else. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ELF__)
extern __typeof__(PyThreadState_Get) PyThreadState_Get __attribute__((noplt, visibility("default")));
#endif

/* The caller of an operation that a fork has left behind in the parent: no frame's key. */
#define LEFT_BEHIND ((void *)-1)

/* Each frame that runs has a key of its own, which a frame object can be asked for. */
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000
#if PY_VERSION_HEX < 0x030C0000
struct grpc_guard_inner { /* struct _PyInterpreterFrame, as far as it is read here */
    void *of_function[4];
    PyObject *code;
    void *frame, *previous;
    void *instruction; /* the last one */
};
#else
struct grpc_guard_inner {
    PyObject *code;
    void *previous, *of_function[4], *frame;
    void *instruction; /* the last one; from 3.13 on, the one that runs */
};
#endif

struct grpc_guard_frame { /* struct _frame of pycore_frame.h */
    PyObject_HEAD
    PyFrameObject *back;
    void *inner; /* struct _PyInterpreterFrame */
};

/* Returns the key of the frame that runs, and finds the thread. */
static inline void *
grpc_guard_caller(unsigned long long *thread)
{
    PyThreadState *state = PyThreadState_Get();
    *thread = state->thread_id;
#if PY_VERSION_HEX < 0x030D0000
    return state->cframe->current_frame;
#else
    return state->current_frame;
#endif
}

static inline void *
grpc_guard_key_of(PyObject *frame)
{
    return ((struct grpc_guard_frame *)frame)->inner;
}

/* Finds the code that runs, a new reference, and the index of its instruction; none if it is C. */
static inline void
grpc_guard_place(PyObject **code, int *offset)
{
    unsigned long long thread;
    struct grpc_guard_inner *frame = grpc_guard_caller(&thread);
    if (frame != NULL && PyCode_Check(frame->code)) {
        *code = Py_NewRef(frame->code);
        *offset = (int)((char *)frame->instruction - ((PyCodeObject *)frame->code)->co_code_adaptive);
    }
}

/* What object.__getattribute__ finds; NULL without an exception if there is no such attribute. */
static inline PyObject *
grpc_guard_own_attribute(PyObject *object, PyObject *name)
{
    return _PyObject_GenericGetAttrWithDict(object, name, NULL, 1);
}
#else
static inline PyObject *
grpc_guard_own_attribute(PyObject *object, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(object, name);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return found;
}

static inline void *
grpc_guard_caller(unsigned long long *thread)
{
    *thread = PyThread_get_thread_ident();
    return PyEval_GetFrame(); /* borrowed: it lives as long as it runs */
}

static inline void *
grpc_guard_key_of(PyObject *frame)
{
    return frame;
}

static inline void
grpc_guard_place(PyObject **code, int *offset)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    if (frame != NULL) {
        *code = (PyObject *)PyFrame_GetCode(frame);
        *offset = PyFrame_GetLasti(frame);
        Py_DECREF(frame);
    }
}
#endif

/* Returns what a weak reference leads to, a new reference; NULL, without an error, if that is no more. */
static inline PyObject *
grpc_guard_referent(PyObject *reference)
{
    PyObject *object = NULL;
#if PY_VERSION_HEX >= 0x030D0000
    PyWeakref_GetRef(reference, &object);
#else
    object = PyWeakref_GET_OBJECT(reference);
    object = object == Py_None ? NULL : Py_NewRef(object);
#endif
    return object;
}

#endif
