/* How the end of an RPC gets known to the entry of its handler: the same as _follow() of entries.py. */

#include "entries.h"

/* Returns the list of what grpcio's own context calls at the end of its RPC, None if that has
 * passed; NULL, without an error, if it is another kind of context or does not have the list. */
static PyObject *
callbacks_of(State *state, PyObject *context)
{
    PyObject *usual =
        grpc_guard_look_up(&state->of_usual_context, state->of_entries, state->str_server_context);
    if ((PyObject *)Py_TYPE(context) != usual) {
        return NULL;
    }
    PyObject *inner = grpc_guard_own(&state->of_context, context, state->str_state);
    PyObject *callbacks =
        inner == NULL ? NULL : grpc_guard_own(&state->of_callbacks, inner, state->str_callbacks);
    Py_XDECREF(inner);
    if (callbacks == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return callbacks;
}

int
grpc_guard_follow(State *state, PyObject *context, PyObject *entry, PyObject **followed)
{
    PyObject *callbacks = callbacks_of(state, context), *told;
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
    PyObject *add_callback = PyObject_GetAttr(context, state->str_add_callback);
    if (add_callback == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear(); /* an interceptor's own kind may lack it */
        return 0;
    }
    told = PyObject_CallOneArg(add_callback, entry);
    Py_DECREF(add_callback);
    if (told == Py_False) {
        Py_SETREF(told, PyObject_CallNoArgs(entry));
    }
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

/* Takes an entry out of a list that has it last. */
static void
take_out(PyObject *followed, void *entry)
{
    Py_ssize_t last = PyList_GET_SIZE(followed) - 1;
    if (last < 0 || PyList_GET_ITEM(followed, last) != entry) {
        return;
    }
#ifdef Py_GIL_DISABLED
    if (!PyErr_Occurred() && PyList_SetSlice(followed, last, last + 1, NULL) < 0) {
        PyErr_Clear(); /* it will be called, and find that it has ended */
    }
#else
    Py_SET_SIZE(followed, last); /* the list keeps the room */
    Py_DECREF((PyObject *)entry);
#endif
}

void
grpc_guard_unfollow(StreamFields *stream)
{
    PyObject *followed = stream->followed;
    if (followed != NULL) {
        stream->followed = NULL;
        take_out(followed, stream->entry);
        Py_DECREF(followed);
    }
}

void
grpc_guard_end_unary(PyObject *entry, PyObject *followed)
{
    ((UnaryEntry *)entry)->ended = 1;
    /* Where nobody has added a callback, that of the entry need not be called. */
    if (followed != NULL) {
        take_out(followed, entry);
    }
    Py_XDECREF(followed);
    Py_DECREF(entry);
}
