/* What makes sync operations, and their type: as functions they are to be seen, weakly too. */

#include "core.h"

static const struct {
    const char *operation, *maker;
} kinds[KINDS] = {
    [READING] = {"next", "reading_responses"},
    [METADATA] = {"initial_metadata", "reading_responses_or_metadata"},
    [REQUESTS] = {"next", "reading_requests"},
    [TAKING_REQUESTS] = {"next(request_iterator)", "taking_requests"},
    [TAKING_RESPONSES] = {"next(response_iterator)", "taking_responses"},
    [SENDING] = {"send_response", "sending_responses"},
};

static PyObject *
make(PyObject *module, PyObject *direction, int kind, PyObject *call)
{
    State *state = PyModule_GetState(module);
    if (state->steps.namespace == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure_steps() of the module comes first");
        return NULL;
    }
    if (!PyObject_TypeCheck(direction, state->sync_fields)) {
        PyErr_Format(PyExc_TypeError, "%s() takes a direction", kinds[kind].maker);
        return NULL;
    }
    SyncOperation *self = PyObject_GC_New(SyncOperation, state->steps.type);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = grpc_guard_operate;
    self->weakrefs = self->dict = self->self = NULL;
    self->direction = (SyncFields *)Py_NewRef(direction);
    self->call = Py_XNewRef(call);
    self->kind = kind;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

#define MAKER(name, kind) \
    static PyObject *name(PyObject *module, PyObject *direction) \
    { \
        return make(module, direction, kind, NULL); \
    }
MAKER(reading_responses, READING)
MAKER(reading_requests, REQUESTS)
MAKER(taking_requests, TAKING_REQUESTS)
MAKER(taking_responses, TAKING_RESPONSES)
MAKER(sending_responses, SENDING)

static PyObject *
reading_responses_or_metadata(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "reading_responses_or_metadata() takes 2 arguments");
        return NULL;
    }
    PyObject *advance = make(module, args[0], READING, NULL);
    PyObject *metadata = advance == NULL ? NULL : make(module, args[0], METADATA, args[1]);
    PyObject *both = metadata == NULL ? NULL : PyTuple_Pack(2, advance, metadata);
    Py_XDECREF(advance);
    Py_XDECREF(metadata);
    return both;
}

static PyObject *
direction_of(PyObject *module, PyObject *advance)
{
    State *state = PyModule_GetState(module);
    if (Py_TYPE(advance) != state->steps.type || ((SyncOperation *)advance)->direction == NULL) {
        PyErr_SetString(PyExc_AttributeError, "direction");
        return NULL;
    }
    return Py_NewRef((PyObject *)((SyncOperation *)advance)->direction);
}

static PyObject *
operations_in_progress(PyObject *module, PyObject *unused)
{
    State *state = PyModule_GetState(module);
    PyObject *found = PyList_New(0); /* a collection, if any, comes now: the rest is not tracked */
    Links *head = &state->steps.in_progress, *one = head;
    while (found != NULL && (one = one->next) != head) {
        PyObject *direction = (PyObject *)((char *)one - offsetof(SyncFields, links));
        if (PyList_Append(found, direction) < 0) {
            Py_CLEAR(found);
        }
    }
    return found;
}

static PyObject *
configure_steps(PyObject *module, PyObject *namespace)
{
    State *state = PyModule_GetState(module);
    PyObject *get_ident = NULL;
    if (PyDict_Check(namespace)) {
        get_ident = PyDict_GetItemWithError(namespace, state->steps.str_get_ident);
    }
    if (get_ident == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "configure_steps() takes the names of advances.py");
        }
        return NULL;
    }
    Py_INCREF(get_ident);
    PyObject *ident = PyObject_CallNoArgs(get_ident); /* gevent may have replaced it */
    if (ident == NULL) {
        Py_DECREF(get_ident);
        return NULL;
    }
    state->steps.has_native_ident = PyCFunction_CheckExact(get_ident) && PyLong_Check(ident)
        && PyLong_AsUnsignedLongMask(ident) == PyThread_get_thread_ident();
    Py_DECREF(ident);
    Py_DECREF(get_ident);
    SET(state->steps.namespace, Py_NewRef(namespace));
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"configure_steps", configure_steps, METH_O,
     "Take the namespace that has the clock, and what is done where a claim fails."},
    {"direction_of", direction_of, METH_O, NULL},
    {"operations_in_progress", operations_in_progress, METH_NOARGS,
     "Return the directions that an operation of this module owns."},
    {"reading_responses", reading_responses, METH_O, NULL},
    {"reading_responses_or_metadata", (PyCFunction)(void (*)(void))reading_responses_or_metadata,
     METH_FASTCALL, NULL},
    {"reading_requests", reading_requests, METH_O, NULL},
    {"taking_requests", taking_requests, METH_O, NULL},
    {"taking_responses", taking_responses, METH_O, NULL},
    {"sending_responses", sending_responses, METH_O, NULL},
    {NULL},
};

