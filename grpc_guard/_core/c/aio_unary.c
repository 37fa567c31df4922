/* The handler of a unary RPC of asyncio, and its run: where all is as it was at the last RPC, with a look at few
 * lines of memory, as unary.c does it for the sync api.
 *
 * A handler keeps a run that has ended for its next RPC, with what that needs in it.
 */

#include "aio_handlers.h"
#include "callers.h"
#include "entries.h"

/* Notes whether what is usual can be: a mode that is one for good, and the loop known by the dict of the thread. */
static UNUSUAL PyObject *
handle(AioHandler *self, PyObject *const *args, size_t flagged, PyObject *names)
{
    State *state = self->state;
    self->is_usual = HAS_LOOP_IN_DICT && self->running_loop == state->loop_of_thread
                     && self->chosen != Py_None && self->chosen != state->starts.in_force
                     && self->chosen != self->off;
    return grpc_guard_handle((PyObject *)self, args, flagged, names);
}

USUAL PyObject *
grpc_guard_handle_aio_unary(AioHandler *self, PyObject *const *args, size_t flagged, PyObject *names)
{
    State *state = self->state;
    PyObject *plain = self->plain;
    if (!USUALLY(self->is_usual && PyVectorcall_NARGS(flagged) == self->first + 2 && names == NULL
                 && grpc_guard_is_here(state, state->here) && state->here != Py_None)) {
        return handle(self, args, flagged, names);
    }
    PyObject *loop = Py_NewRef(state->here), *made;
    if (USUALLY(Py_IS_TYPE(plain, &PyFunction_Type))) {
        made = ((PyFunctionObject *)plain)->vectorcall(plain, args, flagged, NULL);
    }
    else {
        made = PyObject_Vectorcall(plain, args, flagged, NULL);
    }
    made = grpc_guard_run_of_unary(self, made, loop);
    Py_DECREF(loop);
    return made;
}

/* Returns a run with this handler as its home, or without one where that cannot be; NULL: an error is set. */
static UNUSUAL AioRun *
new_run(AioHandler *self, PyObject *made, PyObject *loop)
{
    AioRun *run = (AioRun *)grpc_guard_new_run(self->state, (AioMethod *)self->method, self->rpc, made,
                                               self->handlers, loop);
    if (run != NULL && PyUnicode_CheckExact(self->rpc)) {
        Py_DECREF(run->operation.subject); /* borrowed from its home */
        Py_CLEAR(run->records);
        run->home = Py_NewRef(self);
    }
    return run;
}

PyObject *
grpc_guard_run_of_unary(AioHandler *self, PyObject *made, PyObject *loop)
{
    if (!USUALLY(made != NULL && PyCoro_CheckExact(made))) {
        if (made != NULL) {
            Py_SETREF(made, PyObject_CallOneArg(self->state->awaiting, made));
        }
        if (made == NULL) {
            return NULL;
        }
    }
    AioRun *run = (AioRun *)grpc_guard_take_kept(&self->kept);
    if (!USUALLY(run != NULL)) {
        return (PyObject *)new_run(self, made, loop);
    }
    run->operation.inner = made;
    run->operation.subject = self->rpc;
    run->loop = Py_NewRef(loop);
    run->home = Py_NewRef(self);
    PyObject_GC_Track(run);
    return (PyObject *)run;
}

/* The memory of a run that has ended */

USUAL int
grpc_guard_is_spared(AioRun *run)
{
    AioOperation *self = &run->operation;
    AioHandler *home = (AioHandler *)run->home;
    if (home == NULL) {
        return 0;
    }
    Py_CLEAR(self->inner);
    Py_CLEAR(self->name);
    Py_CLEAR(self->qualname);
    if (self->method != home->method || !grpc_guard_put_kept(&home->kept, (PyObject *)run)) {
        return 0;
    }
    self->weakrefs = NULL;
    self->progress = CREATED;
    run->home = NULL;
    Py_DECREF(home);
    return 1;
}

int
grpc_guard_visit_spared(AioHandler *self, visitproc visit, void *arg)
{
    for (PyObject *spare = self->kept.first; spare != NULL; spare = grpc_guard_next_kept(spare)) {
        Py_VISIT(((AioOperation *)spare)->method);
    }
    return grpc_guard_visit_kept(&self->kept, visit, arg);
}

void
grpc_guard_free_spared(AioHandler *self)
{
    for (PyObject *spare = self->kept.first; spare != NULL; spare = grpc_guard_next_kept(spare)) {
        Py_CLEAR(((AioOperation *)spare)->method);
    }
    grpc_guard_free_kept(&self->kept);
}

/* How it is driven */

/* Begins the flight of a run if all is as usual: 1, else 0. */
static inline int
begin_as_usual(AioRun *run)
{
    AioHandler *home = (AioHandler *)run->home;
    if (!USUALLY(home != NULL && run->operation.progress == CREATED && run->loop != NULL
                 && home->state->steps.has_native_clock && PyCoro_CheckExact(run->operation.inner))) {
        return 0;
    }
    InFlight *records = (InFlight *)home->handlers;
    PyObject *tasks = home->state->tasks_by_loop;
    if (!USUALLY(tasks != NULL && records->itself != NULL)) {
        return 0;
    }
    PyObject *task = PyDict_GetItemWithError(tasks, run->loop);
    if (!USUALLY(task != NULL && task != Py_None)) {
        PyErr_Clear(); /* it will be there again */
        return 0;
    }
    run->flight.since = grpc_guard_just_now();
    grpc_guard_join_flights(&records->flights, &run->flight, Py_NewRef(task), home->rpc);
    Py_CLEAR(run->loop);
    return 1;
}

USUAL PySendResult
grpc_guard_run_send(PyObject *object, PyObject *value, PyObject **result)
{
    AioRun *run = (AioRun *)object;
    AioOperation *self = &run->operation;
    if (!USUALLY(value == Py_None && begin_as_usual(run))) {
        return grpc_guard_operation_send(self, value, result);
    }
    Py_INCREF(self);
    self->progress = RUNNING;
    PySendResult status = grpc_guard_send(self->inner, value, result);
    if (!USUALLY(status == PYGEN_RETURN && run->home != NULL)) {
        return grpc_guard_operation_sent(self, status);
    }
    self->subject = NULL; /* its home has it */
    grpc_guard_end_flight(&run->flight);
    self->progress = CLOSED;
    Py_CLEAR(self->inner);
    Py_DECREF(self);
    return status;
}

USUAL PyObject *
grpc_guard_run_iternext(PyObject *run)
{
    PyObject *result;
    if (grpc_guard_run_send(run, Py_None, &result) == PYGEN_RETURN) {
        grpc_guard_set_result(result);
        Py_CLEAR(result);
    }
    return result;
}
