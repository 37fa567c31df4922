/* What makes an AioOperation a coroutine to everybody who looks: its methods and attributes. */

#include "aio_handlers.h"

static PyObject *
coroutine_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = grpc_guard_operation_send((AioOperation *)self, value, &result);
    if (status == PYGEN_RETURN) {
        grpc_guard_set_result(result);
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
coroutine_iternext(PyObject *self)
{
    return coroutine_send(self, Py_None);
}

static USUAL PyObject *
coroutine_await(AioOperation *self)
{
    /* anext() with a default asks at each step; the plain step can be awaited again, too. */
    if (self->progress == SUSPENDED && ((AioMethod *)self->method)->step == Py_None) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef((PyObject *)self);
}

/* Has another run, awaited by a coroutine of Python's, drive what this one would: whoever drops what
 * iterates that coroutine leaves it, and this run, as they are. */
static int
hand_over_run(AioOperation *self)
{
    State *state = PyType_GetModuleState(Py_TYPE(self));
    AioRun *own = (AioRun *)self;
    PyObject *run = grpc_guard_new_run(state, (AioMethod *)self->method, self->subject,
                                       Py_NewRef(self->inner), grpc_guard_records_of_run(own), own->loop);
    PyObject *coroutine = run == NULL ? NULL : PyObject_CallOneArg(state->awaiting, run);
    Py_XDECREF(run);
    if (coroutine == NULL) {
        return -1;
    }
    SET(self->inner, coroutine);
    grpc_guard_end_run(own);
    grpc_guard_let_subject_go(self);
    return 0;
}

/* A call of __await__(), not what `await` does: its result can be iterated, as a coroutine's. Who
 * calls that goes on without this object, with the coroutine of the function. */
static PyObject *
coroutine_call_await(AioOperation *self, PyObject *unused)
{
    if (self->progress == CREATED && self->inner == NULL && grpc_guard_hand_over(self) < 0) {
        return NULL;
    }
    if (self->subject != NULL && self->progress == CREATED && hand_over_run(self) < 0) {
        return NULL;
    }
    if (self->owns || self->inner == NULL) {
        PyErr_SetString(PyExc_RuntimeError, self->owns ? "coroutine is being awaited already"
                                                       : "cannot reuse already awaited coroutine");
        return NULL;
    }
    State *state = PyType_GetModuleState(Py_TYPE(self));
    return PyObject_CallMethodNoArgs(self->inner, state->str_await);
}

static PyObject *
coroutine_close(AioOperation *self, PyObject *unused)
{
    if (grpc_guard_operation_close(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"send", coroutine_send, METH_O, "send(arg) -> send 'arg' into coroutine,\n"
     "return next iterated value or raise StopIteration."},
    {"throw", (PyCFunction)grpc_guard_operation_throw, METH_VARARGS,
     "throw(value)\nthrow(type[,value[,traceback]])\n\nRaise exception in coroutine, return next "
     "iterated value or raise\nStopIteration."},
    {"__await__", (PyCFunction)coroutine_call_await, METH_NOARGS | METH_COEXIST,
     "Return an iterator to be used in await expression."},
    {"close", (PyCFunction)coroutine_close, METH_NOARGS, "close() -> raise GeneratorExit inside coroutine."},
    {NULL},
};

static PyObject *
coroutine_repr(AioOperation *self)
{
    PyObject *name = grpc_guard_operation_qualname(self, NULL);
    if (name == NULL) {
        return NULL;
    }
    PyObject *text = PyUnicode_FromFormat("<coroutine object %S at %p>", name, self);
    Py_DECREF(name);
    return text;
}

static int
coroutine_traverse(AioOperation *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_OPERATION(VISIT)
#undef VISIT
    return 0;
}

/* Of what was finalized: it owns nothing. The method answers for its names. */
static int
coroutine_clear(AioOperation *self)
{
    Py_CLEAR(self->inner);
    Py_CLEAR(self->argument);
    Py_CLEAR(self->proxy);
    Py_CLEAR(self->direction);
    if (self->subject != NULL) {
        grpc_guard_let_subject_go(self);
    }
    return 0;
}

/* Keeps the memory of a run, or frees it. */
static void
keep(AioOperation *self)
{
    PyTypeObject *type = Py_TYPE(self);
    State *state = grpc_guard_state_left(type);
    if (state == NULL) {
        type->tp_free(self);
        Py_DECREF(type);
    }
    else {
        self->weakrefs = NULL;
        self->progress = CREATED;
        grpc_guard_keep(&state->kept_runs, state->aio_run, (PyObject *)self);
    }
}

static USUAL void
run_dealloc(AioRun *self)
{
    AioOperation *operation = &self->operation;
    if (!USUALLY(operation->progress == CLOSED) && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return; /* somebody has it again */
    }
    PyObject_GC_UnTrack(self);
    if (!USUALLY(operation->weakrefs == NULL)) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    grpc_guard_end_run(self);
    grpc_guard_let_subject_go(operation);
    if (grpc_guard_is_spared(self)) {
        return;
    }
    Py_CLEAR(self->home);
#define CLEAR(name) Py_CLEAR(operation->name);
    EACH_OF_OPERATION(CLEAR)
#undef CLEAR
    keep(operation);
}

static int
run_clear(AioRun *self)
{
    grpc_guard_end_run(self);
    (void)coroutine_clear(&self->operation);
    Py_CLEAR(self->home);
    return 0;
}

static int
run_traverse(AioRun *self, visitproc visit, void *arg)
{
    Py_VISIT(self->flight.running);
    Py_VISIT(self->flight.task);
    Py_VISIT(self->records);
    Py_VISIT(self->loop);
    Py_VISIT(self->home);
    return coroutine_traverse(&self->operation, visit, arg);
}

static PyMemberDef members[] = {
    WEAK(AioOperation),
    {NULL},
};

#define SLOTS \
    {Py_tp_methods, methods}, {Py_tp_getset, grpc_guard_operation_properties}, \
        {Py_tp_members, members}, {Py_tp_repr, coroutine_repr}, \
        {Py_am_await, coroutine_await}, {Py_tp_finalize, grpc_guard_operation_finalize}

static PyType_Slot slots[] = {
    SLOTS,
    {Py_tp_iternext, coroutine_iternext},
    {Py_am_send, (sendfunc)grpc_guard_operation_send},
    {Py_tp_dealloc, grpc_guard_operation_dealloc},
    {Py_tp_traverse, coroutine_traverse},
    {Py_tp_clear, coroutine_clear},
    {0, NULL},
};

static PyType_Slot run_slots[] = {
    SLOTS,
    {Py_tp_iternext, grpc_guard_run_iternext},
    {Py_am_send, grpc_guard_run_send},
    {Py_tp_dealloc, run_dealloc},
    {Py_tp_traverse, run_traverse},
    {Py_tp_clear, run_clear},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "grpc_guard._core._compiled.coroutine", /* as type(x).__name__ and errors have it */
    .basicsize = sizeof(AioOperation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

/* The same, of another type: for those who follow awaits, it is no operation. */
static PyType_Spec run_spec = {
    .name = "grpc_guard._core._compiled.coroutine",
    .basicsize = sizeof(AioRun),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = run_slots,
};

int
grpc_guard_add_aio_operations(PyObject *module, State *state)
{
    state->aio_run = grpc_guard_type_in_disguise(module, &run_spec);
    if (state->aio_run == NULL
        || PyObject_SetAttrString(module, "AioRun", (PyObject *)state->aio_run) < 0) {
        return -1;
    }
    state->aio_operation = grpc_guard_type_in_disguise(module, &spec);
    if (state->aio_operation == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "AioOperation", (PyObject *)state->aio_operation);
}
