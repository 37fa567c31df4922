/* What is noted of a start, as a record: the same as Origin of _findings/origins.py.
 *
 * A stream notes its start, and has the record made when somebody asks: most streams end before that.
 */

#include "core.h"

USUAL void
grpc_guard_forget_note(OriginNote *noted)
{
    Py_CLEAR(noted->code);
    Py_CLEAR(noted->name);
    Py_CLEAR(noted->attempt);
}

/* Assigns to a slot of a new Origin, at once if it is one of a class's `__slots__`; takes the reference
 * to the value, or NULL with an error set. */
static USUAL int
fill(PyObject *slot, PyObject *origin, PyObject *value)
{
    if (value != NULL && Py_IS_TYPE(slot, &PyMemberDescr_Type)) {
        PyMemberDef *member = ((PyMemberDescrObject *)slot)->d_member;
        if (member->type == T_OBJECT_EX) {
            SET(*(PyObject **)((char *)origin + member->offset), value);
            return 0;
        }
    }
    int failed = value == NULL ? -1 : grpc_guard_set(slot, origin, value);
    Py_XDECREF(value);
    return failed;
}

static PyObject *
place_of(const OriginNote *noted)
{
    PyObject *instruction = PyLong_FromLong(noted->instruction);
    PyObject *place = instruction == NULL ? NULL : PyTuple_Pack(2, noted->code, instruction);
    Py_XDECREF(instruction);
    return place;
}

/* Returns a new Origin, as its __init__() makes it. */
static PyObject *
made_of(State *state, PyObject *operation, const OriginNote *noted)
{
    Starts *starts = &state->starts;
    PyTypeObject *type = (PyTypeObject *)starts->Origin;
    PyObject *origin = type->tp_alloc(type, 0);
    PyObject *kind = noted->is_task ? starts->str_task : starts->str_thread;
    if (origin != NULL
        && (fill(starts->set_operation, origin, Py_NewRef(operation)) < 0
            || fill(starts->set_place, origin, place_of(noted)) < 0
            || fill(starts->set_since, origin, PyFloat_FromDouble(noted->since)) < 0
            || fill(starts->set_test_attempt, origin, Py_NewRef(noted->attempt)) < 0
            || fill(starts->set_on_loop, origin, PyBool_FromLong(noted->on_loop)) < 0
            || fill(starts->set_kind, origin, Py_NewRef(kind)) < 0
            || fill(starts->set_name, origin, Py_NewRef(noted->name)) < 0)) {
        Py_CLEAR(origin);
    }
    return origin;
}

PyObject *
grpc_guard_note_origin(State *state, PyObject *operation)
{
    OriginNote noted = {NULL};
    int is_noted = grpc_guard_note(state, &noted);
    if (is_noted <= 0) {
        return is_noted < 0 ? NULL : PyObject_CallOneArg(state->starts.note_origin, operation);
    }
    PyObject *origin = made_of(state, operation, &noted);
    grpc_guard_forget_note(&noted);
    return origin;
}

USUAL int
grpc_guard_note_start(State *state, StreamFields *stream)
{
#ifdef Py_GIL_DISABLED /* two threads could make the record of one stream */
    int is_noted = 0;
#else
    int is_noted = grpc_guard_note(state, &stream->noted);
#endif
    if (is_noted > 0) {
        SET(stream->origin, NULL);
    }
    else if (is_noted == 0) {
        PyObject *origin = grpc_guard_note_origin(state, state->starts.str_start);
        if (origin == NULL) {
            return -1;
        }
        SET(stream->origin, origin);
    }
    return is_noted < 0 ? -1 : 0;
}

PyObject *
grpc_guard_origin_of(StreamFields *stream, void *unused)
{
    if (stream->origin == NULL && stream->noted.code != NULL) {
        State *state = state_of(Py_TYPE(stream));
        OriginNote noted = stream->noted; /* held: whoever is asked meanwhile lets go of it */
        Py_INCREF(noted.code);
        Py_INCREF(noted.name);
        Py_INCREF(noted.attempt);
        PyObject *origin = state == NULL ? NULL : made_of(state, state->starts.str_start, &noted);
        grpc_guard_forget_note(&noted);
        if (origin == NULL) {
            return NULL;
        }
        if (stream->origin == NULL) { /* nobody was asked meanwhile: a look at the record of another thread */
            stream->origin = Py_NewRef(origin);
            grpc_guard_forget_note(&stream->noted);
        }
        Py_DECREF(origin);
    }
    if (stream->origin == NULL) {
        PyErr_SetString(PyExc_AttributeError, "origin");
    }
    return Py_XNewRef(stream->origin);
}

int
grpc_guard_set_origin(StreamFields *stream, PyObject *origin, void *unused)
{
    SET(stream->origin, Py_XNewRef(origin));
    grpc_guard_forget_note(&stream->noted);
    return 0;
}

int
grpc_guard_has_origin(StreamFields *stream)
{
    if (stream->origin != NULL) {
        return 1;
    }
    PyObject *origin = grpc_guard_origin_of(stream, NULL);
    if (origin == NULL) {
        PyErr_Clear(); /* what looks at the stream in Python gets it anew */
        return 0;
    }
    Py_DECREF(origin);
    return 1;
}
