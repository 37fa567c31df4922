/* `async for` over a call or the requests of a handler: the same as __aiter__() of calls.py and of
 * handlers.py, in _proxies/aio.
 */

#include "guarded.h"
#include "recipes.h"

/* Returns a new iterator of the messages of a proxy; `keeps` is what it keeps alive, or None. */
static USUAL PyObject *
messages_of(State *state, PyObject *proxy, PyObject *keeps, Unbound *known)
{
    Starts *starts = &state->starts;
    PyObject *plain = NULL, *messages = NULL;
    PyObject *direction = grpc_guard_in_slot(&state->of_read, proxy, state->str_self_read);
    PyObject *wrapped = direction == NULL ? NULL : grpc_guard_wrapped(state, proxy);
    if (wrapped != NULL) {
        plain = grpc_guard_call_unbound(known, starts->str___aiter__, &wrapped, 1);
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

/* Returns where a proxy has its messages, if that is known by its class; else NULL. */
static PyObject **
place_of(const SlotOf *known, PyObject *proxy)
{
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    return version != 0 && version == known->version ? (PyObject **)((char *)proxy + known->offset) : NULL;
}

/* Notes where the proxies of a class have a slot, if a descriptor is one of theirs. */
static UNUSUAL void
learn(SlotOf *known, PyObject *descriptor, PyTypeObject *type)
{
    if (Py_IS_TYPE(descriptor, &PyMemberDescr_Type) && PyType_IsSubtype(type, PyDescr_TYPE(descriptor))
        && ((PyMemberDescrObject *)descriptor)->d_member->type == T_OBJECT_EX) {
        known->offset = ((PyMemberDescrObject *)descriptor)->d_member->offset;
        known->version = type->tp_version_tag;
    }
}

/* Returns what a proxy has in a slot. */
static PyObject *
in_slot(SlotOf *known, PyObject *descriptor, PyObject *proxy)
{
    PyObject **place = place_of(known, proxy);
    if (USUALLY(place != NULL && *place != NULL)) {
        return Py_NewRef(*place);
    }
    learn(known, descriptor, Py_TYPE(proxy));
    return Py_TYPE(descriptor)->tp_descr_get(descriptor, proxy, (PyObject *)Py_TYPE(proxy));
}

static int
put_in_slot(SlotOf *known, PyObject *descriptor, PyObject *proxy, PyObject *value)
{
    PyObject **place = place_of(known, proxy);
    if (!USUALLY(place != NULL)) {
        return grpc_guard_set(descriptor, proxy, value);
    }
    SET(*place, Py_NewRef(value));
    return 0;
}

USUAL PyObject *
grpc_guard_iterate_call(
    State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *slot = state->starts.messages_of_call;
    if (count != 1 || names != NULL || slot == NULL) {
        return IN_PYTHON(method, args, count, names);
    }
    PyObject *known = in_slot(&method->of_messages, slot, args[0]);
    Py_XDECREF(known);
    if (known != Py_None) {
        return known == NULL ? NULL : IN_PYTHON(method, args, count, names);
    }
    PyObject *messages = messages_of(state, args[0], args[0], &method->of_plain);
    PyObject *reference = messages == NULL ? NULL : PyWeakref_NewRef(messages, NULL);
    if (reference == NULL || put_in_slot(&method->of_messages, slot, args[0], reference) < 0) {
        Py_CLEAR(messages);
    }
    Py_XDECREF(reference);
    return messages;
}

USUAL PyObject *
grpc_guard_iterate_requests(
    State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *slot = state->starts.messages_of_requests;
    if (count != 1 || names != NULL || slot == NULL) {
        return IN_PYTHON(method, args, count, names);
    }
    PyObject *messages = in_slot(&method->of_messages, slot, args[0]);
    if (messages != Py_None) {
        return messages;
    }
    Py_SETREF(messages, messages_of(state, args[0], Py_None, &method->of_plain));
    if (messages != NULL && put_in_slot(&method->of_messages, slot, args[0], messages) < 0) {
        Py_CLEAR(messages);
    }
    return messages;
}
