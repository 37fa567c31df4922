/* Methods of proxies and functions in C, each of which stands for one in Python. */

#include "guarded.h"

USUAL PyObject *
grpc_guard_method_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    Method *self = (Method *)callable;
    return self->quick(self->state, self, args, PyVectorcall_NARGS(flagged), names);
}

USUAL PyObject *
grpc_guard_call_method(PyObject *method, PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    Method *self = (Method *)method;
    if (self->start != NULL) {
        return self->start(self->state, self, proxy, args, kwargs);
    }
    Py_ssize_t count = PyTuple_GET_SIZE(args) + 1;
    if (count > FEW || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        return grpc_guard_call_with(method, proxy, args, kwargs);
    }
    PyObject *few[FEW] = {proxy};
    for (Py_ssize_t i = 1; i < count; i++) {
        few[i] = PyTuple_GET_ITEM(args, i - 1);
    }
    return self->quick(self->state, self, few, count, NULL);
}

PyObject *
grpc_guard_call_with(PyObject *function, PyObject *first, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(args) + 1;
    PyObject **all = PyMem_New(PyObject *, (size_t)count);
    if (all == NULL) {
        return PyErr_NoMemory();
    }
    all[0] = first;
    for (Py_ssize_t i = 1; i < count; i++) {
        all[i] = PyTuple_GET_ITEM(args, i - 1);
    }
    PyObject *result = PyObject_VectorcallDict(function, all, (size_t)count, kwargs);
    PyMem_Free(all);
    return result;
}

/* Does more where the interpreter calls the object itself: see grpc_guard_call_method(). */
static PyObject *
in_python(State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return IN_PYTHON(method, args, count, names);
}

/* __iter__ of NextProxy: the proxy itself. Its __next__ has what merge() takes from it in any case. */
static USUAL PyObject *
itself(State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (count == 1 && names == NULL && state->starts.next != NULL) {
        descrgetfunc get = Py_TYPE(state->starts.next)->tp_descr_get;
        PyObject *advance = get(state->starts.next, args[0], (PyObject *)Py_TYPE(args[0]));
        int is_ours = advance != NULL && Py_IS_TYPE(advance, state->steps.type);
        Py_XDECREF(advance);
        if (is_ours) {
            return Py_NewRef(args[0]);
        }
        PyErr_Clear();
    }
    return IN_PYTHON(method, args, count, names);
}

static PyObject *
method_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const struct {
        const char *name;
        Quick quick;
        Start start;
    } known[] = {
        {"itself", itself, NULL},
        {"service", grpc_guard_service, NULL},
        {"call_unary_stream", grpc_guard_call_unary_stream, NULL},
        {"call_stream_stream", grpc_guard_call_stream_stream, NULL},
        {"start_unary_stream", grpc_guard_start_unary_stream, NULL},
        {"start_stream_stream", grpc_guard_start_stream_stream, NULL},
        {"start_aio_unary_stream", in_python, grpc_guard_start_aio_unary_stream},
        {"start_aio_stream_unary", in_python, grpc_guard_start_aio_stream_unary},
        {"start_aio_stream_stream", in_python, grpc_guard_start_aio_stream_stream},
        {"begin_aio_unary_stream", grpc_guard_begin_aio_unary_stream, NULL},
        {"begin_aio_stream_unary", grpc_guard_begin_aio_stream_unary, NULL},
        {"begin_aio_stream_stream", grpc_guard_begin_aio_stream_stream, NULL},
        {"iterate_call", grpc_guard_iterate_call, NULL},
        {"iterate_requests", grpc_guard_iterate_requests, NULL},
    };
    PyObject *function;
    const char *name;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Method() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "Os:Method", &function, &name)) {
        return NULL;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(known); i++) {
        if (strcmp(known[i].name, name) == 0) {
            Method *self = (Method *)type->tp_alloc(type, 0);
            if (self != NULL) {
                self->vectorcall = grpc_guard_method_vectorcall;
                self->module = Py_NewRef(PyType_GetModule(type));
                self->state = PyModule_GetState(self->module);
                self->function = Py_NewRef(function);
                self->quick = known[i].quick;
                self->start = known[i].start;
            }
            return (PyObject *)self;
        }
    }
    PyErr_Format(PyExc_ValueError, "no method is called %s", name);
    return NULL;
}

static int
method_traverse(Method *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->module);
    return 0;
}

/* No tp_clear: see aio_methods.c. */

static void
method_dealloc(Method *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    Py_CLEAR(self->function);
    Py_CLEAR(self->module);
    type->tp_free(self);
    Py_DECREF(type);
}

static USUAL PyObject *
method_get(PyObject *self, PyObject *proxy, PyObject *owner)
{
    return proxy == NULL || proxy == Py_None ? Py_NewRef(self) : PyMethod_New(self, proxy);
}

static PyObject *
method_getattr(Method *self, PyObject *name)
{
    if (PyUnicode_CompareWithASCIIString(name, "__wrapped__") == 0) {
        return Py_NewRef(self->function);
    }
    return PyObject_GetAttr(self->function, name);
}

static PyObject *
method_repr(Method *self)
{
    return PyObject_Repr(self->function);
}

static PyMemberDef method_members[] = {
    WEAK(Method),
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Method, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot method_slots[] = {
    {Py_tp_doc, "A method of a proxy, done in C where all is as usual."},
    {Py_tp_new, method_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, method_get},
    {Py_tp_getattro, method_getattr},
    {Py_tp_repr, method_repr},
    {Py_tp_traverse, method_traverse},
    {Py_tp_dealloc, method_dealloc},
    {Py_tp_members, method_members},
    {0, NULL},
};

static PyType_Spec method_spec = {
    .name = "grpc_guard._core._compiled.Method",
    .basicsize = sizeof(Method),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = method_slots,
};

int
grpc_guard_add_guarded(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->method, &method_spec, NULL);
}
