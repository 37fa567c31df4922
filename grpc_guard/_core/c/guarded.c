/* The guarded objects of a stream: the same as the classes of _proxies/sync make, with no frame. */

#include "layouts.h"
#include "guarded.h"

/* Finds the one field of a proxy that has what it wraps; -1 if there is none, or more. */
static Py_ssize_t
find_wrapped(PyObject *proxy, PyObject *wrapped)
{
    Py_ssize_t found = -1;
    for (Py_ssize_t at = sizeof(PyObject); at < Py_TYPE(proxy)->tp_basicsize; at += sizeof(PyObject *)) {
        if (*(PyObject **)((char *)proxy + at) == wrapped) {
            if (found > 0) {
                return -1;
            }
            found = at;
        }
    }
    return found;
}

/* wrapt's own way to do so calls a method, which says that nothing is to do; by it is found out, once,
 * which field that fills. */
int
grpc_guard_wrap_in(State *state, PyObject *descriptor, PyObject *proxy, PyObject *wrapped)
{
    if (state->wrapped_at > 0) {
        PyObject **field = (PyObject **)((char *)proxy + state->wrapped_at);
        if (*field == NULL) {
            *field = Py_NewRef(wrapped);
            return 0;
        }
    }
    if (grpc_guard_set(descriptor, proxy, wrapped) < 0) {
        return -1;
    }
    if (state->wrapped_at == 0) {
        state->wrapped_at = find_wrapped(proxy, wrapped);
    }
    return 0;
}

USUAL PyObject *
grpc_guard_wrapped(State *state, PyObject *proxy)
{
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    for (int at = 0; version != 0 && at < SPOTS; at++) {
        PyObject *wrapped = NULL;
        if (state->of_wrapped.version[at] == version) {
            wrapped = *(PyObject **)((char *)proxy + state->of_wrapped.offset[at]);
        }
        if (wrapped != NULL) {
            return Py_NewRef(wrapped);
        }
    }
    PyObject *wrapped = PyObject_GetAttr(proxy, state->str_wrapped);
    if (wrapped == NULL || state->starts.wrapped == NULL
        || !PyObject_TypeCheck(proxy, PyDescr_TYPE(state->starts.wrapped))) {
        return wrapped;
    }
    if (state->wrapped_at == 0) {
        state->wrapped_at = find_wrapped(proxy, wrapped);
    }
    if (state->wrapped_at > 0) {
        Spots *spots = &state->of_wrapped;
        spots->version[spots->newest] = Py_TYPE(proxy)->tp_version_tag;
        spots->offset[spots->newest] = (int)state->wrapped_at;
        spots->newest = (spots->newest + 1) % SPOTS;
    }
    return wrapped;
}

/* Returns the class of proxies for a type, borrowed, as long as nobody runs; NULL, without an error, if
 * there is none yet. */
static PyObject *
twin_of(State *state, PyObject *twins, PyTypeObject *plain)
{
    uint64_t version = grpc_guard_version_of(twins);
    for (int i = 0; version != 0 && i < TWINS; i++) {
        Numbered *known = &state->of_twins[i];
        if (known->version == version && known->number == (uintptr_t)plain) {
            return known->value;
        }
    }
    Numbered *known = &state->of_twins[state->newest_twin];
    state->newest_twin = (state->newest_twin + 1) % TWINS;
    return grpc_guard_look_up_number(known, twins, (uintptr_t)plain);
}

/* Fills a slot of a new proxy; `at` is where it is in all of them, or 0 as long as nobody has looked,
 * and -1 if it is no slot. */
static USUAL int
fill(PyObject *slot, Py_ssize_t *at, PyObject *proxy, PyObject *value)
{
    if (*at == 0) {
        PyMemberDef *member =
            Py_IS_TYPE(slot, &PyMemberDescr_Type) ? ((PyMemberDescrObject *)slot)->d_member : NULL;
        *at = member != NULL && member->type == T_OBJECT_EX ? member->offset : -1;
    }
    if (*at < 0) {
        return grpc_guard_set(slot, proxy, value);
    }
    SET(*(PyObject **)((char *)proxy + *at), Py_NewRef(value));
    return 0;
}

USUAL PyObject *
grpc_guard_make_proxy(State *state, PyObject *twins, PyObject *wrapped, PyObject *stream)
{
    Starts *starts = &state->starts;
    PyObject *twin = twin_of(state, twins, Py_TYPE(wrapped));
    PyObject *proxy = NULL;
    if (twin != NULL) {
        Py_INCREF(twin);
        proxy = grpc_guard_new_proxy((PyTypeObject *)twin);
        Py_DECREF(twin);
    }
    if (proxy != NULL
        && (grpc_guard_wrap_in(state, starts->wrapped, proxy, wrapped) < 0
            || fill(starts->stream, &state->stream_at, proxy, stream) < 0)) {
        Py_CLEAR(proxy);
    }
    return proxy;
}

/* Has a stream know a direction, `read` or `write`: that leaves it before it dies, as no other thread runs then. */
static int
point_to(PyObject **field, StreamFields *stream, PyObject *direction)
{
    int is_read = field == &stream->read;
#ifdef Py_GIL_DISABLED
    return PyObject_SetAttrString((PyObject *)stream, is_read ? "read" : "write", direction);
#else
    *(is_read ? &stream->reader : &stream->writer) = direction;
    SET(*field, Py_NewRef(Py_True));
    return 0;
#endif
}

USUAL PyObject *
grpc_guard_make_iterator(State *state, PyObject *twins, PyObject *wrapped, PyObject *stream,
                         PyObject *type, int kind, PyObject **field)
{
    PyObject *proxy = grpc_guard_make_proxy(state, twins, wrapped, stream);
    if (proxy == NULL) {
        return NULL;
    }
    PyObject *direction =
        grpc_guard_make_direction(state, (PyTypeObject *)type, stream, wrapped);
    PyObject *advance =
        direction == NULL ? NULL : grpc_guard_make_operation(state, direction, kind);
    int failed = advance == NULL || fill(state->starts.next, &state->next_at, proxy, advance) < 0;
    if (field != NULL && !failed) {
        failed = point_to(field, (StreamFields *)stream, direction) < 0;
    }
    Py_XDECREF(advance);
    Py_XDECREF(direction);
    if (failed) {
        Py_CLEAR(proxy);
    }
    return proxy;
}

void
grpc_guard_end_stream(PyObject *stream)
{
    SET(((StreamFields *)stream)->ended, Py_NewRef(Py_True));
}
