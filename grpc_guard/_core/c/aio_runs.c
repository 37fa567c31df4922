/* The run of a handler: how it is made, begins its flight, and ends that. How it is driven: aio_operations.c. */

#include "aio_handlers.h"

PyObject *
grpc_guard_new_run(State *state, AioMethod *method, PyObject *subject, PyObject *coroutine,
                   PyObject *records, PyObject *loop)
{
    AioRun *self = (AioRun *)grpc_guard_alloc(&state->kept_runs, state->aio_run);
    if (self == NULL) {
        Py_DECREF(coroutine);
        return NULL;
    }
    self->operation.method = Py_NewRef(method);
    self->operation.subject = Py_NewRef(subject);
    self->operation.inner = coroutine;
    self->records = Py_XNewRef(records);
    self->loop = Py_XNewRef(loop);
    return (PyObject *)self;
}

int
grpc_guard_begin_run(AioRun *self)
{
    PyObject *records = Py_XNewRef(grpc_guard_records_of_run(self)), *loop = self->loop;
    if (records == NULL || loop == NULL) {
        Py_XDECREF(records);
        return 0;
    }
    State *state = PyType_GetModuleState(Py_TYPE(self));
    self->loop = NULL;
    Py_CLEAR(self->records);
    int failed = grpc_guard_begin_flight(state, records, &self->flight, self->operation.subject, loop) < 0;
    Py_DECREF(records);
    Py_DECREF(loop);
    PyObject *subject = self->operation.subject;
    if (!failed && self->home == NULL && IS_STREAM(state, subject)) {
        ((StreamFields *)subject)->run = self; /* see again.c */
        self->is_told = 1;
    }
    return failed ? -1 : 0;
}

USUAL void
grpc_guard_end_run(AioRun *self)
{
    grpc_guard_end_flight(&self->flight);
    Py_CLEAR(self->records);
    Py_CLEAR(self->loop);
}
