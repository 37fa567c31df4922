/* Which RPC a generator feeds, noted: the same as bind() of _guard/generators.py. */

#include "guarded.h"

/* What a weak reference to a generator calls: partial(feeds.pop, key) in Python. */
typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *module; /* that the state is of */
    State *state;
    void *key; /* the address of the generator */
} Forget;

static USUAL PyObject *
forget_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    Forget *self = (Forget *)callable;
    PyObject *feeds = Py_XNewRef(self->state->starts.feeds);
    PyObject *key = feeds == NULL ? NULL : PyLong_FromVoidPtr(self->key);
    if (key != NULL && PyDict_DelItem(feeds, key) < 0 && PyErr_ExceptionMatches(PyExc_KeyError)) {
        PyErr_Clear(); /* it was forgotten before */
    }
    Py_XDECREF(key);
    Py_XDECREF(feeds); /* NULL: the interpreter shuts down */
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *
new_forget(State *state, PyObject *generator)
{
    Forget *self = (Forget *)state->forget->tp_alloc(state->forget, 0);
    if (self != NULL) {
        self->vectorcall = forget_vectorcall;
        self->module = Py_NewRef(PyType_GetModule(state->forget));
        self->state = state;
        self->key = generator;
    }
    return (PyObject *)self;
}

static int
forget_traverse(Forget *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->module);
    return 0;
}

/* No tp_clear: what it holds can be cleared. */

static USUAL void
forget_dealloc(Forget *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->module);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef forget_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Forget, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot forget_slots[] = {
    {Py_tp_doc, "Forgets which stream a generator feeds."},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, forget_traverse},
    {Py_tp_dealloc, forget_dealloc},
    {Py_tp_members, forget_members},
    {0, NULL},
};

static PyType_Spec forget_spec = {
    .name = "grpc_guard._core._compiled.Forget",
    .basicsize = sizeof(Forget),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = forget_slots,
};

int
grpc_guard_add_feeds(PyObject *module, State *state)
{
    state->forget = (PyTypeObject *)PyType_FromModuleAndSpec(module, &forget_spec, NULL);
    return state->forget == NULL ? -1 : 0;
}

/* Returns what notes which stream a generator feeds, and forgets it with the generator. */
static PyObject *
feed_of(State *state, PyObject *generator, PyObject *key, PyObject *stream)
{
    PyObject *forget = new_forget(state, generator);
    PyObject *fed = forget == NULL ? NULL : PyWeakref_NewRef(generator, forget);
    PyObject *stream_held = fed == NULL ? NULL : PyWeakref_NewRef(stream, NULL);
    PyObject *feed = stream_held == NULL ? NULL : PyTuple_Pack(2, fed, stream_held);
    Py_XDECREF(forget);
    Py_XDECREF(fed);
    Py_XDECREF(stream_held);
    return feed;
}

USUAL int
grpc_guard_bind(State *state, PyObject *iterator, PyObject *stream, PyObject *operation)
{
    Starts *starts = &state->starts;
    if (!PyGen_CheckExact(iterator) && !PyAsyncGen_CheckExact(iterator)) {
        return 0;
    }
    PyObject *key = PyLong_FromVoidPtr(iterator);
    PyObject *feed = key == NULL ? NULL : feed_of(state, iterator, key, stream);
    PyObject *known = feed == NULL ? NULL : PyDict_SetDefault(starts->feeds, key, feed);
    int failed = known == NULL ? -1 : 0;
    if (known != NULL && known != feed) {
        PyObject *nothing =
            PyObject_CallFunctionObjArgs(starts->bind, iterator, stream, operation, NULL);
        failed = nothing == NULL ? -1 : 0;
        Py_XDECREF(nothing);
    }
    Py_XDECREF(key);
    Py_XDECREF(feed);
    return failed;
}
