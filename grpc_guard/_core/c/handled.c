/* Tables of what is handled: by whom, and since when. See Handlers.streams(), Handled.begun(). */

#include "flights.h"
#include "handled.h"

const HandledOne *
grpc_guard_handled_by(const HandledNow *self, uintptr_t key)
{
    return grpc_guard_row_of(&self->table, sizeof(HandledOne), key);
}

int
grpc_guard_put_handled(HandledNow *self, uintptr_t key, PyObject *what, double since)
{
    HandledOne *one = grpc_guard_put_row(&self->table, sizeof(HandledOne), key);
    if (one == NULL) {
        return -1;
    }
    one->since = since;
    SET(one->what, Py_NewRef(what));
    return 0;
}

/* Puts what a task handles, if it has not ended; -1: an error is set. */
static int
put_flight(State *state, HandledNow *self, const InFlightNow *one)
{
    PyObject *stream = IS_STREAM(state, one->what) ? one->what : NULL;
    PyObject *ended = stream == NULL ? NULL : ((StreamFields *)stream)->ended;
    int has_ended = ended == NULL ? 0 : PyObject_IsTrue(ended);
    if (has_ended != 0) {
        return has_ended < 0 ? -1 : 0;
    }
    PyObject *task = one->is_running ? Py_NewRef(one->task) : grpc_guard_led_to(one->task);
    int failed = task == NULL;
    if (!failed && task != Py_None) {
        failed = grpc_guard_put_handled(self, (uintptr_t)task, one->what, one->since) < 0;
    }
    Py_XDECREF(task);
    return failed ? -1 : 0;
}

/* The same of all, if nothing but what is known has to be asked: 1; 0 if it has, and some are there perhaps;
 * -1: an error is set. No Python code runs, and the list stays as it is. */
static int
put_flights(State *state, HandledNow *self, const Links *flights)
{
    Py_ssize_t number = 0;
    for (const Links *one = flights->next; one != flights; one = one->next, number++) {
        const Flight *flight = (const Flight *)((const char *)one - offsetof(Flight, links));
        grpc_guard_hint(state, number, flight);
        PyObject *stream = IS_STREAM(state, flight->what) ? flight->what : NULL;
        PyObject *ended = stream == NULL ? Py_False : ((StreamFields *)stream)->ended;
        if (ended == Py_True) {
            continue;
        }
        PyObject *task = flight->running;
        if (ended != Py_False || (task == NULL && !PyWeakref_CheckRefExact(flight->task))) {
            return 0;
        }
        task = task != NULL ? task : ((PyWeakReference *)flight->task)->wr_object;
        if (task != Py_None && grpc_guard_put_handled(self, (uintptr_t)task, flight->what, flight->since) < 0) {
            return -1;
        }
    }
    return 1;
}

static HandledNow *
new_table(State *state, Py_ssize_t likely)
{
    HandledNow *self = (HandledNow *)state->handled->tp_alloc(state->handled, 0);
    if (self != NULL) {
        self->table.likely = likely;
    }
    return self;
}

/* Puts all; -1: an error is set. */
static int
put_flown(State *state, HandledNow *self, Links *flights)
{
    Py_ssize_t count = 0;
    InFlightNow *all = grpc_guard_in_flight_now(flights, &count);
    int failed = all == NULL;
    for (Py_ssize_t i = 0; !failed && i < count; i++) {
        failed = put_flight(state, self, &all[i]) < 0;
    }
    grpc_guard_forget_flown(all, count);
    return failed ? -1 : 1;
}

/* handled(records): the streams that tasks handle, by the records of a server; see Handlers.streams(). */
static PyObject *
handled(PyObject *module, PyObject *records)
{
    State *state = PyModule_GetState(module);
    if (!PyObject_TypeCheck(records, state->in_flight)) {
        return PyErr_Format(PyExc_TypeError, "handled() takes the records of a server, not %R", records);
    }
    Links *flights = grpc_guard_flights_of(records);
    HandledNow *found = flights == NULL ? NULL : new_table(state, state->hints == NULL ? 0 : state->hints->count);
    int is_done = found == NULL ? -1 : put_flights(state, found, flights);
    if (is_done == 0) { /* again, as what is asked may change the list */
        Py_SETREF(found, new_table(state, 0));
        is_done = found == NULL ? -1 : put_flown(state, found, flights);
    }
    if (is_done < 0) {
        Py_CLEAR(found);
    }
    return (PyObject *)found;
}

/* begun(tables): since when each stream of tables like that is handled, by its identity. */
static PyObject *
begun(PyObject *module, PyObject *tables)
{
    State *state = PyModule_GetState(module);
    if (!PyList_Check(tables)) {
        return PyErr_Format(PyExc_TypeError, "begun() takes a list, not %R", tables);
    }
    HandledNow *found = new_table(state, state->hints == NULL ? 0 : state->hints->count);
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(tables); i++) {
        PyObject *one = PyList_GET_ITEM(tables, i);
        int failed = !Py_IS_TYPE(one, state->handled);
        if (failed) {
            PyErr_SetString(PyExc_TypeError, "begun() takes tables of Handlers.streams()");
        }
        const HandledNow *handled = (HandledNow *)one;
        for (Py_ssize_t at = 0; !failed && at < handled->table.count; at++) {
            const HandledOne *row = &grpc_guard_all_handled(handled)[at];
            failed = IS_STREAM(state, row->what)
                     && grpc_guard_put_handled(found, (uintptr_t)row->what, row->what, row->since) < 0;
        }
        if (failed) {
            Py_CLEAR(found);
        }
    }
    return (PyObject *)found;
}

static PyMethodDef module_methods[] = {
    {"handled", handled, METH_O, "Return the streams that tasks handle: see Handlers.streams()."},
    {"begun", begun, METH_O, "Return since when streams are handled: see Handled.begun()."},
    {NULL},
};

int
grpc_guard_add_handled(PyObject *module, State *state)
{
    return grpc_guard_add_handled_type(module, state) < 0 ? -1 : PyModule_AddFunctions(module, module_methods);
}
