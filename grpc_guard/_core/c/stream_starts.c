/* The start of a sync stream by a client: the same as start_unary_stream() and start_stream_stream()
 * of _proxies/sync/channel.py, what they call, and the methods of proxies that call them. */

#include "guarded.h"

static int
is_told(Starts *starts)
{
    return starts->feeds != NULL && starts->wrapped != NULL && starts->join != NULL;
}

/* Tells whether the guard of the process is off, so that this one is alone; -1: an error is set. */
static int
is_alone(State *state)
{
    Starts *starts = &state->starts;
    PyObject *mode = grpc_guard_in_slot(&state->of_mode, starts->in_force, starts->str_mode);
    int is_off = mode == NULL ? -1 : mode == starts->OFF;
    Py_XDECREF(mode);
    return is_off;
}

static PyObject *
guard_requests(State *state, PyObject *iterator, PyObject *stream)
{
    Starts *starts = &state->starts;
    PyObject *guarded = NULL;
    if (PyIter_Check(iterator)) {
        if (grpc_guard_bind(state, iterator, stream, starts->sends) < 0) {
            return NULL;
        }
        guarded = grpc_guard_make_iterator(state, starts->request_twins, iterator, stream,
                                           starts->ClientRequests, TAKING_REQUESTS,
                                           &((StreamFields *)stream)->write);
    }
    if (guarded != NULL || PyErr_Occurred()) {
        return guarded;
    }
    return PyObject_CallFunctionObjArgs(starts->guard_requests, iterator, stream, NULL);
}

/* Tells whether a call is read as usual: not on a loop that it could block, and not in a callback. */
static int
is_read_as_usual(State *state, StreamFields *stream)
{
    Starts *starts = &state->starts;
    if (PyDict_GET_SIZE(starts->callbacks_running) > 0) {
        return 0;
    }
    if (stream->origin == NULL) {
        return stream->noted.code != NULL && !stream->noted.on_loop;
    }
    if (stream->origin == Py_None) {
        return 1;
    }
    PyObject *on_loop = grpc_guard_in_slot(&state->of_on_loop, stream->origin, starts->str_on_loop);
    int is_usual = on_loop == NULL ? -1 : on_loop == Py_False;
    Py_XDECREF(on_loop);
    return is_usual;
}

static PyObject *
guard_call(State *state, PyObject *call, PyObject *stream)
{
    Starts *starts = &state->starts;
    if ((PyObject *)Py_TYPE(call) == starts->usual_call) {
        int is_usual = is_read_as_usual(state, (StreamFields *)stream);
        if (is_usual < 0) {
            return NULL;
        }
        PyObject *guarded = !is_usual ? NULL
                                      : grpc_guard_make_iterator(state, starts->call_twins, call,
                                                                 stream, starts->Responses, READING,
                                                                 NULL);
        if (guarded == NULL && PyErr_Occurred()) {
            return NULL;
        }
        if (guarded != NULL) {
            if (grpc_guard_track_call((StreamFields *)stream, call, starts->call_has_ended) < 0) {
                Py_CLEAR(guarded);
            }
            return guarded;
        }
    }
    return PyObject_CallFunctionObjArgs(starts->guard_call, call, stream, NULL);
}

/* Notes that the stream begins below interceptors, if it does: join() of intercepted.py. */
static int
join(Starts *starts, PyObject *stream)
{
    PyObject *handed;
    if (PyContextVar_Get(starts->handed, NULL, &handed) < 0) {
        return -1;
    }
    PyObject *nothing = handed == Py_None ? Py_NewRef(Py_None)
                                          : PyObject_CallOneArg(starts->join, stream);
    Py_XDECREF(handed);
    Py_XDECREF(nothing);
    return nothing == NULL ? -1 : 0;
}

/* Calls the first argument, by what its class has: a multi-callable's own `__call__` is not what Python runs. */
static PyObject *
call_object(Starts *starts, PyObject **args, Py_ssize_t count, PyObject *names)
{
    PyObject *function = _PyType_Lookup(Py_TYPE(args[0]), starts->str___call__); /* borrowed */
    if (function == NULL || !PyFunction_Check(function)) {
        return PyObject_Vectorcall(args[0], args + 1, (size_t)count - 1, names);
    }
    Py_INCREF(function);
    PyObject *call = PyObject_Vectorcall(function, args, (size_t)count, names);
    Py_DECREF(function);
    return call;
}

/* Calls what starts an RPC: a plain method, or where that is NULL the first argument. */
static PyObject *
call_plain(Starts *starts, PyObject *method, PyObject **args, Py_ssize_t count, PyObject *names)
{
    return method == NULL ? call_object(starts, args, count, names)
                          : PyObject_Vectorcall(method, args, (size_t)count, names);
}

