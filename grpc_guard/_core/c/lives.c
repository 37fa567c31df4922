/* Whether a stream lives: its start on a channel, and whether it is over.
 *
 * The same as starting() of _lifecycle/starts.py and is_over() of fields.py.
 */

#include "guarded.h"

static PyObject *
generation_of(State *state, PyObject *forks)
{
    PyObject *names = PyModule_CheckExact(forks) ? PyModule_GetDict(forks) : NULL, *known = NULL;
    if (names != NULL) {
        known = grpc_guard_look_up(&state->of_generation, names, state->starts.str_generation);
    }
    if (known == NULL && PyErr_Occurred()) {
        return NULL;
    }
    return known != NULL ? Py_NewRef(known) : PyObject_GetAttr(forks, state->starts.str_generation);
}

/* Tells whether the channel was made in this process; -1: an error is set. */
static int
is_of_this_process(State *state, PyObject *life)
{
    Starts *starts = &state->starts;
    PyObject *its = grpc_guard_in_slot(&state->of_life_generation, life, starts->str_generation);
    PyObject *ours = its == NULL ? NULL : generation_of(state, starts->forks);
    int is_equal = ours == NULL ? -1 : its == ours ? 1 : PyObject_RichCompareBool(its, ours, Py_EQ);
    Py_XDECREF(its);
    Py_XDECREF(ours);
    return is_equal;
}

/* Returns the streams of a channel, if one more is no reason to look at them: NULL, without an
 * error, if it is. */
static PyObject *
with_room(State *state, PyObject *life)
{
    Starts *starts = &state->starts;
    PyObject *limit = grpc_guard_in_slot(&state->of_life_limit, life, starts->str_next_report_at);
    Py_ssize_t most = limit == NULL ? -1 : PyNumber_AsSsize_t(limit, NULL);
    Py_XDECREF(limit);
    PyObject *streams =
        most == -1 && PyErr_Occurred() ? NULL : grpc_guard_in_slot(&state->of_life_streams, life, starts->str_streams);
    Py_ssize_t size = streams == NULL ? -1 : PyObject_Size(streams);
    if (size < 0 || size + 1 >= most) {
        Py_CLEAR(streams);
    }
    return streams;
}

/* Returns the record of the channel, a new reference; NULL, without an error, if nobody has it. */
static PyObject *
life_of(State *state, PyObject *multi_callable)
{
    Starts *starts = &state->starts;
    PyObject *channel = grpc_guard_own(&state->of_channel, multi_callable, starts->str__channel);
    if (channel == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        }
        return NULL;
    }
    PyObject *life = grpc_guard_look_up_number(&state->of_life, starts->lives, (uintptr_t)channel);
    Py_XINCREF(life);
    Py_DECREF(channel);
    return life;
}

static int
is_dead(PyObject *reference)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *found = NULL;
    int is_alive = PyWeakref_GetRef(reference, &found);
    Py_XDECREF(found);
    return is_alive == 0;
#else
    return PyWeakref_GET_OBJECT(reference) == Py_None;
#endif
}

/* Tells whether a stream is over, as far as nobody need be asked. */
static int
is_known_to_be_over(State *state, PyObject *stream)
{
    if (!IS_STREAM(state, stream)) {
        return 0;
    }
    StreamFields *fields = (StreamFields *)stream;
    if (fields->ended == Py_True) {
        return 1;
    }
    return fields->call != NULL && PyWeakref_CheckRefExact(fields->call) && is_dead(fields->call);
}

/* Lets go of the oldest stream of a channel, if it is over: its memory is used again while it is still
 * in the caches. All are sorted out from time to time. */
