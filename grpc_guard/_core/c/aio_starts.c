/* The start of an asyncio stream by a client: the same as start_unary_stream() and the like of
 * _proxies/aio/channel.py, and what they call. One with a request iterator is left to those.
 */

#include "guarded.h"
#include "recipes.h"

/* Tells whether all is as usual: the guard of the process is off, and the loop of the multi-callable
 * runs; -1: an error is set. `loop` gets a new reference. */
static int
is_usual(Starts *starts, State *state, PyObject *wrapped, PyObject **loop)
{
    PyObject *mode = PyObject_GetAttr(starts->in_force, starts->str_mode);
    Py_XDECREF(mode);
    if (mode != starts->OFF) {
        return mode == NULL ? -1 : 0;
    }
    PyObject *running = PyObject_CallNoArgs(starts->running_loop);
    PyObject *own = running == NULL ? NULL : PyObject_GetAttr(wrapped, state->str_own_loop);
    if (own == NULL && running != NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        Py_DECREF(running);
        return 0;
    }
    int usual = own == NULL ? -1 : own == running && own != Py_None;
    Py_XDECREF(running);
    if (usual > 0) {
        *loop = own;
        return 1;
    }
    Py_XDECREF(own);
    return usual;
}

static PyObject *
new_stream(State *state, PyObject *proxy, PyObject *wrapped, PyObject *mode, PyObject *loop)
{
    PyObject *rpc = grpc_guard_in_slot(&state->of_rpc, proxy, state->starts.str__self_rpc);
    PyObject *stream = rpc == NULL ? NULL
                                   : grpc_guard_new_client_stream(state, rpc, state->starts.AIO,
                                                                  mode, loop, wrapped);
    Py_XDECREF(rpc);
    return stream;
}

int
grpc_guard_has_interceptors(State *state, PyObject *call, PyObject *name)
{
    PyObject *plain = state->starts.plain_aio_calls;
    for (Py_ssize_t i = plain == NULL ? 0 : PyTuple_GET_SIZE(plain); i > 0; i--) {
        if ((PyObject *)Py_TYPE(call) == PyTuple_GET_ITEM(plain, i - 1)) {
            return 0;
        }
    }
    PyObject *found = PyObject_GetAttr(call, name);
    if (found == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(found);
    return 1;
}

/* Guards the call of a stream that has started; takes the reference to it. */
static PyObject *
guard_call(State *state, PyObject *call, PyObject *stream, PyObject *kind)
{
    Starts *starts = &state->starts;
    PyObject *guarded = NULL;
    int is_intercepted = grpc_guard_has_interceptors(state, call, starts->str__interceptors_task);
    if (is_intercepted == 0) {
        is_intercepted = PyObject_TypeCheck(call, (PyTypeObject *)starts->StreamProxy);
    }
    if (is_intercepted > 0) {
        guarded = PyObject_CallFunctionObjArgs(starts->guard_started, call, stream, kind, NULL);
    }
    else if (is_intercepted == 0) {
        PyObject *args[] = {call, stream};
        guarded = grpc_guard_construct(state, kind, args, 2);
    }
    Py_DECREF(call);
    if (guarded == NULL) {
        grpc_guard_end_stream(stream); /* nobody gets it */
    }
    return guarded;
}

/* Starts a stream with these arguments, the first of which becomes the multi-callable. */
static PyObject *
start(State *state, PyObject *stream, PyObject *wrapped, PyObject *kind, PyObject **args,
      Py_ssize_t count, PyObject *names)
{
    Starts *starts = &state->starts;
    args[0] = wrapped;
    PyObject *call = PyObject_VectorcallMethod(starts->str___call__, args, (size_t)count, names);
    if (call == NULL) {
        grpc_guard_did_not_start(state, stream);
        return NULL;
    }
    return guard_call(state, call, stream, kind);
}

#define FEW 8 /* arguments, with the multi-callable */

/* Tells whether an argument of this name is given. */
static int
is_named(PyObject *names, const char *name)
{
    for (Py_ssize_t i = names == NULL ? 0 : PyTuple_GET_SIZE(names); i > 0; i--) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i - 1), name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Starts a stream whose call is of a `kind`; with `writes`, it could have a request iterator as well. */
static PyObject *
start_stream(State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names,
             PyObject *kind, int writes)
{
    Starts *starts = &state->starts;
    Py_ssize_t all = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    int has_requests = writes && ((count > 1 && args[1] != Py_None) || is_named(names, "request_iterator"));
    if (count < 1 || all > FEW || has_requests || kind == NULL || starts->in_force == NULL) {
        return IN_PYTHON(method, args, count, names);
    }
    PyObject *wrapped = PyObject_GetAttr(args[0], state->str_wrapped), *loop = NULL;
    int usual = wrapped == NULL ? -1 : is_usual(starts, state, wrapped, &loop);
    PyObject *mode = usual > 0 ? grpc_guard_chosen_mode(state, args[0]) : NULL;
    PyObject *stream = NULL, *guarded = NULL;
    if (mode == starts->OFF || usual == 0) {
        guarded = IN_PYTHON(method, args, count, names);
    }
    else if (mode != NULL) {
        stream = new_stream(state, args[0], wrapped, mode, loop);
    }
    if (stream != NULL) {
        PyObject *given[FEW];
        memcpy(given, args, (size_t)all * sizeof(PyObject *));
        guarded = start(state, stream, wrapped, kind, given, count, names);
    }
    Py_XDECREF(stream);
    Py_XDECREF(mode);
    Py_XDECREF(loop);
    Py_XDECREF(wrapped);
    return guarded;
}

PyObject *
grpc_guard_start_aio_unary_stream(
    State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return start_stream(state, method, args, count, names, state->starts.ReadingCall, 0);
}

PyObject *
grpc_guard_start_aio_stream_unary(
    State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return start_stream(state, method, args, count, names, state->starts.WritingCall, 1);
}

PyObject *
grpc_guard_start_aio_stream_stream(
    State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return start_stream(state, method, args, count, names, state->starts.DuplexCall, 1);
}
