/* The start of an asyncio stream by a client: the same as start_unary_stream() and the like of
 * _proxies/aio/channel.py, and what they call. One with a request iterator is left to those.
 */

#include "guarded.h"
#include "recipes.h"
#include "unary_starts.h"

/* Tells whether all is as usual: the guard of the process is off, and the loop of the multi-callable
 * runs; -1: an error is set. `loop` gets a new reference. */
static int
is_usual(Starts *starts, State *state, PyObject *wrapped, Own *of_loop, PyObject **loop)
{
    PyObject *mode = grpc_guard_in_slot(&state->of_mode, starts->in_force, starts->str_mode);
    Py_XDECREF(mode);
    if (mode != starts->OFF) {
        return mode == NULL ? -1 : 0;
    }
    return grpc_guard_is_on_loop(state, starts->running_loop, wrapped, of_loop, loop);
}

/* Tells whether the loop of the multi-callable runs; which guard is on, who called us has looked. */
static int
is_on_loop(Starts *starts, State *state, Method *method, PyObject *multi_callable, PyObject **loop)
{
    int is_told = starts->in_force != NULL && starts->plain_aio_calls != NULL;
    return is_told ? grpc_guard_is_on_loop(state, starts->running_loop, multi_callable, &method->of_loop, loop) : 0;
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
grpc_guard_is_plain_call(State *state, PyObject *call)
{
    PyObject *plain = state->starts.plain_aio_calls;
    for (Py_ssize_t i = plain == NULL ? 0 : PyTuple_GET_SIZE(plain); i > 0; i--) {
        if ((PyObject *)Py_TYPE(call) == PyTuple_GET_ITEM(plain, i - 1)) {
            return 1;
        }
    }
    return 0;
}

int
grpc_guard_has_interceptors(State *state, PyObject *call, PyObject *name)
{
    if (grpc_guard_is_plain_call(state, call)) {
        return 0;
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
    int is_intercepted = 0;
    if (!grpc_guard_is_plain_call(state, call)) {
        is_intercepted = grpc_guard_has_interceptors(state, call, starts->str__interceptors_task);
        if (is_intercepted == 0) {
            is_intercepted = PyObject_TypeCheck(call, (PyTypeObject *)starts->StreamProxy);
        }
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

/* Notes what the class of a multi-callable has as `__call__`, if that is a function. */
static UNUSUAL void
learn_function(State *state, Method *method, PyTypeObject *type)
{
    PyObject *function = _PyType_Lookup(type, state->starts.str___call__); /* borrowed */
    int is_function = function != NULL && Py_IS_TYPE(function, &PyFunction_Type);
    method->called = is_function ? function : NULL;
    method->of_called = is_function ? type->tp_version_tag : 0;
}

/* Starts a stream with these arguments. */
static PyObject *
start(State *state, Method *method, PyObject *stream, PyObject *wrapped, PyObject *kind, PyObject *args,
      PyObject *kwargs)
{
    if (!USUALLY(method->of_called == Py_TYPE(wrapped)->tp_version_tag)) {
        learn_function(state, method, Py_TYPE(wrapped));
    }
    PyObject *call = grpc_guard_call_wrapped(method->called, method->of_called, wrapped, args, kwargs);
    if (call == NULL) {
        grpc_guard_did_not_start(state, stream);
        return NULL;
    }
    return guard_call(state, call, stream, kind);
}

/* Tells whether a request iterator is given, or something in its place; -1: an error is set. */
static int
has_requests(Starts *starts, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0) {
        return PyTuple_GET_ITEM(args, 0) != Py_None;
    }
    return kwargs == NULL ? 0 : PyDict_Contains(kwargs, starts->str_request_iterator);
}

/* Starts a stream whose call is of a `kind`; with `writes`, it could have a request iterator as well. */
static USUAL PyObject *
start_stream(State *state, Method *method, PyObject *proxy, PyObject *args, PyObject *kwargs,
             PyObject *kind, int writes)
{
    Starts *starts = &state->starts;
    int is_fed = writes ? has_requests(starts, args, kwargs) : 0;
    if (is_fed != 0 || kind == NULL || starts->in_force == NULL) {
        return is_fed < 0 ? NULL : grpc_guard_call_with(method->function, proxy, args, kwargs);
    }
    PyObject *wrapped = grpc_guard_wrapped(state, proxy), *loop = NULL;
    int usual = wrapped == NULL ? -1 : is_usual(starts, state, wrapped, &method->of_loop, &loop);
    PyObject *mode = usual > 0 ? grpc_guard_chosen_mode(state, proxy) : NULL;
    PyObject *stream = NULL, *guarded = NULL;
    if (mode == starts->OFF || usual == 0) {
        guarded = grpc_guard_call_with(method->function, proxy, args, kwargs);
    }
    else if (mode != NULL) {
        stream = new_stream(state, proxy, wrapped, mode, loop);
    }
    if (stream != NULL) {
        guarded = start(state, method, stream, wrapped, kind, args, kwargs);
    }
    Py_XDECREF(stream);
    Py_XDECREF(mode);
    Py_XDECREF(loop);
    Py_XDECREF(wrapped);
    return guarded;
}

PyObject *
grpc_guard_start_aio_unary_stream(
    State *state, Method *method, PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    return start_stream(state, method, proxy, args, kwargs, state->starts.ReadingCall, 0);
}

PyObject *
grpc_guard_start_aio_stream_unary(
    State *state, Method *method, PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    return start_stream(state, method, proxy, args, kwargs, state->starts.WritingCall, 1);
}

USUAL PyObject *
grpc_guard_start_aio_stream_stream(
    State *state, Method *method, PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    return start_stream(state, method, proxy, args, kwargs, state->starts.DuplexCall, 1);
}

/* The index among the arguments of what a name is given; -1: it is not. */
static Py_ssize_t
place_of(PyObject *names, PyObject *name)
{
    for (Py_ssize_t i = names == NULL ? 0 : PyTuple_GET_SIZE(names); i > 0; i--) {
        if (PyUnicode_Compare(PyTuple_GET_ITEM(names, i - 1), name) == 0) {
            return i - 1;
        }
    }
    return -1;
}

/* start_unary_stream(multi_callable, start, rpc, mode, ...) and the like; `writes`: as above. */
static PyObject *
begin(State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names,
      PyObject *kind, int writes)
{
    Starts *starts = &state->starts;
    PyObject *loop = NULL, *guarded = NULL;
    int is_fed = writes && (count > 4 || place_of(names, starts->str_request_iterator) >= 0);
    int usual = count < 4 || is_fed || kind == NULL ? 0 : is_on_loop(starts, state, method, args[0], &loop);
    if (usual <= 0) {
        return usual < 0 ? NULL : IN_PYTHON(method, args, count, names);
    }
    PyObject *stream = grpc_guard_new_client_stream(state, args[2], starts->AIO, args[3], loop, args[0]);
    Py_DECREF(loop);
    if (stream == NULL) {
        return NULL;
    }
    PyObject *call = PyObject_Vectorcall(args[1], args + 4, (size_t)(count - 4), names);
    if (call == NULL) {
        grpc_guard_did_not_start(state, stream);
    }
    else {
        guarded = guard_call(state, call, stream, kind);
    }
    Py_DECREF(stream);
    return guarded;
}

#define BEGIN(name, kind, writes) \
    USUAL PyObject *name(State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names) \
    { \
        return begin(state, method, args, count, names, state->starts.kind, writes); \
    }
BEGIN(grpc_guard_begin_aio_unary_stream, ReadingCall, 0)
BEGIN(grpc_guard_begin_aio_stream_unary, WritingCall, 1)
BEGIN(grpc_guard_begin_aio_stream_stream, DuplexCall, 1)
