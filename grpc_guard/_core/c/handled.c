/* Tables of streams that are handled: by whom, and since when. See Handlers.streams(), Handled.begun(). */

#include "flights.h"
#include "handled.h"

const HandledOne *
grpc_guard_handled_by(const HandledNow *self, uintptr_t key)
{
    const HandledOne *one = grpc_guard_row_of(&self->table, sizeof(HandledOne), key);
    return one == NULL || one->stream == NULL ? NULL : one;
}

int
grpc_guard_put_handled(HandledNow *self, uintptr_t key, PyObject *stream, double since)
{
    HandledOne *one = grpc_guard_put_row(&self->table, sizeof(HandledOne), key);
    if (one == NULL) {
        return -1;
    }
    one->since = since;
    SET(one->stream, Py_XNewRef(stream));
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
        failed = grpc_guard_put_handled(self, (uintptr_t)task, stream, one->since) < 0;
    }
    Py_XDECREF(task);
    return failed ? -1 : 0;
}

static HandledNow *
new_table(State *state)
{
    return (HandledNow *)state->handled->tp_alloc(state->handled, 0);
}

/* handled(records): the streams that tasks handle, by the records of a server; see Handlers.streams(). */
static PyObject *
handled(PyObject *module, PyObject *records)
{
    State *state = PyModule_GetState(module);
    if (!PyObject_TypeCheck(records, state->in_flight)) {
        return PyErr_Format(PyExc_TypeError, "handled() takes the records of a server, not %R", records);
    }
    Py_ssize_t count = 0;
    Links *flights = grpc_guard_flights_of(records);
    HandledNow *found = flights == NULL ? NULL : new_table(state);
    InFlightNow *all = found == NULL ? NULL : grpc_guard_in_flight_now(flights, &count);
    int failed = all == NULL;
    for (Py_ssize_t i = 0; !failed && i < count; i++) {
        if (i + 16 < count) {
            FETCH(all[i + 16].task);
            FETCH(&((StreamFields *)all[i + 16].what)->ended);
        }
        if (i + 8 < count) {
            grpc_guard_fetch_led_to(all[i + 8].task, 64);
        }
        failed = put_flight(state, found, &all[i]) < 0;
    }
    grpc_guard_forget_flown(all, count);
    if (failed) {
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
    HandledNow *found = new_table(state);
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(tables); i++) {
        PyObject *one = PyList_GET_ITEM(tables, i);
        int failed = !Py_IS_TYPE(one, state->handled);
        if (failed) {
            PyErr_SetString(PyExc_TypeError, "begun() takes tables of Handlers.streams()");
        }
        const HandledNow *handled = (HandledNow *)one;
        for (Py_ssize_t at = 0; !failed && at < handled->table.count; at++) {
            const HandledOne *row = &grpc_guard_all_handled(handled)[at];
            failed = row->stream != NULL
                     && grpc_guard_put_handled(found, (uintptr_t)row->stream, row->stream, row->since) < 0;
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
