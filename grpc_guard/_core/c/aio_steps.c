/* What gRPC awaits for each message of a handler that yields: an async_generator_asend to everybody
 * who looks. What it does: aio_yields.c.
 */

#include "aio_generated.h"

USUAL PyObject *
grpc_guard_new_step(Generated *self, Act act, PyObject *given)
{
    State *state = self->state;
    Step *step = (Step *)grpc_guard_alloc(&state->kept_steps, state->aio_step);
    if (step != NULL) {
        step->progress = CREATED;
        step->counts = 0;
        step->generated = Py_NewRef(self);
        step->responses = Py_NewRef(self->responses);
        step->given = Py_XNewRef(given);
        step->act = act;
    }
    return (PyObject *)step;
}

static int
can_go_on(Step *self)
{
    if (self->progress == CLOSED || self->progress == RUNNING) {
        PyErr_SetString(PyExc_RuntimeError, self->act == NEXT || self->act == SEND
                                                ? "cannot reuse already awaited __anext__()/asend()"
                                                : "cannot reuse already awaited aclose()/athrow()");
        return 0;
    }
    return 1;
}

static USUAL PySendResult
step_am_send(PyObject *op, PyObject *value, PyObject **result)
{
    Step *self = (Step *)op;
    *result = NULL;
    if (!can_go_on(self)) {
        return PYGEN_ERROR;
    }
    State *state = ((Generated *)self->generated)->state;
    Py_INCREF(self);
    int is_first = self->progress == CREATED;
    self->progress = RUNNING;
    PySendResult status = PYGEN_ERROR;
    if (!is_first || grpc_guard_begin_step(state, self) == 0) {
        status = grpc_guard_send(self->inner, value, result);
    }
    if (USUALLY(status == PYGEN_NEXT)) {
        self->progress = SUSPENDED;
    }
    else if (!USUALLY(status == PYGEN_RETURN && self->act == NEXT && grpc_guard_is_yielded(state, self))) {
        status = grpc_guard_after_step(state, self, status, result);
    }
    Py_DECREF(self);
    return status;
}

/* Returns what a step has come to, as send() does. */
static PyObject *
as_sent(PySendResult status, PyObject *result)
{
    if (status == PYGEN_RETURN) {
        grpc_guard_set_result(result);
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
step_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = step_am_send(self, value, &result);
    return as_sent(status, result);
}

/* Returns the value of a StopIteration that is set, which goes. */
static PyObject *
value_of_stop(void)
{
    PyObject *stop = take_exception();
    PyObject *value = stop == NULL ? NULL : Py_XNewRef(((PyStopIterationObject *)stop)->value);
    Py_XDECREF(stop);
    return value == NULL ? Py_NewRef(Py_None) : value;
}

/* Takes what is driven to have ended, as tp_iternext does: with an exception, or none. */
static UNUSUAL PyObject *
after_iternext(State *state, Step *self)
{
    PySendResult status = PYGEN_RETURN;
    PyObject *result = NULL;
    if (!PyErr_Occurred()) {
        result = Py_NewRef(Py_None);
    }
    else if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        result = value_of_stop();
    }
    else {
        status = PYGEN_ERROR;
    }
    status = grpc_guard_after_step(state, self, status, &result);
    Py_DECREF(self);
    return as_sent(status, result);
}

/* Leaves the exception by which a generator yields as it is, where nobody need see the message. */
static USUAL PyObject *
step_iternext(PyObject *op)
{
    Step *self = (Step *)op;
    int is_first = self->progress == CREATED;
    if (!USUALLY((is_first || self->progress == SUSPENDED) && self->act == NEXT
                 && PyAsyncGen_CheckExact(self->responses))) {
        return step_send(op, Py_None);
    }
    State *state = ((Generated *)self->generated)->state;
    Py_INCREF(self);
    self->progress = RUNNING;
    if (is_first && grpc_guard_begin_step(state, self) < 0) {
        return after_iternext(state, self);
    }
    PyObject *result = Py_TYPE(self->inner)->tp_iternext(self->inner);
    if (result != NULL) { /* the handler waits */
        self->progress = SUSPENDED;
        Py_DECREF(self);
        return result;
    }
    if (PyErr_Occurred() == PyExc_StopIteration && grpc_guard_is_yielded(state, self)) {
        Py_DECREF(self);
        return NULL;
    }
    return after_iternext(state, self);
}

