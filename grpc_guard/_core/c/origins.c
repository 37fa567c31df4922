/* note_origin() of _findings/origins.py: where something begins, and by whom, noted with no frame.
 *
 * What takes more than to find the innermost line of the program in files that are known is left to
 * the function in Python.
 */

#include "callers.h"
#include "core.h"
#include "flights.h"

/* Returns what a file of the code belongs to, borrowed; NULL, without an error, if that is not known. */
static PyObject *
kind_of(Starts *starts, PyCodeObject *code)
{
    return PyDict_GetItemWithError(starts->kinds, code->co_filename);
}

/* Notes the line that the frame that runs is at, if that is one of the program: 1, else 0, mostly without an error. */
static int
is_noted_here(Starts *starts, OriginNote *noted)
{
    grpc_guard_place(&noted->code, &noted->instruction);
    if (noted->code != NULL && kind_of(starts, (PyCodeObject *)noted->code) != starts->PROGRAM) {
        Py_CLEAR(noted->code);
    }
    return noted->code != NULL;
}

/* Notes the innermost line of the program: 1; 0, without an error, if Python has to look for it. */
static int
is_noted_from(Starts *starts, PyFrameObject *frame, OriginNote *noted)
{
    Py_XINCREF(frame);
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyObject *kind = kind_of(starts, code);
        int is_last = kind == NULL || kind == starts->PROGRAM || kind == starts->LOOP;
        if (kind != NULL && kind == starts->PROGRAM) {
            noted->code = Py_NewRef(code);
            noted->instruction = PyFrame_GetLasti(frame);
        }
        Py_DECREF(code);
        if (is_last) {
            Py_DECREF(frame);
            return noted->code != NULL;
        }
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    return 0;
}

/* Returns the name of a thread, without a call of its property if that only reads it. */
static USUAL PyObject *
name_of(State *state, PyObject *thread)
{
    Starts *starts = &state->starts;
    unsigned int version = Py_TYPE(thread)->tp_version_tag;
    if (version != 0 && version == state->of_named) {
        PyObject *known = grpc_guard_own(&state->of_thread_name, thread, starts->str__name);
        if (known != NULL) {
            return known;
        }
        PyErr_Clear();
    }
    PyObject *property = PyObject_GetAttr((PyObject *)Py_TYPE(thread), starts->str_name);
    PyObject *name = NULL;
    if (property != NULL && property == starts->name_of_threads) {
        name = PyObject_GetAttr(thread, starts->str__name);
        state->of_named = Py_TYPE(thread)->tp_version_tag;
    }
    Py_XDECREF(property);
    if (name == NULL) {
        PyErr_Clear();
        name = PyObject_GetAttr(thread, starts->str_name);
    }
    return name;
}

/* Returns what threading has of the thread that runs, a new reference; else NULL, mostly without an error. */
static PyObject *
thread_here(State *state)
{
    Threads *threads = &state->threads;
    uint64_t id = PyThreadState_GetID(PyThreadState_Get());
    for (int i = 0; i < THREADS; i++) {
        PyObject *known = threads->id[i] == id ? grpc_guard_referent(threads->thread[i]) : NULL;
        if (known != NULL) {
            return known;
        }
    }
    Numbered found = {0, 0, NULL};
    PyObject *thread = Py_XNewRef(grpc_guard_look_up_number(
        &found, state->starts.threads_by_ident, (uintptr_t)PyThread_get_thread_ident()));
    PyObject *reference = thread == NULL ? NULL : PyWeakref_NewRef(thread, NULL);
    if (reference == NULL) {
        PyErr_Clear(); /* it is looked for in Python, too */
        return thread;
    }
    int at = threads->newest = (threads->newest + 1) % THREADS;
    threads->id[at] = 0;
    SET(threads->thread[at], reference);
    threads->id[at] = id;
    return thread;
}

/* Returns the name of the thread that runs, if get_ident() is what C knows; else NULL, mostly without an error. */
static PyObject *
name_here(State *state)
{
    Starts *starts = &state->starts;
    Steps *steps = &state->steps;
    if (!steps->has_native_ident || steps->namespace == NULL
        || grpc_guard_look_up(&state->of_get_ident, steps->namespace, steps->str_get_ident)
               != starts->get_ident) {
        return NULL;
    }
    PyObject *thread = thread_here(state);
    if (thread == NULL) {
        return NULL;
    }
    PyObject *name = name_of(state, thread);
    Py_DECREF(thread);
    return name;
}

/* Returns the name of the party that runs, a task if there is one; NULL: an error is set. */
static PyObject *
party(State *state, PyObject *loop, char *is_task)
{
    Starts *starts = &state->starts;
    PyObject *task = Py_NewRef(Py_None), *name;
    if (loop != Py_None) {
        Py_DECREF(task);
        task = starts->current_task == state->current_task
                   ? grpc_guard_task_of(state, loop)
                   : PyObject_CallOneArg(starts->current_task, loop);
        if (task == NULL) {
            return NULL;
        }
    }
    *is_task = task != Py_None;
    if (*is_task) {
        name = grpc_guard_name_in_task(state, task);
        Py_DECREF(task);
        return name;
    }
    Py_DECREF(task);
    name = name_here(state);
    if (name != NULL || PyErr_Occurred()) {
        return name;
    }
    PyObject *ident = PyObject_CallNoArgs(starts->get_ident); /* a greenlet's, with gevent */
    PyObject *thread = ident == NULL ? NULL : PyDict_GetItemWithError(starts->threads_by_ident, ident);
    if (thread != NULL) {
        Py_INCREF(thread);
        name = name_of(state, thread);
        Py_DECREF(thread);
    }
    else if (ident != NULL && !PyErr_Occurred()) {
        PyObject *both = PyObject_CallOneArg(starts->name_of_thread, ident);
        name = both == NULL ? NULL : PySequence_GetItem(both, 1);
        Py_XDECREF(both);
    }
    Py_XDECREF(ident);
    return name;
}

/* Notes when it is, during which test, and who runs; -1: an error is set. */
static int
note_party(State *state, OriginNote *noted)
{
    Starts *starts = &state->starts;
    noted->since = grpc_guard_now_in_order();
    noted->attempt = grpc_guard_own(&state->of_attempt, starts->ledger, starts->str_test_attempt);
    PyObject *loop =
        noted->attempt == NULL ? NULL : grpc_guard_loop_here(state, starts->running_loop);
    if (loop != NULL) {
        noted->on_loop = loop != Py_None;
        noted->name = party(state, loop, &noted->is_task);
        Py_DECREF(loop);
    }
    return noted->name == NULL ? -1 : 0;
}

USUAL int
grpc_guard_note(State *state, OriginNote *noted)
{
    Starts *starts = &state->starts;
    if (!state->steps.has_native_clock || starts->monotonic != state->monotonic) {
        return 0;
    }
    if (!is_noted_here(starts, noted)
        && (PyErr_Occurred() || !is_noted_from(starts, PyEval_GetFrame(), noted))) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (note_party(state, noted) < 0) {
        grpc_guard_forget_note(noted);
        return -1;
    }
    return 1;
}
