/* How the end of an RPC gets known to the entry of its handler: the same as InFlight._follow() of entries.py. */

#include "entries.h"

/* Notes where a context has its state, and that what is called at the end. */
static void
note(Usual *usual, PyObject *context, const Own *of_context, PyObject *inner, const Own *of_callbacks)
{
    unsigned int context_version = Py_TYPE(context)->tp_version_tag;
    unsigned int state_version = Py_TYPE(inner)->tp_version_tag;
    if (context_version != 0 && context_version == of_context->version && of_context->index >= 0
        && state_version != 0 && state_version == of_callbacks->version && of_callbacks->index >= 0) {
        *usual = (Usual){context_version, state_version, (int)of_context->index,
                         (int)of_callbacks->index};
    }
}

/* Returns the list of what grpcio's own context calls at the end of its RPC, None if that has
 * passed; NULL, without an error, if it is another kind of context or does not have the list. */
static PyObject *
callbacks_of(State *state, Usual *usual, PyObject *context)
{
    PyObject *found = grpc_guard_usual_callbacks(usual, context);
    if (found != NULL) {
        return Py_NewRef(found);
    }
    PyObject *kind =
        grpc_guard_look_up(&state->of_usual_context, state->of_entries, state->str_server_context);
    if ((PyObject *)Py_TYPE(context) != kind) {
        return NULL;
    }
    PyObject *inner = grpc_guard_own(&state->of_context, context, state->str_state);
    PyObject *callbacks =
        inner == NULL ? NULL : grpc_guard_own(&state->of_callbacks, inner, state->str_callbacks);
    if (callbacks != NULL) {
        note(usual, context, &state->of_context, inner, &state->of_callbacks);
    }
    Py_XDECREF(inner);
    if (callbacks == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return callbacks;
}

/* Has the records of an entry find out when the RPC of a context that is not grpcio's own ends. */
static UNUSUAL int
follow_other(State *state, PyObject *context, PyObject *entry)
{
    PyObject *records = PyObject_CallNoArgs(((Entry *)entry)->records);
    if (records == NULL) {
        return -1;
    }
    PyObject *told = PyObject_CallMethodObjArgs(records, state->str_follows, context, entry, NULL);
    Py_DECREF(records);
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

USUAL int
grpc_guard_follow(State *state, Usual *usual, PyObject *context, PyObject *entry, PyObject **followed)
{
    PyObject *callbacks = callbacks_of(state, usual, context), *told;
    if (callbacks != NULL && PyList_CheckExact(callbacks)) {
        int failed = PyList_Append(callbacks, entry);
        *followed = callbacks;
        return failed;
    }
    if (callbacks == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (callbacks == Py_None) {
        told = PyObject_CallNoArgs(entry);
        Py_DECREF(callbacks);
        Py_XDECREF(told);
        return told == NULL ? -1 : 0;
    }
    Py_XDECREF(callbacks);
    return follow_other(state, context, entry);
}

USUAL void
grpc_guard_unfollow(StreamFields *stream)
{
    PyObject *followed = stream->followed;
    if (followed != NULL) {
        stream->followed = NULL;
        grpc_guard_take_out(followed, stream->entry);
        Py_DECREF(followed);
    }
}
