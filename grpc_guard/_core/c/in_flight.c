/* The handlers of a server that are in flight: the same as InFlight of entries.py, name by name. */

#include "entries.h"

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *by_task, *by_thread, *forget, *itself; /* forget: by_task.pop */
    Py_ssize_t size;
} InFlight;

#define EACH_OF_IN_FLIGHT(DO) DO(by_task) DO(by_thread) DO(forget) DO(itself)

static int
in_flight_init(InFlight *self, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t size;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "InFlight() takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "n:InFlight", &size)) {
        return -1;
    }
    PyObject *by_thread = PyDict_New();
    PyObject *by_task = by_thread == NULL ? NULL : PyDict_New();
    PyObject *forget = by_task == NULL ? NULL : PyObject_GetAttrString(by_task, "pop");
    PyObject *itself = forget == NULL ? NULL : PyWeakref_NewRef((PyObject *)self, NULL);
    if (itself == NULL) {
        Py_XDECREF(by_thread);
        Py_XDECREF(by_task);
        Py_XDECREF(forget);
        return -1;
    }
    SET(self->forget, forget);
    SET(self->by_thread, by_thread);
    SET(self->by_task, by_task);
    SET(self->itself, itself);
    self->size = size;
    return 0;
}

static int
in_flight_traverse(InFlight *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_IN_FLIGHT(VISIT)
#undef VISIT
    return 0;
}

static int
in_flight_clear(InFlight *self)
{
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_IN_FLIGHT(CLEAR)
#undef CLEAR
    return 0;
}

