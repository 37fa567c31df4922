/* The handlers of a server that are in flight: the same as InFlight of entries.py, name by name. */

#include "entries.h"
#include "flights.h"

static void
forget(InFlight *self)
{
    self->busy = 0;
    grpc_guard_forget_threads(&self->by_thread);
    grpc_guard_forget_flights(&self->flights);
}

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
    PyObject *itself = PyWeakref_NewRef((PyObject *)self, NULL);
    if (itself == NULL) {
        return -1;
    }
    SET(self->itself, itself);
    forget(self);
    self->size = size;
    return 0;
}

static int
in_flight_traverse(InFlight *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->itself);
    return 0;
}

static int
in_flight_clear(InFlight *self)
{
    Py_CLEAR(self->itself);
    forget(self);
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

/* Tells whether the records are there: __init__() has made them, and nobody has taken them away. */
static int
is_made(InFlight *self)
{
    if (self->itself == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the records of handlers are not there");
        return 0;
    }
    return 1;
}

/* Counts an entry among those that are busy, or no longer; it may be NULL. */
static inline void
set_counted(InFlight *self, Entry *entry, int is_counted)
{
    if (entry != NULL && entry->is_counted != is_counted) {
        entry->is_counted = (char)is_counted;
        self->busy += is_counted ? 1 : -1;
    }
}

/* Makes the entry of a thread, and puts it into its place. */
static PyObject *
new_entry(State *state, InFlight *self, PyObject *what, int is_unary, unsigned long ident)
{
    PyObject *made = is_unary ? grpc_guard_make_unary_entry(state, what) : grpc_guard_make_entry(state, what);
    if (made == NULL || grpc_guard_make_room(&self->by_thread) < 0) {
        Py_XDECREF(made);
        return NULL;
    }
    Entry *entry = (Entry *)made; /* or a UnaryEntry: they begin alike */
    entry->ident = ident;
    entry->records = Py_NewRef(self->itself);
    Slot *slot = grpc_guard_slot_of(&self->by_thread, ident);
    PyObject *before = slot->entry;
    self->by_thread.count += before == NULL;
    set_counted(self, (Entry *)before, 0);
    *slot = (Slot){ident, Py_NewRef(made)};
    Py_XDECREF(before);
    return made;
}

/* Notes what the running thread begins to handle, a stream or a unary RPC; returns its entry. */
static USUAL PyObject *
enter_thread(State *state, InFlight *self, PyObject *what, int is_unary, PyObject *context,
             PyObject **followed)
{
    *followed = NULL;
    if (!is_made(self)) {
        return NULL;
    }
    unsigned long long its;
    if (grpc_guard_this_ident(&state->steps, &its) < 0) {
        return NULL;
    }
    unsigned long ident = (unsigned long)its;
    PyObject *made = NULL;
    self->has_native_clock = state->steps.has_native_clock;
    if (self->by_thread.slots != NULL) {
        made = Py_XNewRef(grpc_guard_slot_of(&self->by_thread, ident)->entry);
    }
    int is_renewed = (is_unary ? grpc_guard_renew_unary_entry : grpc_guard_renew_entry)(state, made, what);
    if (is_renewed == 0) {
        Py_XDECREF(made);
        made = new_entry(state, self, what, is_unary, ident);
    }
    else if (is_renewed < 0) {
        Py_CLEAR(made);
    }
    if (made == NULL) {
        return NULL;
    }
    set_counted(self, (Entry *)made, 1);
    int failed = context != Py_None && grpc_guard_follow(state, &self->usual, context, made, followed) < 0;
    if (failed || grpc_guard_watch_if_full(state, self) < 0) {
        if (is_unary) {
            ((UnaryEntry *)made)->ended = 1; /* it is noted, and nobody handles it; the stream of an Entry dies */
        }
        set_counted(self, (Entry *)made, 0);
        if (*followed != NULL) {
            grpc_guard_take_out(*followed, made);
        }
        Py_CLEAR(*followed);
        Py_CLEAR(made);
    }
    return made;
}

USUAL int
grpc_guard_enter(State *state, PyObject *records, PyObject *stream, PyObject *context)
{
    PyObject *followed;
    PyObject *entry = enter_thread(state, (InFlight *)records, stream, 0, context, &followed);
    if (entry == NULL) {
        return -1;
    }
    SET(((StreamFields *)stream)->followed, followed);
    ((StreamFields *)stream)->entry = entry;
    Py_DECREF(entry);
    return 0;
}

PyObject *
grpc_guard_enter_unary(State *state, PyObject *records, PyObject *rpc, PyObject *context,
                       PyObject **followed)
{
    return enter_thread(state, (InFlight *)records, rpc, 1, context, followed);
}

static PyObject *
enter_by_thread(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
                PyObject *names, int is_unary)
{
    if (count < 1 || count > 2 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "enter() takes a stream or an RPC, and a context");
        return NULL;
    }
    State *state = state_of(cls);
    PyObject *followed = NULL, *context = count == 2 ? args[1] : Py_None;
    PyObject *entry = state == NULL ? NULL
                                    : enter_thread(state, (InFlight *)self, args[0], is_unary,
                                                   context, &followed);
    Py_XDECREF(followed);
    return entry;
}