static int
let_go(State *state, PyObject *streams)
{
    PyObject *oldest = PyObject_Size(streams) > 0 ? PySequence_GetItem(streams, 0) : NULL;
    if (oldest == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int is_over = is_known_to_be_over(state, oldest);
    Py_DECREF(oldest);
    if (is_over) {
        oldest = grpc_guard_call_in_c(&state->of_popleft, streams, state->starts.str_popleft, NULL);
        Py_XDECREF(oldest);
    }
    return oldest == NULL ? -1 : 0;
}

/* Does what starting() does if all is as usual: 1, else 0 and nothing is done; -1: an error is set. */
static int
start_as_usual(State *state, StreamFields *stream, PyObject *multi_callable)
{
    Starts *starts = &state->starts;
    if (grpc_guard_look_up(&state->of_note_origin, starts->names, starts->str_note_origin) != starts->note_origin) {
        return PyErr_Occurred() ? -1 : 0; /* somebody has replaced it */
    }
    PyObject *life = life_of(state, multi_callable);
    if (life == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int is_done = is_of_this_process(state, life);
    PyObject *streams = is_done > 0 ? with_room(state, life) : NULL;
    if (streams == NULL) {
        Py_DECREF(life);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *nothing = NULL;
    if (let_go(state, streams) == 0 && grpc_guard_note_start(state, stream) == 0) {
        SET(stream->channel, Py_NewRef(life));
        nothing = grpc_guard_call_in_c(&state->of_append, streams, starts->str_append, (PyObject *)stream);
    }
    Py_XDECREF(nothing);
    Py_DECREF(streams);
    Py_DECREF(life);
    return nothing == NULL ? -1 : 1;
}

USUAL int
grpc_guard_starting(State *state, PyObject *stream, PyObject *multi_callable)
{
    Starts *starts = &state->starts;
    int is_done = start_as_usual(state, (StreamFields *)stream, multi_callable);
    if (is_done > 0) {
        return 0;
    }
    PyObject *nothing;
    if (is_done < 0) {
        PyObject *error = take_exception();
        nothing = error == NULL ? NULL : PyObject_CallOneArg(starts->start_failed, error);
        Py_XDECREF(error);
    }
    else {
        nothing = PyObject_CallFunctionObjArgs(starts->starting, stream, multi_callable, NULL);
    }
    Py_XDECREF(nothing);
    return nothing == NULL ? -1 : 0;
}

/* Returns the mode that is chosen for the next RPC, and notes it if it is that of every RPC. */
static PyObject *
choose_mode(State *state, PyObject *choose)
{
    Chosen *chosen = &state->chosen;
    int may_be_fixed = strcmp(Py_TYPE(choose)->tp_name, "method-wrapper") == 0 /* no public name in 3.13 */
                       && state->starts.fixed_mode != NULL;
    PyObject *fixed = may_be_fixed ? PyObject_CallOneArg(state->starts.fixed_mode, choose)
                                   : Py_NewRef(Py_None);
    if (fixed != NULL && fixed != Py_None) {
        int at = chosen->newest = (chosen->newest + 1) % SPOTS;
        SET(chosen->choose[at], NULL);
        SET(chosen->mode[at], Py_NewRef(fixed));
        SET(chosen->choose[at], Py_NewRef(choose));
        return fixed;
    }
    Py_XDECREF(fixed);
    return fixed == NULL ? NULL : PyObject_CallNoArgs(choose);
}

USUAL PyObject *
grpc_guard_chosen_mode(State *state, PyObject *proxy)
{
    PyObject *choose = grpc_guard_in_slot(&state->of_choose, proxy, state->starts.str__self_choose);
    for (int at = 0; choose != NULL && at < SPOTS; at++) {
        if (state->chosen.choose[at] == choose) {
            Py_DECREF(choose);
            return Py_NewRef(state->chosen.mode[at]);
        }
    }
    PyObject *mode = choose == NULL ? NULL : choose_mode(state, choose);
    Py_XDECREF(choose);
    return mode;
}

USUAL PyObject *
grpc_guard_new_client_stream(State *state, PyObject *rpc, PyObject *api, PyObject *mode,
                             PyObject *loop, PyObject *multi_callable)
{
    Starts *starts = &state->starts;
    PyObject *stream = grpc_guard_make_stream(state, (PyTypeObject *)starts->Stream, rpc,
                                              starts->CLIENT, api, mode, loop);
    if (stream != NULL && grpc_guard_starting(state, stream, multi_callable) < 0) {
        grpc_guard_end_stream(stream); /* the table of its channel may have it already */
        Py_CLEAR(stream);
    }
    return stream;
}

void
grpc_guard_did_not_start(State *state, PyObject *stream)
{
    StreamFields *fields = (StreamFields *)stream;
    PyObject *error = take_exception();
    grpc_guard_end_stream(stream); /* its generator is free for the next attempt */
    PyObject *nothing = PyObject_CallFunctionObjArgs(
        state->starts.failed_to_start, fields->channel, fields->rpc, error, NULL);
    if (nothing == NULL) {
        PyObject *newer = take_exception();
        if (newer != error) {
            PyException_SetContext(newer, Py_NewRef(error));
        }
        Py_SETREF(error, newer);
    }
    Py_XDECREF(nothing);
    set_exception(error);
}

USUAL int
grpc_guard_track_call(StreamFields *self, PyObject *call, PyObject *has_ended)
{
    PyObject *reference = PyWeakref_NewRef(call, NULL);
    if (reference == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
            return -1;
        }
        PyErr_Clear(); /* an interceptor's own kind of call: never known to be over */
        return 0;
    }
    SET(self->call, reference);
    SET(self->has_ended, Py_NewRef(has_ended));
    return 0;
}

PyObject *
grpc_guard_is_over(StreamFields *stream, PyObject *unused)
{
    if (stream->ended == NULL || stream->call == NULL || stream->context == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a stream that was not started");
        return NULL;
    }
    int ended = PyObject_IsTrue(stream->ended);
    if (ended != 0) {
        return ended < 0 ? NULL : Py_NewRef(Py_True);
    }
    PyObject *followed = Py_NewRef(stream->call != Py_None ? stream->call : stream->context);
    if (stream->call != Py_None) {
        Py_SETREF(followed, PyObject_CallNoArgs(followed));
        if (followed == Py_None) {
            Py_DECREF(followed);
            Py_RETURN_TRUE;
        }
    }
    else if (followed == Py_None) {
        Py_DECREF(followed);
        Py_RETURN_FALSE;
    }
    PyObject *has_ended = followed == NULL ? NULL : Py_XNewRef(stream->has_ended);
    PyObject *answer = has_ended == NULL ? NULL : PyObject_CallOneArg(has_ended, followed);
    if (followed != NULL && has_ended == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_has_ended");
    }
    Py_XDECREF(has_ended);
    Py_XDECREF(followed);
    return answer;
}
