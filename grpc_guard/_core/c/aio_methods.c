/* AioMethod: what stands in the class of a proxy for a function that is an operation. */

#include "aio.h"

PyObject *
grpc_guard_call_function(AioMethod *method, PyObject *const *args, size_t flags, PyObject *names)
{
    if (PyErr_Occurred()
        || (names == NULL && PyVectorcall_NARGS(flags) == method->count
            && grpc_guard_origins_are_tracked(method->state) < 0)) {
        return NULL;
    }
    return PyObject_Vectorcall(method->function, args, flags, names);
}

static PyObject *
method_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"function", "operation", "direction", "step", "count", "of_wrapped",
                            NULL};
    PyObject *function, *operation, *direction, *step, *of_wrapped = Py_None;
    Py_ssize_t count;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OUUOn|O:AioMethod", names, &function, &operation, &direction, &step,
            &count, &of_wrapped)) {
        return NULL;
    }
    if (count != 1 && count != 2) {
        PyErr_SetString(PyExc_ValueError, "an operation has one argument or none");
        return NULL;
    }
    State *state = PyType_GetModuleState(type);
    if (state->aio_direction == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure_aio() of the module comes first");
        return NULL;
    }
    AioMethod *self = (AioMethod *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = grpc_guard_operation_vectorcall;
    self->module = Py_NewRef(PyType_GetModule(type));
    self->state = state;
    self->function = Py_NewRef(function);
    self->operation = Py_NewRef(operation);
    self->direction = Py_NewRef(direction);
    self->step = Py_NewRef(step);
    self->of_wrapped = Py_NewRef(of_wrapped);
    self->count = count;
    PyUnicode_InternInPlace(&self->direction);
    if (PyUnicode_CheckExact(step)) {
        PyUnicode_InternInPlace(&self->step);
    }
    if (PyUnicode_CheckExact(of_wrapped)) {
        PyUnicode_InternInPlace(&self->of_wrapped);
    }
    return (PyObject *)self;
}

static PyObject *
method_get(PyObject *self, PyObject *proxy, PyObject *owner)
{
    return proxy == NULL || proxy == Py_None ? Py_NewRef(self) : PyMethod_New(self, proxy);
}

static PyObject *
method_getattr(AioMethod *self, PyObject *name)
{
    return PyObject_GetAttr(self->function, name);
}

static int
method_setattr(AioMethod *self, PyObject *name, PyObject *value)
{
    return PyObject_SetAttr(self->function, name, value);
}

static PyObject *
method_repr(AioMethod *self)
{
    return PyObject_Repr(self->function);
}

static int
method_traverse(AioMethod *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_METHOD(VISIT)
#undef VISIT
    return grpc_guard_visit_kept(&self->kept, visit, arg);
}

/* No tp_clear: the function goes on to answer for it. What is in a cycle with it, its class and its
 * function, can be cleared. */

static void
method_dealloc(AioMethod *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    grpc_guard_free_kept(&self->kept);
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_METHOD(CLEAR)
#undef CLEAR
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef method_members[] = {
    WEAK(AioMethod),
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(AioMethod, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot method_slots[] = {
    {Py_tp_doc, "A function that is an operation of the asyncio api, done in C where it can be."},
    {Py_tp_new, method_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, method_get},
    {Py_tp_getattro, method_getattr},
    {Py_tp_setattro, method_setattr},
    {Py_tp_repr, method_repr},
    {Py_tp_traverse, method_traverse},
    {Py_tp_dealloc, method_dealloc},
    {Py_tp_members, method_members},
    {0, NULL},
};

static PyType_Spec method_spec = {
    .name = "grpc_guard._core._compiled.AioMethod",
    .basicsize = sizeof(AioMethod),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = method_slots,
};

int
grpc_guard_add_aio_methods(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->aio_method, &method_spec, NULL);
}