static PyObject *
in_flight_enter(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
                PyObject *names)
{
    PyObject *entry = enter_by_thread(self, cls, args, count, names, 0);
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
    return enter_by_thread(self, cls, args, count, names, 1);
}

PyObject *
grpc_guard_records_of(PyObject *method, int is_unary)
{
    PyCFunction wanted = (PyCFunction)(void (*)(void))(is_unary ? in_flight_enter_unary : in_flight_enter);
    int is_ours = PyCFunction_Check(method) && PyCFunction_GET_FUNCTION(method) == wanted;
    return is_ours ? PyCFunction_GET_SELF(method) : NULL;
}

USUAL Links *
grpc_guard_flights_of(PyObject *in_flight)
{
    return is_made((InFlight *)in_flight) ? &((InFlight *)in_flight)->flights : NULL;
}

static PyObject *
in_flight_enter_task(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
                     PyObject *names)
{
    if (count != 2 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "enter_task() takes a stream or an RPC, and a loop");
        return NULL;
    }
    State *state = state_of(cls);
    return state == NULL ? NULL : grpc_guard_enter_task(state, self, args[0], args[1]);
}

static PyObject *
in_flight_of_tasks(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
                   PyObject *names)
{
    if (count != 0 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "of_tasks() takes no arguments");
        return NULL;
    }
    State *state = state_of(cls);
    Links *flights = state == NULL ? NULL : grpc_guard_flights_of(self);
    return flights == NULL ? NULL : grpc_guard_entries_of_tasks(state, flights);
}

static PyMemberDef in_flight_members[] = {
    WEAK(InFlight),
    OBJECT(InFlight, itself, "_itself"),
    {"_size", T_PYSSIZET, offsetof(InFlight, size), 0, NULL},
    {NULL},
};

static PyObject *
in_flight_by_thread(InFlight *self, void *closure)
{
    return grpc_guard_entries_by_thread(&self->by_thread);
}

static PyGetSetDef in_flight_properties[] = {
    {"_by_thread", (getter)in_flight_by_thread, NULL, "See entries.py; here a copy.", NULL},
    {NULL},
};

#define QUICK (METH_METHOD | METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef in_flight_methods[] = {
    {"enter", (PyCFunction)(void (*)(void))in_flight_enter, QUICK, "See entries.py."},
    {"enter_unary", (PyCFunction)(void (*)(void))in_flight_enter_unary, QUICK, "See entries.py."},
    {"enter_task", (PyCFunction)(void (*)(void))in_flight_enter_task, QUICK, "See entries.py."},
    {"of_tasks", (PyCFunction)(void (*)(void))in_flight_of_tasks, QUICK, "See entries.py."},
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
    {Py_tp_getset, in_flight_properties},
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
