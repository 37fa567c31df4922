/* What a handler that yields has returned, for gRPC: no generator of its own, but that of the handler
 * to everybody who looks, whose own hooks tell the loop of it.
 */

#include "aio_generated.h"
#include "looks.h"

int
grpc_guard_runs_in_its_task(State *state, const Generated *self)
{
    PyObject *loop = ((StreamFields *)self->stream)->loop;
    if (self->task == NULL || loop == NULL || loop == Py_None) {
        return 0;
    }
    PyObject *now = grpc_guard_task_of(state, loop);
    PyObject *its = now == NULL ? NULL : grpc_guard_led_to(self->task);
    int is_its = its == NULL ? -1 : its != Py_None && its == now;
    Py_XDECREF(its);
    Py_XDECREF(now);
    return is_its;
}

USUAL PyObject *
grpc_guard_new_generated(State *state, PyObject *stream, PyObject *direction, PyObject *responses,
                         PyObject *records, PyObject *module)
{
    PyTypeObject *type = state->aio_generated;
    Generated *self = (Generated *)grpc_guard_alloc(&state->kept_generated, type);
    if (self != NULL) {
        self->stream = Py_NewRef(stream);
        self->direction = Py_NewRef(direction);
        self->responses = Py_NewRef(responses);
        self->records = Py_NewRef(records);
        self->state = state;
        self->module = Py_NewRef(module);
    }
    return (PyObject *)self;
}

static USUAL PyObject *
generated_anext(PyObject *self)
{
    return grpc_guard_new_step((Generated *)self, NEXT, NULL);
}

static PyObject *
generated_asend(Generated *self, PyObject *value)
{
    return grpc_guard_new_step(self, SEND, value);
}

static PyObject *
generated_athrow(Generated *self, PyObject *args)
{
    return grpc_guard_new_step(self, THROW, args);
}

static PyObject *
generated_aclose(Generated *self, PyObject *unused)
{
    return grpc_guard_new_step(self, CLOSE, NULL);
}

static PyObject *
generated_dir(Generated *self, PyObject *unused)
{
    return PyObject_Dir(self->responses);
}

static PyObject *
generated_class(Generated *self, void *unused)
{
    return Py_NewRef((PyObject *)&PyAsyncGen_Type);
}

/* What it does not do itself, the generator of the handler has: its name, its frame. */
static PyObject *
generated_getattro(PyObject *self, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(self, name);
    PyObject *responses = ((Generated *)self)->responses;
    if (found == NULL && responses != NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        found = PyObject_GetAttr(responses, name);
    }
    return found;
}

static int
generated_setattro(Generated *self, PyObject *name, PyObject *value)
{
    return PyObject_SetAttr(self->responses, name, value);
}

static PyObject *
generated_repr(Generated *self)
{
    State *state = PyType_GetModuleState(Py_TYPE(self));
    PyObject *name = PyObject_GetAttr(self->responses, state->str_qualname);
    if (name == NULL) {
        return NULL;
    }
    PyObject *text = PyUnicode_FromFormat("<async_generator object %S at %p>", name, self);
    Py_DECREF(name);
    return text;
}

static int
generated_traverse(Generated *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->flight.task);
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_GENERATED(VISIT)
#undef VISIT
    return 0;
}

/* No tp_clear: a step that somebody keeps still needs it. What is in a cycle with it, the generator of
 * the handler and the records, can be cleared. */

/* gRPC has dropped it: what the handler still does then, in its `finally`, is too late. */
static USUAL void
generated_dealloc(Generated *self)
{
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    if (((StreamFields *)self->stream)->generated == (PyObject *)self) {
        ((StreamFields *)self->stream)->generated = NULL;
    }
    grpc_guard_is_written(self);
    grpc_guard_handler_has_ended(self);
    grpc_guard_end_flight(&self->flight);
    PyObject *module = self->module; /* which the state is of, until its memory is kept */
    State *state = self->state;
    self->module = NULL;
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_GENERATED(CLEAR)
#undef CLEAR
    memset((PyObject *)self + 1, 0, sizeof(Generated) - sizeof(PyObject));
    grpc_guard_keep(&state->kept_generated, state->aio_generated, (PyObject *)self);
    Py_DECREF(module);
}

static PyMethodDef generated_methods[] = {
    {"asend", (PyCFunction)generated_asend, METH_O, NULL},
    {"athrow", (PyCFunction)generated_athrow, METH_VARARGS, NULL},
    {"aclose", (PyCFunction)generated_aclose, METH_NOARGS, NULL},
    {"__dir__", (PyCFunction)generated_dir, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef generated_properties[] = {
    {"__class__", (getter)generated_class, NULL, "types.AsyncGeneratorType, as type() does not say", NULL},
    {NULL},
};

static PyMemberDef generated_members[] = {
    WEAK(Generated),
    {NULL},
};

static PyType_Slot generated_slots[] = {
    {Py_tp_methods, generated_methods},
    {Py_tp_getset, generated_properties},
    {Py_tp_members, generated_members},
    {Py_tp_getattro, generated_getattro},
    {Py_tp_setattro, generated_setattro},
    {Py_tp_repr, generated_repr},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, generated_anext},
    {Py_tp_traverse, generated_traverse},
    {Py_tp_dealloc, generated_dealloc},
    {0, NULL},
};

static PyType_Spec generated_spec = {
    .name = "grpc_guard._core._compiled.async_generator",
    .basicsize = sizeof(Generated),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = generated_slots,
};

int
grpc_guard_add_aio_generators(PyObject *module, State *state)
{
    state->aio_generated = grpc_guard_type_in_disguise(module, &generated_spec);
    if (state->aio_generated == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "AioGenerated", (PyObject *)state->aio_generated);
}
