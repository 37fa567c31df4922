/* AioOperation: one operation of the asyncio api. It claims its direction when it is first driven.
 *
 * Where there is more to do than a claim, it drives the coroutine of the function that it stands for
 * instead, which does it all. Between the claim and the giving back nothing else of ours runs.
 */

#include "aio.h"

#ifdef __linux__
#include <time.h>
#endif

/* Returns time.monotonic(). */
static PyObject *
now(State *state)
{
#ifdef __linux__
    struct timespec time;
    if (clock_gettime(CLOCK_MONOTONIC, &time) == 0) {
        return PyFloat_FromDouble((double)time.tv_sec + (double)time.tv_nsec * 1e-9);
    }
#endif
    return PyObject_CallNoArgs(state->monotonic);
}

int
grpc_guard_is_plain(State *state, PyObject *direction)
{
    return (PyObject *)Py_TYPE(direction) == state->aio_direction
           && ((AioFields *)direction)->extra == Py_None;
}

/* Notes the line that asks: code and index of the instruction, by which its number is found later. */
static void
note_place(AioOperation *self)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    if (frame != NULL) {
        self->code = (PyObject *)PyFrame_GetCode(frame);
        self->offset = PyFrame_GetLasti(frame);
        Py_DECREF(frame);
    }
}

PyObject *
grpc_guard_new_operation(State *state, AioMethod *method, PyObject *const *args)
{
    PyObject *direction = PyObject_GenericGetAttr(args[0], method->direction);
    if (direction == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear(); /* the function says that when it is awaited */
        }
        return NULL;
    }
    if (!grpc_guard_is_plain(state, direction)) {
        Py_DECREF(direction);
        return NULL;
    }
    PyTypeObject *type = state->aio_operation;
    AioOperation *self = (AioOperation *)type->tp_alloc(type, 0);
    if (self == NULL) {
        Py_DECREF(direction);
        return NULL;
    }
    self->method = Py_NewRef((PyObject *)method);
    self->proxy = Py_NewRef(args[0]);
    self->argument = method->count == 2 ? Py_NewRef(args[1]) : NULL;
    self->direction = direction;
    note_place(self);
    return (PyObject *)self;
}

int
grpc_guard_hand_over(AioOperation *self)
{
    AioMethod *method = (AioMethod *)self->method;
    PyObject *args[] = {self->proxy, self->argument};
    PyObject *inner = PyObject_Vectorcall(method->function, args, method->count, NULL);
    if (inner == NULL) {
        return -1;
    }
    SET(self->inner, inner);
    return 0;
}

/* Tells whether the loop of the direction runs on this thread. */
static int
is_at_home(State *state, AioFields *direction)
{
    PyObject *loop_thread = Py_NewRef(direction->loop_thread);
    PyObject *home = PyObject_GetAttr(loop_thread, state->str_thread_id);
    Py_DECREF(loop_thread);
    if (home == NULL) {
        return -1;
    }
    int is_home = 0;
    if (PyLong_CheckExact(home)) {
        is_home = PyLong_AsUnsignedLong(home) == PyThread_get_thread_ident();
        if (PyErr_Occurred()) {
            is_home = -1;
        }
    }
    Py_DECREF(home);
    return is_home;
}

/* Returns what does the step. */
static PyObject *
step_of(AioOperation *self)
{
    PyObject *step = ((AioMethod *)self->method)->step;
    if (step == Py_None) {
        return Py_XNewRef(((AioFields *)self->direction)->step);
    }
    return PyObject_GenericGetAttr(self->proxy, step);
}

/* Returns what `await` drives for an object; the reference to it is taken. */
static PyObject *
awaited(State *state, PyObject *awaitable)
{
    if (PyCoro_CheckExact(awaitable) && Py_REFCNT(awaitable) == 1) {
        return awaitable; /* made for this, and by nobody awaited */
    }
    PyAsyncMethods *methods = Py_TYPE(awaitable)->tp_as_async;
    PyObject *iterator;
    if (!PyCoro_CheckExact(awaitable) && methods != NULL && methods->am_await != NULL) {
        iterator = methods->am_await(awaitable);
        if (iterator == NULL || (PyIter_Check(iterator) && !PyCoro_CheckExact(iterator))) {
            Py_DECREF(awaitable);
            return iterator;
        }
        Py_DECREF(iterator);
    }
    iterator = PyObject_CallOneArg(state->awaiting, awaitable); /* Python knows what is wrong */
    Py_DECREF(awaitable);
    return iterator;
}