/* Starts a stream with these arguments; at `requests`, if it is not NULL, are those that it writes. */
static PyObject *
start(State *state, PyObject *stream, PyObject *method, PyObject **requests, PyObject **args,
      Py_ssize_t count, PyObject *names)
{
    Starts *starts = &state->starts;
    PyObject *guarded = NULL, *call = NULL;
    if (requests != NULL) {
        guarded = guard_requests(state, *requests, stream);
        if (guarded == NULL) {
            grpc_guard_end_stream(stream); /* it will never start */
            return NULL;
        }
        *requests = guarded;
    }
    if (join(starts, stream) == 0) {
        call = call_plain(starts, method, args, count, names);
    }
    Py_XDECREF(guarded);
    if (call == NULL) {
        grpc_guard_did_not_start(state, stream);
        return NULL;
    }
    guarded = guard_call(state, call, stream);
    Py_DECREF(call);
    if (guarded == NULL) {
        grpc_guard_end_stream(stream); /* nobody gets its call */
    }
    return guarded;
}

/* What to start, and with what: all borrowed, but for `args`, a copy. */
typedef struct {
    PyObject *multi_callable, *method, *rpc, *mode, **args, *names;
    Py_ssize_t count;
    int first, writes; /* first: the index in `args` of what the user passed */
} Asked;

static PyObject *
start_asked(State *state, const Asked *asked)
{
    PyObject *stream = grpc_guard_new_client_stream(
        state, asked->rpc, state->starts.SYNC, asked->mode, Py_None, asked->multi_callable);
    if (stream == NULL) {
        return NULL;
    }
    PyObject **requests = asked->writes ? asked->args + asked->first : NULL;
    PyObject *guarded = start(state, stream, asked->method, requests, asked->args, asked->count, asked->names);
    Py_DECREF(stream);
    return guarded;
}

/* Starts it with a copy of the arguments. */
static USUAL PyObject *
start_with(State *state, Asked *asked, PyObject *const *args)
{
    size_t all = (size_t)asked->count;
    all += asked->names == NULL ? 0 : (size_t)PyTuple_GET_SIZE(asked->names);
    PyObject *few[FEW];
    asked->args = all <= FEW ? few : PyMem_New(PyObject *, all);
    if (asked->args == NULL) {
        return PyErr_NoMemory();
    }
    memcpy(asked->args, args, all * sizeof(PyObject *));
    if (asked->method == NULL) {
        asked->args[0] = asked->multi_callable;
    }
    PyObject *guarded = start_asked(state, asked);
    if (asked->args != few) {
        PyMem_Free(asked->args);
    }
    return guarded;
}

/* __call__ of the proxy of a multi-callable */
static PyObject *
call_proxy(State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names,
           int writes)
{
    Starts *starts = &state->starts;
    int alone = count < 1 + writes || !is_told(starts) ? 0 : is_alone(state);
    if (alone <= 0) {
        return alone < 0 ? NULL : IN_PYTHON(method, args, count, names);
    }
    PyObject *mode = grpc_guard_chosen_mode(state, args[0]), *guarded = NULL;
    if (mode == NULL) {
        return NULL;
    }
    if (mode == starts->OFF) {
        Py_DECREF(mode);
        return IN_PYTHON(method, args, count, names);
    }
    PyObject *rpc = grpc_guard_in_slot(&state->of_rpc, args[0], starts->str__self_rpc);
    PyObject *wrapped = rpc == NULL ? NULL : grpc_guard_wrapped(state, args[0]);
    if (wrapped != NULL) {
        Asked asked = {.multi_callable = wrapped, .rpc = rpc, .mode = mode, .names = names,
                       .count = count, .first = 1, .writes = writes};
        guarded = start_with(state, &asked, args);
    }
    Py_XDECREF(rpc);
    Py_XDECREF(wrapped);
    Py_DECREF(mode);
    return guarded;
}

/* start_unary_stream(multi_callable, start, rpc, mode, ...), and the same with requests */
static PyObject *
call_start(State *state, Method *method, PyObject *const *args, Py_ssize_t count, PyObject *names,
           int writes)
{
    if (count < 4 + writes || !is_told(&state->starts)) {
        return IN_PYTHON(method, args, count, names);
    }
    Asked asked = {.multi_callable = args[0], .method = args[1], .rpc = args[2], .mode = args[3],
                   .names = names, .count = count - 4, .first = 0, .writes = writes};
    return start_with(state, &asked, args + 4);
}

#define QUICK(name, function, writes) \
    USUAL PyObject *name(State *state, Method *method, PyObject *const *args, Py_ssize_t count, \
                   PyObject *names) \
    { \
        return function(state, method, args, count, names, writes); \
    }
QUICK(grpc_guard_call_unary_stream, call_proxy, 0)
QUICK(grpc_guard_call_stream_stream, call_proxy, 1)
QUICK(grpc_guard_start_unary_stream, call_start, 0)
QUICK(grpc_guard_start_stream_stream, call_start, 1)
