/* AioOperation: one operation of the asyncio api, driven to its end. How it begins: aio_claims.c. */

#include "aio.h"
#include "directions.h"

static inline void
give_back(AioOperation *self)
{
    AioFields *direction = (AioFields *)self->direction;
    self->owns = 0;
    direction->inside = NULL;
    direction->taken = 0;
    if (!USUALLY(!direction->is_untimed)) { /* it did not wait: nobody but who looks later wants to know */
        direction->since = grpc_guard_just_now();
        direction->is_untimed = 0;
    }
}

USUAL void
grpc_guard_tell_of_cancel(
    State *state, PyObject *teller, PyObject *const *told, size_t count, Py_ssize_t place)
{
    if (teller == NULL || PyErr_Occurred() == PyExc_StopAsyncIteration
        || !PyErr_ExceptionMatches(state->cancelled_error)) {
        return;
    }
    PyObject *error = take_exception(), *args[5];
    for (size_t i = 0; i < count; i++) {
        args[i] = (Py_ssize_t)i == place ? error : told[i];
    }
    PyObject *nothing = PyObject_Vectorcall(teller, args, count, NULL);
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

/* The handler of a run has ended: its stream objects are to be used no more. */
static void
end_run(AioOperation *self, int failed)
{
    AioRun *run = (AioRun *)self;
    PyObject *subject = Py_NewRef(self->subject);
    grpc_guard_let_subject_go(self);
    if (failed) {
        State *state = PyType_GetModuleState(Py_TYPE(self));
        PyObject *told[] = {subject, NULL};
        grpc_guard_tell_of_cancel(state, state->handler_cancelled, told, 2, 1);
    }
    if (!PyUnicode_CheckExact(subject)
        && IS_STREAM((State *)PyType_GetModuleState(Py_TYPE(self)), subject)) {
        SET(((StreamFields *)subject)->ended, Py_NewRef(Py_True));
    }
    grpc_guard_end_flight(&run->flight);
    Py_DECREF(subject);
}

USUAL void
grpc_guard_end(AioOperation *self, int failed)
{
    if (self->owns) {
        if (failed) {
            State *state = PyType_GetModuleState(Py_TYPE(self));
            PyObject *told[] = {((AioFields *)self->direction)->stream,
                                ((AioMethod *)self->method)->operation, NULL, self->direction,
                                self->proxy};
            grpc_guard_tell_of_cancel(state, state->after_cancel, told, 5, 2);
        }
        give_back(self);
    }
    if (self->subject != NULL) {
        end_run(self, failed);
    }
    self->progress = CLOSED;
    Py_CLEAR(self->inner);
    Py_CLEAR(self->argument);
    Py_CLEAR(self->proxy);
    Py_CLEAR(self->direction);
}

void
grpc_guard_replace_stop_iteration(void)
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

USUAL PySendResult
grpc_guard_operation_sent(AioOperation *self, PySendResult status)
{
    if (status == PYGEN_NEXT) {
        self->progress = SUSPENDED;
        if (self->owns) {
            (void)grpc_guard_since_of((AioFields *)self->direction); /* it waits: somebody may ask */
        }
        if (self->subject != NULL && grpc_guard_flight_waits(&((AioRun *)self)->flight) < 0) {
            PyErr_Clear(); /* there is no memory for the note */
        }
    }
    else {
        grpc_guard_end(self, status == PYGEN_ERROR);
    }
    Py_DECREF(self);
    return status;
}

/* Takes an operation to have succeeded, and lets go of it and all that it held. */
static inline void
succeed(AioOperation *self)
{
    give_back(self);
    self->progress = CLOSED;
    Py_CLEAR(self->inner);
    Py_CLEAR(self->argument);
    Py_CLEAR(self->proxy);
    Py_CLEAR(self->direction);
    Py_DECREF(self);
}

USUAL PySendResult
grpc_guard_operation_send(AioOperation *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (self->progress != SUSPENDED) {
        return grpc_guard_begin_and_send(self, value, result);
    }
    Py_INCREF(self);
    self->progress = RUNNING;
    PySendResult status = grpc_guard_send(self->inner, value, result);
    if (status == PYGEN_NEXT) {
        self->progress = SUSPENDED; /* as all else is */
        Py_DECREF(self);
        return status;
    }
    if (USUALLY(status == PYGEN_RETURN && self->owns)) {
        succeed(self);
        return status;
    }
    return grpc_guard_operation_sent(self, status);
}