static PyObject *
step_throw(Step *self, PyObject *args)
{
    State *state = PyType_GetModuleState(Py_TYPE(self));
    if (!can_go_on(self)) {
        return NULL;
    }
    Py_INCREF(self);
    int is_first = self->progress == CREATED;
    self->progress = RUNNING;
    PyObject *result = NULL;
    if (!is_first || grpc_guard_begin_step(state, self) == 0) {
        PyObject *method = PyObject_GetAttr(self->inner, state->str_throw);
        result = method == NULL ? NULL : PyObject_Call(method, args, NULL);
        Py_XDECREF(method);
    }
    PySendResult status = result == NULL ? PYGEN_ERROR : PYGEN_NEXT;
    if (result == NULL && PyErr_ExceptionMatches(PyExc_StopIteration)) {
        result = value_of_stop();
        status = PYGEN_RETURN;
    }
    status = grpc_guard_after_step(state, self, status, &result);
    Py_DECREF(self);
    return as_sent(status, result);
}

/* Ends the step; the handler, if it waits, is where it was, as with a step of its own. */
static PyObject *
step_close(Step *self, PyObject *unused)
{
    PyObject *closed = Py_NewRef(Py_None);
    if (self->progress == SUSPENDED && self->inner != NULL) {
        State *state = PyType_GetModuleState(Py_TYPE(self));
        PyObject *inner = Py_NewRef(self->inner);
        Py_SETREF(closed, PyObject_CallMethodNoArgs(inner, state->str_close));
        Py_DECREF(inner);
    }
    self->progress = CLOSED;
    return closed;
}

static int
step_traverse(Step *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_STEP(VISIT)
#undef VISIT
    return 0;
}

static int
step_clear(Step *self)
{
    self->progress = CLOSED;
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_STEP(CLEAR)
    return 0;
}

static USUAL void
step_dealloc(Step *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (!USUALLY(self->weakrefs == NULL)) {
        PyObject_ClearWeakRefs((PyObject *)self);
        self->weakrefs = NULL;
    }
    Generated *generated = (Generated *)self->generated; /* which holds what the state is of */
    self->generated = NULL;
    self->progress = CLOSED;
    Py_CLEAR(self->responses);
    if (!USUALLY(self->inner == NULL && self->given == NULL)) {
        (void)step_clear(self);
    }
    if (USUALLY(generated != NULL)) {
        grpc_guard_keep(&generated->state->kept_steps, generated->state->aio_step, (PyObject *)self);
        Py_DECREF(generated);
    }
    else {
        type->tp_free(self);
        Py_DECREF(type);
    }
}

static PyMethodDef step_methods[] = {
    {"send", step_send, METH_O, NULL},
    {"throw", (PyCFunction)step_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)step_close, METH_NOARGS, NULL},
    {NULL},
};

static PyMemberDef step_members[] = {
    WEAK(Step),
    {NULL},
};

static PyType_Slot step_slots[] = {
    {Py_tp_methods, step_methods},
    {Py_tp_members, step_members},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, step_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, step_am_send},
    {Py_tp_traverse, step_traverse},
    {Py_tp_clear, step_clear},
    {Py_tp_dealloc, step_dealloc},
    {0, NULL},
};

static PyType_Spec step_spec = {
    .name = "grpc_guard._core._compiled.async_generator_asend",
    .basicsize = sizeof(Step),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = step_slots,
};

int
grpc_guard_add_aio_steps(PyObject *module, State *state)
{
    state->aio_step = grpc_guard_type_in_disguise(module, &step_spec);
    return state->aio_step == NULL ? -1 : 0;
}
