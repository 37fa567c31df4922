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
    PyObject *file = PyObject_GetAttr((PyObject *)code, starts->str_co_filename);
    PyObject *kind = file == NULL ? NULL : PyDict_GetItemWithError(starts->kinds, file);
    Py_XDECREF(file);
    return kind;
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
name_of(Starts *starts, PyObject *thread)
{
    PyObject *property = PyObject_GetAttr((PyObject *)Py_TYPE(thread), starts->str_name);
    PyObject *name = NULL;
    if (property != NULL && property == starts->name_of_threads) {
        name = PyObject_GetAttr(thread, starts->str__name);
    }
    Py_XDECREF(property);
    if (name == NULL) {
        PyErr_Clear();
        name = PyObject_GetAttr(thread, starts->str_name);
    }
    return name;
}

/* Finds the kind and the name of the party that runs, new references; -1: an error is set. */
static int
party(Starts *starts, PyObject *loop, PyObject **kind, PyObject **name)
{
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
    PyObject *ident = PyObject_CallNoArgs(starts->get_ident); /* a greenlet's, with gevent */
    PyObject *thread = ident == NULL ? NULL : PyDict_GetItemWithError(starts->threads_by_ident, ident);
    *kind = Py_NewRef(starts->str_thread);
    if (thread != NULL) {
        Py_INCREF(thread);
        *name = name_of(starts, thread);
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
    PyObject *attempt = since == NULL ? NULL : PyObject_GetAttr(starts->ledger, starts->str_test_attempt);
    PyObject *loop = attempt == NULL ? NULL : PyObject_CallNoArgs(starts->running_loop);
    if (loop != NULL && party(starts, loop, &kind, &name) == 0) {
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
    PyFrameObject *frame = PyEval_GetFrame();
    PyObject *place = place_of(starts, frame);
    if (place == NULL) {
        return PyErr_Occurred() ? NULL : note_in_python(starts, operation);
    }
    PyObject *origin = origin_at(state, operation, place);
    Py_DECREF(place);
    return origin;
}
