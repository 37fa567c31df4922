/* What is in the record of a new stream: its fields are filled, and it is counted. */

#include "core.h"
#include "layouts.h"

USUAL void
grpc_guard_empty_stream(StreamFields *self)
{
    grpc_guard_clear_all(FIRST_OF_STREAM(self), FIELDS_OF_STREAM);
    if (self->followed != NULL || self->noted.code != NULL) {
        Py_CLEAR(self->followed);
        grpc_guard_forget_note(&self->noted);
    }
}

/* Returns what fields.py has under a name, borrowed. */
static PyObject *
switch_of(State *state, LookedUp *known, PyObject *name)
{
    PyObject *value = grpc_guard_look_up(known, state->switches, name);
    if (value == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_NameError, name);
    }
    return value;
}

/* Tells whether the directions of a new stream count, wait or are watched; -1: an error is set. */
static int
instruments(State *state, PyObject *mode)
{
    PyObject *counting = switch_of(state, &state->of_counting, state->str_counting);
    int is_counting = counting == NULL ? -1 : PyObject_IsTrue(counting);
    if (is_counting != 0) {
        return is_counting;
    }
    PyObject *watch = switch_of(state, &state->of_watch, state->str_watch);
    if (watch == NULL) {
        return -1;
    }
    return watch != Py_None || mode == state->serialize;
}

/* Counts a new stream: next(created). */
static int
count_one(State *state)
{
    PyObject *created = switch_of(state, &state->of_created, state->str_created);
    if (created == NULL) {
        return -1;
    }
    Py_INCREF(created);
    int failed = grpc_guard_count(state, created);
    Py_DECREF(created);
    return failed;
}

/* Counts a new stream; tells whether its directions count, wait or are watched; -1: an error is set. */
static UNUSUAL int
count_and_ask(State *state, PyObject *mode)
{
    state->of_usual_streams = 0;
    int instrumented = count_one(state) < 0 ? -1 : instruments(state, mode);
    PyObject *created = instrumented == 0 ? switch_of(state, &state->of_created, state->str_created) : NULL;
    if (created != NULL && Py_IS_TYPE(created, state->count)) {
        state->usual_count = created;
        state->of_usual_streams = grpc_guard_version_of(state->switches);
    }
    return instrumented < 0 || PyErr_Occurred() ? -1 : instrumented;
}

USUAL int
grpc_guard_fill_stream(State *state, StreamFields *self, PyObject *rpc, PyObject *side, PyObject *api,
                       PyObject *mode, PyObject *loop)
{
    int instrumented = 0;
    if (USUALLY(state->of_usual_streams != 0 && mode != state->serialize
                && state->of_usual_streams == grpc_guard_version_of(state->switches))) {
        (void)grpc_guard_count(state, state->usual_count);
    }
    else {
        instrumented = count_and_ask(state, mode);
        if (instrumented < 0) {
            return -1;
        }
    }
    self->rpc = Py_NewRef(rpc);
    self->side = Py_NewRef(side);
    self->api = Py_NewRef(api);
    self->mode = Py_NewRef(mode);
    self->loop = Py_NewRef(loop);
    self->ended = Py_NewRef(Py_False);
    self->in_done_callback = Py_NewRef(Py_False);
    self->read = Py_NewRef(Py_None);
    self->write = Py_NewRef(Py_None);
    self->origin = Py_NewRef(Py_None);
    self->channel = Py_NewRef(Py_None);
    self->handler = Py_NewRef(Py_None);
    self->call = Py_NewRef(Py_None);
    self->context = Py_NewRef(Py_None);
    self->is_instrumented = Py_NewRef(instrumented ? Py_True : Py_False);
    return 0;
}
