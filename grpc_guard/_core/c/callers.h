/* Who calls an operation, and when, found without a call through Python and without an object made.
 *
 * The one place that knows private structures of CPython: an operation is asked for from a cold
 * cache, and a frame object for each cost as much as the claim. What has another version of CPython
 * takes the public way.
 */

#ifndef GRPC_GUARD_CALLERS_H
#define GRPC_GUARD_CALLERS_H

#include <Python.h>

#if defined(__linux__) /* where time.monotonic() is this clock */
#include <time.h>
#define HAS_CLOCK 1
static inline double
grpc_guard_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec * 1000000000LL + now.tv_nsec) / 1e9;
}
#else
#define HAS_CLOCK 0
static inline double
grpc_guard_now(void)
{
    return 0.0;
}
#endif

/* The caller of an operation that a fork has left behind in the parent: no frame's key. */
#define LEFT_BEHIND ((void *)-1)

/* Each frame that runs has a key of its own, which a frame object can be asked for. */
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000
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
#else
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
#endif

#endif
