/* What is noted of a handler in flight: the same as Entry and UnaryEntry of entries.py, name by name. */

#include "entries.h"

PyObject *
grpc_guard_make_entry(State *state, PyObject *stream)
{
    PyObject *reference = PyWeakref_NewRef(stream, NULL);
    PyObject *since = reference == NULL ? NULL : PyObject_CallNoArgs(state->monotonic);
    Entry *self = since == NULL ? NULL : (Entry *)state->entry->tp_alloc(state->entry, 0);
    if (self == NULL) {
        Py_XDECREF(reference);
        Py_XDECREF(since);
        return NULL;
    }
    self->stream = reference;
    self->since = since;
    return (PyObject *)self;
}

PyObject *
grpc_guard_make_unary_entry(State *state, PyObject *rpc)
{
    PyObject *since = PyObject_CallNoArgs(state->monotonic);
    if (since == NULL) {
        return NULL;
    }
    UnaryEntry *self = (UnaryEntry *)state->unary_entry->tp_alloc(state->unary_entry, 0);
    if (self == NULL) {
        Py_DECREF(since);
        return NULL;
    }
    self->rpc = Py_NewRef(rpc);
    self->since = since;
    return (PyObject *)self;
}

static PyObject *
made_by(Maker make, PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) != 1 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_SetString(PyExc_TypeError, "an entry takes what it is for, by position");
        return NULL;
    }
    State *state = state_of(type);
    return state == NULL ? NULL : make(state, PyTuple_GET_ITEM(args, 0));
}

static PyObject *
entry_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return made_by(grpc_guard_make_entry, type, args, kwargs);
}

static PyObject *
unary_entry_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    return made_by(grpc_guard_make_unary_entry, type, args, kwargs);
}

static void
entry_dealloc(Entry *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->stream);
    Py_XDECREF(self->since);
    Py_XDECREF(self->records);
    Py_XDECREF(self->ident);
    type->tp_free(self);
    Py_DECREF(type);
}

static void
unary_entry_dealloc(UnaryEntry *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->rpc);
    Py_XDECREF(self->since);
    Py_XDECREF(self->records);
    Py_XDECREF(self->ident);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Has the records look at a handler that still runs. */
static PyObject *
still_runs(PyObject *self, PyObject *reference)
{
    if (reference == NULL) {
        PyErr_SetString(PyExc_AttributeError, "records");
        return NULL;
    }
    State *state = state_of(Py_TYPE(self));
    PyObject *records = state == NULL ? NULL : PyObject_CallNoArgs(reference);
    if (records == NULL || records == Py_None) {
        return records;
    }
    PyObject *nothing = PyObject_CallMethodOneArg(records, state->str_rpc_ended, self);
    Py_DECREF(records);
    return nothing;
}

static int
takes_nothing(PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_SetString(PyExc_TypeError, "an entry is called with no arguments");
        return 0;
    }
    return 1;
}

static PyObject *
entry_call(Entry *self, PyObject *args, PyObject *kwargs)
{
    State *state = state_of(Py_TYPE(self));
    PyObject *stream =
        state == NULL || !takes_nothing(args, kwargs) ? NULL : PyObject_CallNoArgs(self->stream);
    if (stream == NULL || stream == Py_None) {
        return stream;
    }
    PyObject *value = PyObject_GetAttr(stream, state->str_ended);
    int ended = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    Py_DECREF(stream);
    if (ended < 0) {
        return NULL;
    }
    return ended ? Py_NewRef(Py_None) : still_runs((PyObject *)self, self->records);
}

static PyObject *
unary_entry_call(UnaryEntry *self, PyObject *args, PyObject *kwargs)
{
    if (!takes_nothing(args, kwargs)) {
        return NULL;
    }
    if (self->ended) {
        Py_RETURN_NONE;
    }
    self->is_gone = 1;
    return still_runs((PyObject *)self, self->records);
}

static PyObject *
unary_entry_stream(PyObject *self, PyObject *unused)
{
    return Py_NewRef(self);
}

static PyObject *
unary_entry_is_over(UnaryEntry *self, PyObject *unused)
{
    return PyBool_FromLong(self->is_gone);
}

static PyObject *
unary_entry_write(PyObject *self, void *closure)
{
    Py_RETURN_NONE;
}

#define ENTRY_MEMBERS(type) \
    {"ident", T_OBJECT_EX, offsetof(type, ident), READONLY, NULL}, \
    {"records", T_OBJECT_EX, offsetof(type, records), READONLY, NULL}, \
    {"since", T_OBJECT_EX, offsetof(type, since), READONLY, NULL}

static PyMemberDef entry_members[] = {
    ENTRY_MEMBERS(Entry),
    {"stream", T_OBJECT_EX, offsetof(Entry, stream), READONLY, NULL},
    {NULL},
};

static PyMemberDef unary_entry_members[] = {
    {"ended", T_BOOL, offsetof(UnaryEntry, ended), 0, NULL},
    ENTRY_MEMBERS(UnaryEntry),
    {"is_gone", T_BOOL, offsetof(UnaryEntry, is_gone), 0, NULL},
    {"rpc", T_OBJECT_EX, offsetof(UnaryEntry, rpc), READONLY, NULL},
    {NULL},
};

static PyMethodDef unary_entry_methods[] = {
    {"stream", unary_entry_stream, METH_NOARGS, "Return the entry, which is the stream as well."},
    {"is_over", (PyCFunction)(void (*)(void))unary_entry_is_over, METH_NOARGS,
     "Tell whether the RPC is over."},
    {NULL},
};

static PyGetSetDef unary_entry_properties[] = {
    {"write", unary_entry_write, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot entry_slots[] = {
    {Py_tp_doc, "A streaming handler in flight: see entries.py."},
    {Py_tp_new, entry_new},
    {Py_tp_call, entry_call},
    {Py_tp_dealloc, entry_dealloc},
    {Py_tp_members, entry_members},
    {0, NULL},
};

static PyType_Slot unary_entry_slots[] = {
    {Py_tp_doc, "A unary handler in flight: see entries.py."},
    {Py_tp_new, unary_entry_new},
    {Py_tp_call, unary_entry_call},
    {Py_tp_dealloc, unary_entry_dealloc},
    {Py_tp_members, unary_entry_members},
    {Py_tp_methods, unary_entry_methods},
    {Py_tp_getset, unary_entry_properties},
    {0, NULL},
};

static PyType_Spec entry_spec = {
    .name = "grpc_guard._core._compiled.Entry",
    .basicsize = sizeof(Entry),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = entry_slots,
};

static PyType_Spec unary_entry_spec = {
    .name = "grpc_guard._core._compiled.UnaryEntry",
    .basicsize = sizeof(UnaryEntry),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = unary_entry_slots,
};

int
grpc_guard_add_entries(PyObject *module, State *state)
{
    if (grpc_guard_add_type(module, &state->entry, &entry_spec, NULL) < 0) {
        return -1;
    }
    return grpc_guard_add_type(module, &state->unary_entry, &unary_entry_spec, NULL);
}
