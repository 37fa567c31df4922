/* note_origin() of _findings/origins.py: where something begins, and by whom, noted with no frame.
 *
 * What takes more than to find the innermost line of the program in files that are known is left to
 * the function in Python.
 */

#include "callers.h"
#include "core.h"

static PyObject *
note_in_python(Starts *starts, PyObject *operation)
{
    return PyObject_CallOneArg(starts->note_origin, operation);
}

/* Returns what a file of the code belongs to, borrowed; NULL, without an error, if that is not known. */
static PyObject *
kind_of(Starts *starts, PyCodeObject *code)
{
    return PyDict_GetItemWithError(starts->kinds, code->co_filename);
}

/* Returns the same of the frame that runs, if that is one of the program; else NULL, mostly without an error. */
static PyObject *
place_here(Starts *starts)
{
    PyObject *code = NULL, *place = NULL;
    int offset = 0;
    grpc_guard_place(&code, &offset);
    if (code != NULL && kind_of(starts, (PyCodeObject *)code) == starts->PROGRAM) {
        PyObject *instruction = PyLong_FromLong(offset);
        place = instruction == NULL ? NULL : PyTuple_Pack(2, code, instruction);
        Py_XDECREF(instruction);
    }
    Py_XDECREF(code);
    return place;
}

/* Returns code and instruction of the innermost line of the program; NULL, without an error, if
 * Python has to look for it. */
static PyObject *
place_of(Starts *starts, PyFrameObject *frame)
{
    Py_XINCREF(frame);
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyObject *kind = kind_of(starts, code), *place = NULL;
        int is_last = kind == NULL || kind == starts->PROGRAM || kind == starts->LOOP;
        if (kind != NULL && kind == starts->PROGRAM) {
            PyObject *instruction = PyLong_FromLong(PyFrame_GetLasti(frame));
            place = instruction == NULL ? NULL : PyTuple_Pack(2, code, instruction);
            Py_XDECREF(instruction);
        }
        Py_DECREF(code);
        if (is_last) {
            Py_DECREF(frame);
            return place;
        }
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    return NULL;
}

/* Returns the name of a thread, without a call of its property if that only reads it. */
static PyObject *
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

/* Finds the kind and the name of the party that runs, new references; -1: an error is set. */
static int
party(State *state, PyObject *loop, PyObject **kind, PyObject **name)
{
    Starts *starts = &state->starts;
    PyObject *task = Py_NewRef(Py_None);
    if (loop != Py_None) {
        Py_DECREF(task);
        task = PyObject_CallOneArg(starts->current_task, loop);
        if (task == NULL) {
            return -1;
        }
    }
    if (task != Py_None) {
        *kind = Py_NewRef(starts->str_task);
        *name = PyObject_CallMethodNoArgs(task, starts->str_get_name);
        Py_DECREF(task);
        return *name == NULL ? -1 : 0;
    }
    Py_DECREF(task);
    *kind = Py_NewRef(starts->str_thread);
    *name = name_here(state);
    if (*name != NULL || PyErr_Occurred()) {
        return *name == NULL ? -1 : 0;
    }
    PyObject *ident = PyObject_CallNoArgs(starts->get_ident); /* a greenlet's, with gevent */
    PyObject *thread = ident == NULL ? NULL : PyDict_GetItemWithError(starts->threads_by_ident, ident);
    if (thread != NULL) {
        Py_INCREF(thread);
        *name = name_of(state, thread);
        Py_DECREF(thread);
    }
    else if (ident != NULL && !PyErr_Occurred()) {
        PyObject *both = PyObject_CallOneArg(starts->name_of_thread, ident);
        *name = both == NULL ? NULL : PySequence_GetItem(both, 1);
        Py_XDECREF(both);
    }
    Py_XDECREF(ident);
    return *name == NULL ? -1 : 0;
}

/* Assigns to a slot of a new Origin: at once, if it is one of a class's `__slots__`. */
static int
fill(PyObject *slot, PyObject *origin, PyObject *value)
{
    if (Py_IS_TYPE(slot, &PyMemberDescr_Type)) {
        PyMemberDef *member = ((PyMemberDescrObject *)slot)->d_member;
        if (member->type == T_OBJECT_EX) {
            SET(*(PyObject **)((char *)origin + member->offset), Py_NewRef(value));
            return 0;
        }
    }
    return grpc_guard_set(slot, origin, value);
}

/* Returns a new Origin, as its __init__() makes it. */
static PyObject *
origin_at(State *state, PyObject *operation, PyObject *place)
{
    Starts *starts = &state->starts;
    PyObject *kind = NULL, *name = NULL, *origin = NULL;
    int is_native = state->steps.has_native_clock && starts->monotonic == state->monotonic;
    PyObject *since = is_native ? PyFloat_FromDouble(grpc_guard_now())
                                : PyObject_CallNoArgs(starts->monotonic);
    PyObject *attempt = since == NULL ? NULL : grpc_guard_own(&state->of_attempt, starts->ledger, starts->str_test_attempt);
    PyObject *loop = attempt == NULL ? NULL : grpc_guard_loop_here(state, starts->running_loop);
    if (loop != NULL && party(state, loop, &kind, &name) == 0) {
        PyTypeObject *type = (PyTypeObject *)starts->Origin;
        origin = type->tp_alloc(type, 0);
    }
    PyObject *on_loop = loop == Py_None ? Py_False : Py_True;
    if (origin != NULL
        && (fill(starts->set_operation, origin, operation) < 0
            || fill(starts->set_place, origin, place) < 0
            || fill(starts->set_since, origin, since) < 0
            || fill(starts->set_test_attempt, origin, attempt) < 0
            || fill(starts->set_on_loop, origin, on_loop) < 0
            || fill(starts->set_kind, origin, kind) < 0
            || fill(starts->set_name, origin, name) < 0)) {
        Py_CLEAR(origin);
    }
    Py_XDECREF(since);
    Py_XDECREF(attempt);
    Py_XDECREF(loop);
    Py_XDECREF(kind);
    Py_XDECREF(name);
    return origin;
}

PyObject *
grpc_guard_note_origin(State *state, PyObject *operation)
{
    Starts *starts = &state->starts;
    PyObject *place = place_here(starts);
    if (place == NULL && !PyErr_Occurred()) {
        place = place_of(starts, PyEval_GetFrame());
    }
    if (place == NULL) {
        return PyErr_Occurred() ? NULL : note_in_python(starts, operation);
    }
    PyObject *origin = origin_at(state, operation, place);
    Py_DECREF(place);
    return origin;
}
