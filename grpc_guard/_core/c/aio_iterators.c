/* `async for` over a call or the requests of a handler: the same as __aiter__() of calls.py and of
 * handlers.py, in _proxies/aio.
 */

#include "guarded.h"
#include "recipes.h"

/* Returns a new iterator of the messages of a proxy; `keeps` is what it keeps alive, or None. */
static PyObject *
messages_of(State *state, PyObject *proxy, PyObject *keeps)
{
    Starts *starts = &state->starts;
    PyObject *plain = NULL, *messages = NULL;
    PyObject *direction = grpc_guard_in_slot(&state->of_read, proxy, state->str_self_read);
    PyObject *wrapped = direction == NULL ? NULL : grpc_guard_wrapped(state, proxy);
    if (wrapped != NULL) {
        plain = PyObject_CallMethodNoArgs(wrapped, starts->str___aiter__);
    }
    if (plain != NULL) {
        PyObject *stream = grpc_guard_in_slot(&state->of_stream, proxy, starts->str__self_stream);
        PyObject *args[] = {plain, stream, direction, keeps};
        messages = stream == NULL ? NULL : grpc_guard_construct(state, starts->Messages, args, 4);
        Py_XDECREF(stream);
    }
    Py_XDECREF(plain);
    Py_XDECREF(wrapped);
    Py_XDECREF(direction);
    return messages;
}

/* Returns what a proxy has in a slot. */
static PyObject *
in_slot(PyObject *descriptor, PyObject *proxy)
{
    return Py_TYPE(descriptor)->tp_descr_get(descriptor, proxy, (PyObject *)Py_TYPE(proxy));
}

PyObject *
grpc_guard_iterate_call(
    State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *slot = state->starts.messages_of_call;
    if (count != 1 || names != NULL || slot == NULL) {
        return IN_PYTHON(method, args, count, names);
    }
    PyObject *known = in_slot(slot, args[0]);
    Py_XDECREF(known);
    if (known != Py_None) {
        return known == NULL ? NULL : IN_PYTHON(method, args, count, names);
    }
    PyObject *messages = messages_of(state, args[0], args[0]);
    PyObject *reference = messages == NULL ? NULL : PyWeakref_NewRef(messages, NULL);
    if (reference == NULL || grpc_guard_set(slot, args[0], reference) < 0) {
        Py_CLEAR(messages);
    }
    Py_XDECREF(reference);
    return messages;
}

PyObject *
grpc_guard_iterate_requests(
    State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *slot = state->starts.messages_of_requests;
    if (count != 1 || names != NULL || slot == NULL) {
        return IN_PYTHON(method, args, count, names);
    }
    PyObject *messages = in_slot(slot, args[0]);
    if (messages != Py_None) {
        return messages;
    }
    Py_SETREF(messages, messages_of(state, args[0], Py_None));
    if (messages != NULL && grpc_guard_set(slot, args[0], messages) < 0) {
        Py_CLEAR(messages);
    }
    return messages;
}
