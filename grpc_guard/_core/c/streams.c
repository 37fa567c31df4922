/* The record of a stream: the same as StreamFields of fields.py, name by name. */

#include "aio.h"

USUAL PyObject *
grpc_guard_make_stream(State *state, PyTypeObject *type, PyObject *rpc, PyObject *side,
                       PyObject *api, PyObject *mode, PyObject *loop)
{
    StreamFields *self = (StreamFields *)grpc_guard_new_of(KEPT_STREAMS, type, state->stream_fields);
    if (self != NULL && grpc_guard_fill_stream(state, self, rpc, side, api, mode, loop) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
stream_init(StreamFields *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"rpc", "side", "api", "mode", "loop", NULL};
    PyObject *rpc, *side, *api, *mode, *loop = Py_None;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOOO|O:Stream", names, &rpc, &side, &api, &mode, &loop)) {
        return -1;
    }
    State *state = state_of(Py_TYPE(self));
    self->copies = self->recalls = 0; /* it may be another stream from now on */
    if (state == NULL) {
        return -1;
    }
    grpc_guard_empty_stream(self);
    return grpc_guard_fill_stream(state, self, rpc, side, api, mode, loop);
}

static int
stream_traverse(StreamFields *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_STREAM(VISIT)
    VISIT(followed)
#undef VISIT
    return 0;
}

static int
stream_clear(StreamFields *self)
{
    grpc_guard_empty_stream(self);
    return 0;
}

static USUAL void
stream_dealloc(StreamFields *self)
{
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    stream_clear(self);
    grpc_guard_free_of(KEPT_STREAMS, (PyObject *)self, sizeof(StreamFields), (destructor)stream_dealloc);
}

static PyObject *
stream_track_call(StreamFields *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "track_call() takes a call and has_ended");
        return NULL;
    }
    return grpc_guard_track_call(self, args[0], args[1]) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
stream_track_context(StreamFields *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "track_context() takes a context and has_ended");
        return NULL;
    }
    SET(self->has_ended, Py_NewRef(args[1]));
    SET(self->context, Py_NewRef(args[0]));
    Py_RETURN_NONE;
}

/* Returns what a weak reference in a field leads to, or None; where it is True, what is `held` beside it. */
static PyObject *
referent(PyObject *reference, PyObject *held, const char *name)
{
    if (reference == NULL) {
        PyErr_SetString(PyExc_AttributeError, name);
        return NULL;
    }
    if (reference == Py_True) {
        return Py_NewRef(held == NULL || Py_REFCNT(held) == 0 ? Py_None : held);
    }
    if (reference == Py_None) {
        Py_RETURN_NONE;
    }
    Py_INCREF(reference);
    PyObject *object = PyObject_CallNoArgs(reference);
    Py_DECREF(reference);
    return object;
}

PyObject *
grpc_guard_reader(StreamFields *self, void *unused)
{
    return referent(self->read, self->reader, "_read");
}

PyObject *
grpc_guard_writer(StreamFields *self, void *unused)
{
    return referent(self->write, self->writer, "_write");
}

static int
set_reference(PyObject **field, PyObject *direction)
{
    if (direction == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a direction stays");
        return -1;
    }
    PyObject *reference = PyWeakref_NewRef(direction, NULL);
    if (reference == NULL) {
        return -1;
    }
    SET(*field, reference);
    return 0;
}

static int
stream_set_read(StreamFields *self, PyObject *direction, void *closure)
{
    return set_reference(&self->read, direction);
}

static int
stream_set_write(StreamFields *self, PyObject *direction, void *closure)
{
    return set_reference(&self->write, direction);
}

static PyMemberDef stream_members[] = {
    WEAK(StreamFields),
    OBJECT(StreamFields, call, "_call"),
    OBJECT(StreamFields, context, "_context"),
    OBJECT(StreamFields, has_ended, "_has_ended"),
    OBJECT(StreamFields, read, "_read"),
    OBJECT(StreamFields, write, "_write"),
    OBJECT(StreamFields, api, "api"),
    OBJECT(StreamFields, channel, "channel"),
    OBJECT(StreamFields, ended, "ended"),
    OBJECT(StreamFields, in_done_callback, "in_done_callback"),
    OBJECT(StreamFields, is_instrumented, "is_instrumented"),
    OBJECT(StreamFields, loop, "loop"),
    OBJECT(StreamFields, mode, "mode"),
    OBJECT(StreamFields, rpc, "rpc"),
    OBJECT(StreamFields, side, "side"),
    {NULL},
};

static PyMethodDef stream_methods[] = {
    {"is_over", (PyCFunction)(void (*)(void))grpc_guard_is_over, METH_NOARGS,
     "Tell whether the RPC has ended: what is still inside it is on its way out."},
    {"track_call", (PyCFunction)(void (*)(void))stream_track_call, METH_FASTCALL,
     "Learn from a call, held weakly, whether the RPC is over."},
    {"track_context", (PyCFunction)(void (*)(void))stream_track_context, METH_FASTCALL,
     "Learn it from a server's context."},
    {NULL},
};

static PyGetSetDef stream_properties[] = {
    {"handler", (getter)grpc_guard_get_handler, (setter)grpc_guard_set_handler, NULL, NULL},
    {"origin", (getter)grpc_guard_origin_of, (setter)grpc_guard_set_origin, NULL, NULL},
    {"read", (getter)grpc_guard_reader, (setter)stream_set_read, NULL, NULL},
    {"write", (getter)grpc_guard_writer, (setter)stream_set_write, NULL, NULL},
    {NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "What is known of one stream: see fields.py."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, stream_init},
    {Py_tp_traverse, stream_traverse},
    {Py_tp_clear, stream_clear},
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_members, stream_members},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_properties},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "grpc_guard._core._compiled.StreamFields",
    .basicsize = sizeof(StreamFields),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = stream_slots,
};

int
grpc_guard_add_streams(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->stream_fields, &stream_spec, NULL);
}
