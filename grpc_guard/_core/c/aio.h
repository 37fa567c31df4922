/* Asyncio: what the files of its methods and operations share. */

#ifndef GRPC_GUARD_AIO_H
#define GRPC_GUARD_AIO_H

#include "callers.h"
#include "core.h"
#include "flights.h"
#include "layouts.h"

/* A method of a proxy that makes operations. To everybody who looks, it is the function that it was
 * made from, which does whatever is more than a claim. */
typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    State *state;
    Py_ssize_t count;    /* of the arguments, the proxy among them */
    Kept kept;           /* operations that have ended */
    Spots of_direction;
    PyObject *step;      /* the name of the slot of its step, or None: the direction's */
    PyObject *of_wrapped; /* the name of the method of what is wrapped that is its step, or None */
    PyObject *operation;  /* the name of the operation */
    Unbound unbound;     /* the step, where that is a method of a plain call */
    Spots of_step;
    PyObject *function;  /* async def, and marked */
    PyObject *direction; /* the name of the slot of the proxy */
    PyObject *module;    /* held for its state */
    PyObject *weakrefs;
} AioMethod;

#define EACH_OF_METHOD(DO) DO(module) DO(function) DO(operation) DO(direction) DO(step) DO(of_wrapped)

typedef enum { CREATED, RUNNING, SUSPENDED, CLOSED } Progress;

/* What a method returns: a coroutine to everybody who looks. */
typedef struct AioOperation {
    PyObject_HEAD
    /* What it reads when it goes on, and ends, is in one line of memory. */
    PyObject *method, *proxy, *argument, *direction;
    PyObject *inner; /* what it drives: the step of the direction, or the coroutine of the function */
    int offset;      /* in `code` */
    char owns; /* the direction, from the claim until it gives it back */
    char progress;
    PyObject *code;  /* with offset, where it was made; NULL if Python was not the caller */
    PyObject *name, *qualname; /* if somebody has set them */
    PyObject *subject; /* of a run: a handler's stream, or the name of its RPC; NULL after its end */
    PyObject *weakrefs;
} AioOperation;

#define EACH_BUT_METHOD(DO) \
    DO(proxy) DO(argument) DO(direction) DO(inner) DO(code) DO(name) DO(qualname) DO(subject)
#define EACH_OF_OPERATION(DO) DO(method) EACH_BUT_METHOD(DO)

/* The run of a handler. */
typedef struct {
    AioOperation operation;
    PyObject *records, *loop; /* of the server, until it is first driven, when its flight begins; or NULL */
    Flight flight;
    PyObject *home; /* of a unary one: the AioHandler, which has the records and the subject; or NULL */
    char is_told;   /* its stream knows it */
} AioRun;

/* Has no subject any more. */
static inline void
grpc_guard_let_subject_go(AioOperation *self)
{
    PyObject *subject = self->subject;
    AioRun *run = (AioRun *)self;
    self->subject = NULL;
    if (subject != NULL && run->home == NULL) {
        if (run->is_told && ((StreamFields *)subject)->run == run) {
            ((StreamFields *)subject)->run = NULL;
        }
        run->is_told = 0;
        Py_DECREF(subject);
    }
}

/* Begins its flight; -1 with an exception set. */
int grpc_guard_begin_run(AioRun *run);
/* Ends it, or has it not begin. */
void grpc_guard_end_run(AioRun *run);

/* Tells whether coroutines note where they are made: the function's do, and operations do not. */
static inline int
grpc_guard_origins_are_tracked(State *state)
{
    if (state == NULL || state->origin_depth == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the interpreter is shutting down");
        return -1;
    }
#if PY_VERSION_HEX < 0x030F0000
    return PyThreadState_Get()->coroutine_origin_tracking_depth > 0;
#else
    PyObject *depth = PyObject_CallNoArgs(state->origin_depth);
    int is_tracked = depth == NULL ? -1 : PyObject_IsTrue(depth);
    Py_XDECREF(depth);
    return is_tracked;
#endif
}

/* What a method does: makes an operation of its proxy, or has the function do it. */
PyObject *grpc_guard_operation_vectorcall(PyObject *self, PyObject *const *args, size_t flags, PyObject *names);
PyObject *grpc_guard_call_function(AioMethod *method, PyObject *const *args, size_t flags, PyObject *names);

/* Returns the run of a handler, a coroutine which tells how that ends: it drives `coroutine`, which
 * the function of `method` has made, and whose reference is taken, even by an error. */
