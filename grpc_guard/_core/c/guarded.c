/* The guarded objects of a stream: the same as the classes of _proxies/sync make, with no frame. */

#include "callers.h"
#include "guarded.h"

/* Finds the one field of a proxy that has what it wraps; -1 if there is none, or more. */
static Py_ssize_t
find_wrapped(PyObject *proxy, PyObject *wrapped)
{
    Py_ssize_t found = -1;
    for (Py_ssize_t at = sizeof(PyObject); at < Py_TYPE(proxy)->tp_basicsize; at += sizeof(PyObject *)) {
        if (*(PyObject **)((char *)proxy + at) == wrapped) {
            if (found > 0) {
                return -1;
            }
            found = at;
        }
    }
    return found;
}

/* wrapt's own way to do so calls a method, which says that nothing is to do; by it is found out, once,
 * which field that fills. */
int
grpc_guard_wrap_in(State *state, PyObject *descriptor, PyObject *proxy, PyObject *wrapped)
{
    if (state->wrapped_at > 0) {
        PyObject **field = (PyObject **)((char *)proxy + state->wrapped_at);
        if (*field == NULL) {
            *field = Py_NewRef(wrapped);
            return 0;
        }
    }
    if (grpc_guard_set(descriptor, proxy, wrapped) < 0) {
        return -1;
    }
    if (state->wrapped_at == 0) {
        state->wrapped_at = find_wrapped(proxy, wrapped);
    }
    return 0;
}

PyObject *
grpc_guard_wrapped(State *state, PyObject *proxy)
{
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    for (int at = 0; version != 0 && at < SPOTS; at++) {
        PyObject *wrapped = NULL;
        if (state->of_wrapped.version[at] == version) {
            wrapped = *(PyObject **)((char *)proxy + state->of_wrapped.offset[at]);
        }
        if (wrapped != NULL) {
            return Py_NewRef(wrapped);
        }
    }
    PyObject *wrapped = PyObject_GetAttr(proxy, state->str_wrapped);
    if (wrapped == NULL || state->starts.wrapped == NULL
        || !PyObject_TypeCheck(proxy, PyDescr_TYPE(state->starts.wrapped))) {
        return wrapped;
    }
    if (state->wrapped_at == 0) {
        state->wrapped_at = find_wrapped(proxy, wrapped);
    }
    if (state->wrapped_at > 0) {
        Spots *spots = &state->of_wrapped;
        spots->version[spots->newest] = Py_TYPE(proxy)->tp_version_tag;
        spots->offset[spots->newest] = state->wrapped_at;
        spots->newest = (spots->newest + 1) % SPOTS;
    }
    return wrapped;
}

/* Returns the class of proxies for a type, borrowed, as long as nobody runs; NULL, without an error, if
 * there is none yet. */
static PyObject *
twin_of(State *state, PyObject *twins, PyTypeObject *plain)
{
    uint64_t version = grpc_guard_version_of(twins);
    for (int i = 0; version != 0 && i < TWINS; i++) {
        Numbered *known = &state->of_twins[i];
        if (known->version == version && known->number == (uintptr_t)plain) {
            return known->value;
        }
    }
    Numbered *known = &state->of_twins[state->newest_twin];
    state->newest_twin = (state->newest_twin + 1) % TWINS;
    return grpc_guard_look_up_number(known, twins, (uintptr_t)plain);
}

/* Fills a slot of a new proxy; `at` is where it is in all of them, or 0 as long as nobody has looked,
 * and -1 if it is no slot. */
static int
fill(PyObject *slot, Py_ssize_t *at, PyObject *proxy, PyObject *value)
{
    if (*at == 0) {
        PyMemberDef *member =
            Py_IS_TYPE(slot, &PyMemberDescr_Type) ? ((PyMemberDescrObject *)slot)->d_member : NULL;
        *at = member != NULL && member->type == T_OBJECT_EX ? member->offset : -1;
    }
    if (*at < 0) {
        return grpc_guard_set(slot, proxy, value);
    }
    SET(*(PyObject **)((char *)proxy + *at), Py_NewRef(value));
    return 0;
}

PyObject *
grpc_guard_make_proxy(State *state, PyObject *twins, PyObject *wrapped, PyObject *stream)
{
    Starts *starts = &state->starts;
    PyObject *twin = twin_of(state, twins, Py_TYPE(wrapped));
    PyObject *nothing = twin == NULL ? NULL : PyTuple_New(0);
    PyObject *proxy = NULL;
    if (nothing != NULL) {
        Py_INCREF(twin);
        proxy = ((PyTypeObject *)twin)->tp_new((PyTypeObject *)twin, nothing, NULL);
        Py_DECREF(twin);
        Py_DECREF(nothing);
    }
    if (proxy != NULL
        && (grpc_guard_wrap_in(state, starts->wrapped, proxy, wrapped) < 0
            || fill(starts->stream, &state->stream_at, proxy, stream) < 0)) {
        Py_CLEAR(proxy);
    }
    return proxy;
}

PyObject *
grpc_guard_make_iterator(State *state, PyObject *twins, PyObject *wrapped, PyObject *stream,
                         PyObject *type, int kind, PyObject **field)
{
    PyObject *proxy = grpc_guard_make_proxy(state, twins, wrapped, stream);
    if (proxy == NULL) {
        return NULL;
    }
    PyObject *direction =
        grpc_guard_make_direction(state, (PyTypeObject *)type, stream, wrapped);
    PyObject *advance =
        direction == NULL ? NULL : grpc_guard_make_operation(state, direction, kind);
    PyObject *reference =
        advance == NULL || field == NULL ? NULL : PyWeakref_NewRef(direction, NULL);
    int failed = advance == NULL || (field != NULL && reference == NULL)
                 || fill(state->starts.next, &state->next_at, proxy, advance) < 0;
    if (reference != NULL && !failed) {
        SET(*field, Py_NewRef(reference));
    }
    Py_XDECREF(reference);
    Py_XDECREF(advance);
    Py_XDECREF(direction);
    if (failed) {
        Py_CLEAR(proxy);
    }
    return proxy;
}

void
grpc_guard_end_stream(PyObject *stream)
{
    SET(((StreamFields *)stream)->ended, Py_NewRef(Py_True));
}

/* The methods that stand for functions */

PyObject *
grpc_guard_method_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    Method *self = (Method *)callable;
    return self->quick(self->state, self, args, PyVectorcall_NARGS(flagged), names);
}

PyObject *
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
static PyObject *
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
                self->state = PyType_GetModuleState(type);
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
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
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
