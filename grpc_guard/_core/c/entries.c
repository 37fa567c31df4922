/* What is noted of a handler in flight: the same as Entry and UnaryEntry of entries.py, name by name. */

#include "callers.h"
#include "entries.h"

USUAL int
grpc_guard_begin_entry(State *state, double *since)
{
    if (state->steps.has_native_clock) {
        *since = grpc_guard_just_now();
        return 0;
    }
    PyObject *now = PyObject_CallNoArgs(state->monotonic);
    *since = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    return now == NULL || (*since == -1.0 && PyErr_Occurred()) ? -1 : 0;
}

PyObject *
grpc_guard_make_entry(State *state, PyObject *stream)
{
    double since;
    PyObject *reference = PyWeakref_NewRef(stream, NULL);
    int failed = reference == NULL || grpc_guard_begin_entry(state, &since) < 0;
    Entry *self = failed ? NULL : (Entry *)state->entry->tp_alloc(state->entry, 0);
    if (self == NULL) {
        Py_XDECREF(reference);
        return NULL;
    }
    self->stream = reference;
    self->since = since;
    return (PyObject *)self;
}

USUAL int
grpc_guard_renew_entry(State *state, PyObject *before, PyObject *stream)
{
    Entry *known = (Entry *)before;
    if (!state->steps.has_native_clock || known == NULL || !Py_IS_TYPE(known, state->entry)
        || Py_REFCNT(known) > 2) {
        return 0;
    }
    PyObject *reference = PyWeakref_NewRef(stream, NULL);
    int is_renewed = reference == NULL ? -1 : Py_REFCNT(known) == 2; /* or others have run meanwhile */
    if (is_renewed > 0) {
        SET(known->stream, Py_NewRef(reference));
        known->since = grpc_guard_just_now();
    }
    Py_XDECREF(reference);
    return is_renewed;
}

PyObject *
grpc_guard_make_unary_entry(State *state, PyObject *rpc)
{
    double since;
    int failed = grpc_guard_begin_entry(state, &since) < 0;
    UnaryEntry *self = failed ? NULL : (UnaryEntry *)state->unary_entry->tp_alloc(state->unary_entry, 0);
    if (self != NULL) {
        self->rpc = Py_NewRef(rpc);
        self->since = since;
    }
    return (PyObject *)self;
}

USUAL int
grpc_guard_renew_unary_entry(State *state, PyObject *before, PyObject *rpc)
{
    UnaryEntry *known = (UnaryEntry *)before;
    if (!state->steps.has_native_clock || known == NULL || !Py_IS_TYPE(known, state->unary_entry)
        || !PyUnicode_CheckExact(known->rpc) || Py_REFCNT(known) > 2) {
        return 0;
    }
    if (known->rpc != rpc) {
        SET(known->rpc, Py_NewRef(rpc));
    }
    known->since = grpc_guard_moments_ago();
    known->ended = known->is_gone = 0;
    return 1;
}

static PyObject *
made_by(PyObject *(*make)(State *, PyObject *), PyTypeObject *type, PyObject *args, PyObject *kwargs)
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
    Py_XDECREF(self->records);
    type->tp_free(self);
    Py_DECREF(type);
}

static void
unary_entry_dealloc(UnaryEntry *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->rpc);
    Py_XDECREF(self->records);
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
    PyObject *value = NULL;
    if (IS_STREAM(state, stream)) {
        value = Py_XNewRef(((StreamFields *)stream)->ended);
        Py_CLEAR(((StreamFields *)stream)->followed); /* it has been, and may hold what the program gave it */
    }
    if (value == NULL) {
        value = PyObject_GetAttr(stream, state->str_ended);
    }
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

static PyObject *
entry_ident(PyObject *self, void *closure)
{
    if (((Entry *)self)->records == NULL) { /* or a UnaryEntry: they begin alike */
        PyErr_SetString(PyExc_AttributeError, "ident");
        return NULL;
    }
    return PyLong_FromUnsignedLong(((Entry *)self)->ident);
}

#define ENTRY_MEMBERS(type) \
    {"records", T_OBJECT_EX, offsetof(type, records), READONLY, NULL}, \
    {"since", T_DOUBLE, offsetof(type, since), READONLY, NULL}

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

static PyGetSetDef entry_properties[] = {
    {"ident", entry_ident, NULL, NULL, NULL},
    {NULL},
};

static PyGetSetDef unary_entry_properties[] = {
    {"ident", entry_ident, NULL, NULL, NULL},
    {"write", unary_entry_write, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot entry_slots[] = {
    {Py_tp_doc, "A streaming handler in flight: see entries.py."},
    {Py_tp_new, entry_new},
    {Py_tp_call, entry_call},
    {Py_tp_dealloc, entry_dealloc},
    {Py_tp_members, entry_members},
    {Py_tp_getset, entry_properties},
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
