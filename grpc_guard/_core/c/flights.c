/* What the tasks of a server handle: the same as TaskEntry and what InFlight does with it in entries.py.
 *
 * What runs a handler in C has its flight in itself: nothing is made but a weak reference to the task.
 * An entry is made for those who ask, and for what runs a handler in Python.
 */

#include "callers.h"
#include "entries.h"
#include "flights.h"
#include "looks.h"

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *what;
    Flight flight;
} TaskEntry;

USUAL PyObject *
grpc_guard_task_of(State *state, PyObject *loop)
{
    PyObject *teller = state->current_task;
    if (state->tasks_by_loop != NULL) {
        PyObject *task = PyDict_GetItemWithError(state->tasks_by_loop, loop);
        return task == NULL && PyErr_Occurred() ? NULL : Py_NewRef(task == NULL ? Py_None : task);
    }
    return PyObject_CallOneArg(teller, loop);
}

USUAL int
grpc_guard_begin_flight(State *state, PyObject *in_flight, Flight *flight, PyObject *what,
                        PyObject *loop)
{
    Links *flights = grpc_guard_flights_of(in_flight);
    PyObject *task = flights == NULL ? NULL : grpc_guard_task_of(state, loop);
    if (task == NULL || task == Py_None) {
        Py_XDECREF(task);
        return task == NULL ? -1 : 0;
    }
    if (grpc_guard_begin_entry(state, &flight->since) < 0) {
        Py_DECREF(task);
        return -1;
    }
    grpc_guard_join_flights(flights, flight, task, what);
    return 0;
}

USUAL int
grpc_guard_flight_waits(Flight *flight)
{
    if (flight->running == NULL) {
        return 0;
    }
    flight->task = PyWeakref_NewRef(flight->running, NULL);
    if (flight->task == NULL) {
        grpc_guard_end_flight(flight);
        return -1;
    }
    Py_CLEAR(flight->running);
    return 0;
}

void
grpc_guard_forget_flights(Links *flights)
{
    while (flights->next != NULL && flights->next != flights) {
        grpc_guard_leave_flights(flights->next);
    }
    *flights = (Links){flights, flights};
}

/* Entries */

static TaskEntry *
new_entry(PyTypeObject *type, PyObject *what)
{
    TaskEntry *self = (TaskEntry *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->what = Py_NewRef(what);
    }
    return self;
}