static void
give_back(AioOperation *self)
{
    AioFields *direction = (AioFields *)self->direction;
    self->owns = 0;
    direction->inside = NULL;
    SET(direction->taken, Py_NewRef(Py_False));
}

/* Claims the direction and makes what is driven, or hands over. */
static int
begin(State *state, AioOperation *self)
{
    AioFields *direction = (AioFields *)self->direction;
    int is_home = direction->loop_thread == NULL ? 0 : is_at_home(state, direction);
    PyObject *step = is_home <= 0 ? NULL : step_of(self);
    PyObject *since = step == NULL ? NULL : now(state);
    if (PyErr_Occurred()) {
        Py_XDECREF(step);
        return -1;
    }
    StreamFields *stream = (StreamFields *)direction->stream;
    if (since == NULL || stream == NULL || !PyObject_TypeCheck(stream, state->stream_fields)
        || stream->ended != Py_False || direction->taken != Py_False
        || !grpc_guard_is_plain(state, self->direction)) {
        Py_XDECREF(step);
        Py_XDECREF(since);
        return grpc_guard_hand_over(self);
    }
    SET(direction->taken, Py_NewRef(Py_True));
    self->owns = 1;
    direction->inside = (PyObject *)self;
    SET(direction->since, since);
    PyObject *awaitable = self->argument == NULL ? PyObject_CallNoArgs(step)
                                                 : PyObject_CallOneArg(step, self->argument);
    Py_DECREF(step);
    self->inner = awaitable == NULL ? NULL : awaited(state, awaitable);
    return self->inner == NULL ? -1 : 0;
}

/* An exception leaves the operation while it owns: if it is a cancellation, somebody has rules for that. */
static void
tell_of_cancel(State *state, AioOperation *self)
{
    if (state->after_cancel == NULL || !PyErr_ExceptionMatches(state->cancelled_error)) {
        return;
    }
    PyObject *error = take_exception();
    PyObject *args[] = {((AioFields *)self->direction)->stream, ((AioMethod *)self->method)->operation,
                        error, self->direction, self->proxy};
    PyObject *nothing = PyObject_Vectorcall(state->after_cancel, args, 5, NULL);
    if (nothing == NULL) {
        PyObject *other = take_exception();
        PyObject *context = PyException_GetContext(other);
        if (context == NULL && other != error) {
            PyException_SetContext(other, Py_NewRef(error));
        }
        Py_XDECREF(context);
        Py_SETREF(error, other);
    }
    Py_XDECREF(nothing);
    set_exception(error);
}

void
grpc_guard_end(State *state, AioOperation *self, int failed)
{
    if (self->owns) {
        if (failed) {
            tell_of_cancel(state, self);
        }
        give_back(self);
    }
    self->progress = CLOSED;
    Py_CLEAR(self->inner);
    Py_CLEAR(self->argument);
    Py_CLEAR(self->proxy);
    Py_CLEAR(self->direction);
}

/* As Python does in a coroutine: a StopIteration that is raised must not look like its result. */
static void
replace_stop_iteration(void)
{
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyObject *cause = take_exception();
        PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
        PyObject *error = take_exception();
        PyException_SetCause(error, Py_NewRef(cause));
        PyException_SetContext(error, cause);
        set_exception(error);
    }
}

int
grpc_guard_can_go_on(AioOperation *self)
{
    if (self->progress == RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return 0;
    }
    if (self->progress == CLOSED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return 0;
    }
    return 1;
}

PySendResult
grpc_guard_operation_send(AioOperation *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (!grpc_guard_can_go_on(self)) {
        return PYGEN_ERROR;
    }
    State *state = PyType_GetModuleState(Py_TYPE(self));
    int is_first = self->progress == CREATED;
    if (is_first && value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    Py_INCREF(self);
    self->progress = RUNNING;
    PySendResult status = PYGEN_ERROR;
    if (is_first && self->inner == NULL && begin(state, self) < 0) {
        replace_stop_iteration();
    }
    else {
        status = PyIter_Send(self->inner, value, result);
    }
    if (status == PYGEN_NEXT) {
        self->progress = SUSPENDED;
    }
    else {
        grpc_guard_end(state, self, status == PYGEN_ERROR);
    }
    Py_DECREF(self);
    return status;
}