/* The type */

static int
operation_traverse(SyncOperation *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->dict);
    Py_VISIT(self->direction);
    Py_VISIT(self->self);
    Py_VISIT(self->call);
    return 0;
}

static int
operation_clear(SyncOperation *self)
{
    Py_CLEAR(self->dict);
    Py_CLEAR(self->direction);
    Py_CLEAR(self->self);
    Py_CLEAR(self->call);
    return 0;
}

static void
operation_dealloc(SyncOperation *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    operation_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
get_name(SyncOperation *self, void *is_qualified)
{
    const char *within = self->kind == SENDING ? "sending_responses" : "_claiming.<locals>.claiming";
    return is_qualified ? PyUnicode_FromFormat("%s.<locals>.advance", within)
                        : PyUnicode_FromString("advance");
}

static PyObject *
get_signature(SyncOperation *self, void *closure)
{
    Steps *steps = &((State *)PyType_GetModuleState(Py_TYPE(self)))->steps;
    PyObject *function = NULL;
    if (steps->namespace != NULL) { /* else the interpreter is shutting down */
        function = PyDict_GetItemWithError(steps->namespace, steps->str_signature_of);
    }
    if (function == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_AttributeError, "__signature__");
        }
        return NULL;
    }
    Py_INCREF(function);
    PyObject *signature = PyObject_CallFunctionObjArgs(
        function, self->kind == SENDING ? steps->str_response : NULL, NULL);
    Py_DECREF(function);
    return signature;
}

static PyObject *
same(PyObject *self, PyObject *unused)
{
    return Py_NewRef(self);
}

static PyMemberDef operation_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(SyncOperation, vectorcall), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(SyncOperation, dict), READONLY, NULL},
    WEAK(SyncOperation),
    {"direction", T_OBJECT_EX, offsetof(SyncOperation, direction), READONLY, NULL},
    OBJECT(SyncOperation, self, "__self__"),
    {NULL},
};

static PyGetSetDef operation_properties[] = {
    {"__name__", (getter)get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)get_name, NULL, NULL, "qualified"},
    {"__signature__", (getter)get_signature, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL},
};

static PyMethodDef operation_methods[] = {
    {"__copy__", same, METH_NOARGS, NULL},
    {"__deepcopy__", same, METH_O, NULL},
    {NULL},
};

static PyType_Slot operation_slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, operation_traverse},
    {Py_tp_clear, operation_clear},
    {Py_tp_dealloc, operation_dealloc},
    {Py_tp_members, operation_members},
    {Py_tp_getset, operation_properties},
    {Py_tp_methods, operation_methods},
    {0, NULL},
};

static PyType_Spec operation_spec = {
    .name = "grpc_guard._core._compiled.SyncOperation",
    .basicsize = sizeof(SyncOperation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
        | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = operation_slots,
};

#define EACH_NAME(DO) \
    DO(monotonic) DO(get_ident) DO(contended) DO(used_after_end) DO(initial_metadata) DO(response) DO(ended) \
    DO(signature_of)

int
grpc_guard_add_steps(PyObject *module, State *state)
{
    Steps *steps = &state->steps;
    steps->in_progress = (Links){&steps->in_progress, &steps->in_progress};
#define INTERN(name) \
    if ((steps->str_##name = PyUnicode_InternFromString(#name)) == NULL) { \
        return -1; \
    }
    EACH_NAME(INTERN)
#undef INTERN
    if ((steps->str_next = PyUnicode_InternFromString("__next__")) == NULL) {
        return -1;
    }
    for (int kind = 0; kind < KINDS; kind++) {
        steps->operations[kind] = PyUnicode_InternFromString(kinds[kind].operation);
        if (steps->operations[kind] == NULL) {
            return -1;
        }
    }
    if (grpc_guard_add_type(module, &steps->type, &operation_spec, NULL) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, module_methods);
}

int
grpc_guard_steps_traverse(Steps *steps, visitproc visit, void *arg)
{
    Py_VISIT(steps->type);
    Py_VISIT(steps->namespace);
    return 0;
}

void
grpc_guard_steps_clear(Steps *steps)
{
#define CLEAR(name) Py_CLEAR(steps->str_##name);
    EACH_NAME(CLEAR)
#undef CLEAR
    Py_CLEAR(steps->str_next);
    for (int kind = 0; kind < KINDS; kind++) {
        Py_CLEAR(steps->operations[kind]);
    }
    Py_CLEAR(steps->type);
    Py_CLEAR(steps->namespace);
}