PyObject *grpc_guard_new_run(State *state, AioMethod *method, PyObject *subject, PyObject *coroutine,
                             PyObject *records, PyObject *loop);

/* Stream.handler: of a handler that yields in C, it is made when somebody asks. */
PyObject *grpc_guard_get_handler(StreamFields *self, void *unused);
int grpc_guard_set_handler(StreamFields *self, PyObject *handler, void *unused);

/* Has somebody told of a cancellation that ends something, with `told`, which has the error at `place`;
 * what is raised then takes its place. */
void grpc_guard_tell_of_cancel(State *state, PyObject *teller, PyObject *const *told, size_t count,
                               Py_ssize_t place);

/* Sets a StopIteration with a result, made when somebody looks at it if that can be. */
static inline void
grpc_guard_set_result(PyObject *result)
{
    if (!PyTuple_Check(result) && !PyExceptionInstance_Check(result)) {
        PyErr_SetObject(PyExc_StopIteration, result);
        return;
    }
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
}

/* Finds what time.monotonic() is; -1 with an exception set. */
int grpc_guard_time(State *state, double *since);

/* Returns what `await` drives for an object; the reference to it is taken. */
PyObject *grpc_guard_awaited(State *state, PyObject *awaitable);

/* Tells whether the direction is claimed by operations at all: of its own class, and nobody waits for
 * its turn there, or is watched; -1: an error is set. */
int grpc_guard_is_claimable(State *state, PyObject *direction);

/* Tells whether its steps are done as they are: nothing was added to it. */
static inline int
grpc_guard_is_plain(State *state, PyObject *direction)
{
    return (PyObject *)Py_TYPE(direction) == state->aio_direction
           && ((AioFields *)direction)->extra == Py_None;
}

/* Tells whether it is known, with no call, that a loop runs on this thread. */
static inline int
grpc_guard_is_here(State *state, PyObject *loop)
{
#if HAS_LOOP_IN_DICT
    PyObject *dict = PyThreadState_Get()->dict;
    return dict != NULL && loop == state->here && state->here_version == grpc_guard_version_of(dict)
           && state->here_version != 0;
#else
    return 0;
#endif
}

/* The same as PyIter_Send(). */
static inline PySendResult
grpc_guard_send(PyObject *inner, PyObject *value, PyObject **result)
{
    PyAsyncMethods *methods = Py_TYPE(inner)->tp_as_async;
    if (USUALLY(methods != NULL && methods->am_send != NULL)) {
        return methods->am_send(inner, value, result);
    }
    return PyIter_Send(inner, value, result);
}

/* What an operation does, and what becomes of it: as the methods of coroutines. */
PySendResult grpc_guard_operation_send(AioOperation *self, PyObject *value, PyObject **result);
PySendResult grpc_guard_begin_and_send(AioOperation *self, PyObject *value, PyObject **result); /* for the first time */
PyObject *grpc_guard_operation_throw(AioOperation *self, PyObject *args);
int grpc_guard_operation_close(AioOperation *self);
void grpc_guard_operation_finalize(AioOperation *self);

/* Tells whether it can go on; else an exception is set. */
int grpc_guard_can_go_on(AioOperation *self);

/* Ends it, with an exception set if it failed, and lets go of all that it held. */
void grpc_guard_end(AioOperation *self, int failed);

/* Its attributes, and one of them. */
extern PyGetSetDef grpc_guard_operation_properties[];
PyObject *grpc_guard_operation_qualname(AioOperation *self, void *unused);

/* Notes that it has been driven, and lets go of it. */
PySendResult grpc_guard_operation_sent(AioOperation *self, PySendResult status);

/* Claims the direction and makes what is driven, or hands over; -1 with an exception set. */
int grpc_guard_begin_anyhow(AioOperation *self);

/* As Python does in a coroutine: a StopIteration that is raised must not look like its result. */
void grpc_guard_replace_stop_iteration(void);

/* Returns the direction of a new operation, a new reference, if it is claimed by operations; NULL, mostly without
 * an error, if not. */
PyObject *grpc_guard_find_direction(AioMethod *method, PyObject *proxy);

/* tp_dealloc of an operation. */
void grpc_guard_operation_dealloc(AioOperation *self);

/* Makes the coroutine of the function what is driven; -1 with an exception set. */
int grpc_guard_hand_over(AioOperation *self);

#endif