PyObject *
grpc_guard_enter_task(State *state, PyObject *in_flight, PyObject *what, PyObject *loop)
{
    TaskEntry *self = new_entry(state->task_entry, what);
    if (self != NULL && grpc_guard_begin_flight(state, in_flight, &self->flight, what, loop) < 0) {
        Py_CLEAR(self);
    }
    if (self != NULL && self->flight.running == NULL) {
        Py_SETREF(self, (TaskEntry *)Py_NewRef(Py_None));
    }
    else if (self != NULL && grpc_guard_flight_waits(&self->flight) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

InFlightNow *
grpc_guard_in_flight_now(Links *flights, Py_ssize_t *count)
{
    *count = 0;
    for (Links *one = flights->next; one != flights; one = one->next) {
        ++*count;
    }
    InFlightNow *all = PyMem_New(InFlightNow, *count + 1), *known = all;
    if (all == NULL) {
        *count = 0;
        PyErr_NoMemory();
        return NULL;
    }
    for (Links *one = flights->next; one != flights; one = one->next) {
        Flight *flight = (Flight *)((char *)one - offsetof(Flight, links));
        int is_running = flight->running != NULL;
        PyObject *task = is_running ? flight->running : flight->task;
        *known++ = (InFlightNow){Py_NewRef(task), Py_NewRef(flight->what), flight->since, is_running};
    }
    return all;
}

void
grpc_guard_forget_flown(InFlightNow *all, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_DECREF(all[i].task);
        Py_DECREF(all[i].what);
    }
    PyMem_Free(all);
}

enum { FEWEST_HINTS = 64, AHEAD = 16 };

void
grpc_guard_hint(State *state, Py_ssize_t number, const Flight *flight)
{
    Hints *hints = state->hints;
    if (hints != NULL && number + AHEAD < hints->count) {
        const Hint *hint = &hints->all[number + AHEAD];
        FETCH(hint->flight);
        FETCH((const char *)hint->flight + sizeof(Flight) - 1);
        FETCH(hint->task);
        FETCH_LINES(hint->what, 80);
    }
    if (number >= (hints == NULL ? 0 : hints->room)) {
        Py_ssize_t room = number < FEWEST_HINTS ? FEWEST_HINTS : 2 * number;
        hints = PyMem_Realloc(hints, sizeof(Hints) + (size_t)room * sizeof(Hint));
        if (hints == NULL) {
            return; /* it is the slower for that */
        }
        hints->count = state->hints == NULL ? 0 : hints->count;
        hints->room = room;
        state->hints = hints;
    }
    const void *task = flight->running != NULL ? flight->running : flight->task;
    hints->all[number] = (Hint){flight, task, flight->what};
    hints->count = number < hints->count ? hints->count : number + 1;
}

/* Returns the entry of a flight. */
static PyObject *
entry_of(State *state, const InFlightNow *one)
{
    PyObject *task = one->is_running ? PyWeakref_NewRef(one->task, NULL) : Py_NewRef(one->task);
    TaskEntry *entry = task == NULL ? NULL : new_entry(state->task_entry, one->what);
    if (entry == NULL) {
        Py_XDECREF(task);
        return NULL;
    }
    entry->flight.task = task;
    entry->flight.since = one->since;
    return (PyObject *)entry;
}

PyObject *
grpc_guard_entries_of_tasks(State *state, Links *flights)
{
    Py_ssize_t count;
    InFlightNow *all = grpc_guard_in_flight_now(flights, &count);
    PyObject *entries = all == NULL ? NULL : PyList_New(count);
    for (Py_ssize_t i = 0; entries != NULL && i < count; i++) {
        PyObject *entry = entry_of(state, &all[i]);
        if (entry == NULL) {
            Py_CLEAR(entries);
        }
        else {
            PyList_SET_ITEM(entries, i, entry);
        }
    }
    grpc_guard_forget_flown(all, count);
    return entries;
}

static PyObject *
entry_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    State *state = state_of(type);
    PyObject *what, *task;
    if (state == NULL || !PyArg_ParseTuple(args, "OO:TaskEntry", &what, &task)) {
        return NULL;
    }
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "TaskEntry() takes no keyword arguments");
        return NULL;
    }
    TaskEntry *self = new_entry(type, what);
    if (self != NULL) {
        self->flight.task = PyWeakref_NewRef(task, NULL);
        if (self->flight.task == NULL || grpc_guard_begin_entry(state, &self->flight.since) < 0) {
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static int
entry_traverse(TaskEntry *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->what);
    Py_VISIT(self->flight.task);
    return 0;
}

static int
entry_clear(TaskEntry *self)
{
    grpc_guard_end_flight(&self->flight);
    Py_CLEAR(self->what);
    return 0;
}

static void
entry_dealloc(TaskEntry *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    (void)entry_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef entry_members[] = {
    WEAK(TaskEntry),
    {"since", T_DOUBLE, offsetof(TaskEntry, flight) + offsetof(Flight, since), READONLY, NULL},
    {"task", T_OBJECT_EX, offsetof(TaskEntry, flight) + offsetof(Flight, task), READONLY, NULL},
    {"what", T_OBJECT_EX, offsetof(TaskEntry, what), READONLY, NULL},
    {NULL},
};

static PyType_Slot entry_slots[] = {
    {Py_tp_doc, "What a task handles: see entries.py."},
    {Py_tp_new, entry_new},
    {Py_tp_traverse, entry_traverse},
    {Py_tp_clear, entry_clear},
    {Py_tp_dealloc, entry_dealloc},
    {Py_tp_members, entry_members},
    {0, NULL},
};

static PyType_Spec entry_spec = {
    .name = "grpc_guard._core._compiled.TaskEntry",
    .basicsize = sizeof(TaskEntry),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = entry_slots,
};

int
grpc_guard_add_flights(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->task_entry, &entry_spec, NULL);
}