static void
in_flight_dealloc(InFlight *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    in_flight_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Returns the list of what grpcio's own context calls at the end of its RPC, None if that has
 * passed; NULL, without an error, if it is another kind of context or does not have the list. */
static PyObject *
callbacks_of(State *state, PyObject *context)
{
    PyObject *usual = PyDict_GetItemWithError(state->of_entries, state->str_server_context);
    if ((PyObject *)Py_TYPE(context) != usual) {
        return NULL;
    }
    PyObject *inner = PyObject_GetAttr(context, state->str_state);
    PyObject *callbacks = inner == NULL ? NULL : PyObject_GetAttr(inner, state->str_callbacks);
    Py_XDECREF(inner);
    if (callbacks == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return callbacks;
}

/* Has a context call `entry` when its RPC ends, or calls it now if it has; -1: an error is set. */
static int
follow(State *state, PyObject *context, PyObject *entry)
{
    PyObject *callbacks = callbacks_of(state, context), *told;
    if (callbacks != NULL && PyList_CheckExact(callbacks)) {
        int failed = PyList_Append(callbacks, entry);
        Py_DECREF(callbacks);
        return failed;
    }
    if (callbacks == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (callbacks == Py_None) {
        told = PyObject_CallNoArgs(entry);
        Py_DECREF(callbacks);
        Py_XDECREF(told);
        return told == NULL ? -1 : 0;
    }
    Py_XDECREF(callbacks);
    PyObject *add_callback = PyObject_GetAttr(context, state->str_add_callback);
    if (add_callback == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear(); /* an interceptor's own kind may lack it */
        return 0;
    }
    told = PyObject_CallOneArg(add_callback, entry);
    Py_DECREF(add_callback);
    if (told == Py_False) {
        Py_SETREF(told, PyObject_CallNoArgs(entry));
    }
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

/* Tells whether the records are there: __init__() has made them, and nobody has taken them away. */
static int
is_made(InFlight *self)
{
    if (self->by_task == NULL || self->by_thread == NULL || self->forget == NULL
        || self->itself == NULL || !PyDict_Check(self->by_task) || !PyDict_Check(self->by_thread)) {
        PyErr_SetString(PyExc_AttributeError, "the records of handlers are not there");
        return 0;
    }
    return 1;
}

/* Notes what the running thread begins to handle; returns its entry. */
static PyObject *
enter_thread(InFlight *self, PyTypeObject *cls, Maker make, PyObject *const *args,
             Py_ssize_t count, PyObject *names)
{
    if (count < 1 || count > 2 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "enter() takes a stream or an RPC, and a context");
        return NULL;
    }
    State *state = is_made(self) ? state_of(cls) : NULL;
    UnaryEntry *entry = /* or an Entry: they begin alike */
        state == NULL ? NULL : (UnaryEntry *)make(state, args[0]);
    if (entry == NULL) {
        return NULL;
    }
    entry->records = Py_NewRef(self->itself);
    entry->ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    int failed = entry->ident == NULL
                 || PyDict_SetItem(self->by_thread, entry->ident, (PyObject *)entry) < 0;
    if (!failed && count == 2 && args[1] != Py_None) {
        failed = follow(state, args[1], (PyObject *)entry) < 0;
    }
    if (!failed && 0 < self->size && self->size <= PyDict_GET_SIZE(self->by_thread)) {
        PyObject *nothing = PyObject_CallMethodNoArgs((PyObject *)self, state->str_watches);
        Py_XDECREF(nothing);
        failed = nothing == NULL;
    }
    if (failed) {
        if (make == grpc_guard_make_unary_entry) {
            entry->ended = 1; /* it is noted, and nobody handles it; the stream of an Entry dies */
        }
        Py_CLEAR(entry);
    }
    return (PyObject *)entry;
}

static PyObject *
in_flight_enter(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
                PyObject *names)
{
    PyObject *entry = enter_thread((InFlight *)self, cls, grpc_guard_make_entry, args, count, names);
    if (entry == NULL) {
        return NULL;
    }
    Py_DECREF(entry);
    Py_RETURN_NONE;
}

static PyObject *
in_flight_enter_unary(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
                      PyObject *names)
{
    return enter_thread((InFlight *)self, cls, grpc_guard_make_unary_entry, args, count, names);
}

int
grpc_guard_enter_task(State *state, PyObject *in_flight, Maker make, PyObject *what, PyObject *loop)
{
    InFlight *self = (InFlight *)in_flight;
    PyObject *task = is_made(self) ? PyObject_CallOneArg(state->current_task, loop) : NULL;
    if (task == NULL || task == Py_None) {
        Py_XDECREF(task);
        return task == NULL ? -1 : 0;
    }
    PyObject *entry = make(state, what);
    PyObject *reference = entry == NULL ? NULL : PyWeakref_NewRef(task, self->forget);
    int failed = reference == NULL || PyDict_SetItem(self->by_task, reference, entry) < 0;
    Py_XDECREF(reference);
    Py_XDECREF(entry);
    Py_DECREF(task);
    return failed ? -1 : 0;
}

static PyObject *
enter_by_task(PyObject *self, PyTypeObject *cls, Maker make, PyObject *const *args,
              Py_ssize_t count, PyObject *names)
{
    if (count != 2 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "enter_task() takes a stream or an RPC, and a loop");
        return NULL;
    }
    State *state = state_of(cls);
    if (state == NULL || grpc_guard_enter_task(state, self, make, args[0], args[1]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
in_flight_enter_task(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
                     PyObject *names)
{
    return enter_by_task(self, cls, grpc_guard_make_entry, args, count, names);
}

static PyObject *
in_flight_enter_unary_task(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                           Py_ssize_t count, PyObject *names)
{
    return enter_by_task(self, cls, grpc_guard_make_unary_entry, args, count, names);
}

static PyMemberDef in_flight_members[] = {
    WEAK(InFlight),
    OBJECT(InFlight, by_task, "_by_task"),
    OBJECT(InFlight, by_thread, "_by_thread"),
    OBJECT(InFlight, forget, "_forget"),
    OBJECT(InFlight, itself, "_itself"),
    {"_size", T_PYSSIZET, offsetof(InFlight, size), 0, NULL},
    {NULL},
};

#define QUICK (METH_METHOD | METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef in_flight_methods[] = {
    {"enter", (PyCFunction)(void (*)(void))in_flight_enter, QUICK, "See entries.py."},
    {"enter_unary", (PyCFunction)(void (*)(void))in_flight_enter_unary, QUICK, "See entries.py."},
    {"enter_task", (PyCFunction)(void (*)(void))in_flight_enter_task, QUICK, "See entries.py."},
    {"enter_unary_task", (PyCFunction)(void (*)(void))in_flight_enter_unary_task, QUICK,
     "See entries.py."},
    {NULL},
};

static PyType_Slot in_flight_slots[] = {
    {Py_tp_doc, "The handlers of one server that are in flight: see entries.py."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, in_flight_init},
    {Py_tp_traverse, in_flight_traverse},
    {Py_tp_clear, in_flight_clear},
    {Py_tp_dealloc, in_flight_dealloc},
    {Py_tp_members, in_flight_members},
    {Py_tp_methods, in_flight_methods},
    {0, NULL},
};

static PyType_Spec in_flight_spec = {
    .name = "grpc_guard._core._compiled.InFlight",
    .basicsize = sizeof(InFlight),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = in_flight_slots,
};

int
grpc_guard_add_in_flight(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->in_flight, &in_flight_spec, NULL);
}
