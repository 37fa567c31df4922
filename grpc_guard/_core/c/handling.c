/* What a sync handler function does while it is guarded: the same as guarded() in replacing() of
 * _proxies/sync/handlers.py, which calls this with its arguments.
 *
 * A Handling of a unary handler notes that it runs; one of a stream guards what it gets and gives.
 */

#include "entries.h"
#include "guarded.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function; /* does it all in Python, whatever is the case */
    PyObject *plain;    /* the handler */
    PyObject *choose, *enter, *rpc, *api;
    int first, follows, reads, responds; /* first: the index of the request */
} Handling;

#define EACH_OF_HANDLING(DO) DO(function) DO(plain) DO(choose) DO(enter) DO(rpc) DO(api)

/* Notes that the stream, or the unary RPC, is being handled; returns what enter() does. */
static PyObject *
enter(Handling *self, PyObject *what, PyObject *context)
{
    PyObject *args[] = {what, self->follows ? context : Py_None};
    return PyObject_Vectorcall(self->enter, args, 2, NULL);
}

static PyObject *
new_stream(State *state, Handling *self, PyObject *mode, PyObject *context)
{
    Starts *starts = &state->starts;
    PyObject *stream = grpc_guard_make_stream(state, (PyTypeObject *)starts->Stream, self->rpc,
                                              starts->SERVER, self->api, mode, Py_None);
    if (stream == NULL) {
        return NULL;
    }
    SET(((StreamFields *)stream)->has_ended, Py_NewRef(starts->context_has_ended));
    SET(((StreamFields *)stream)->context, Py_NewRef(context));
    PyObject *nothing = enter(self, stream, context);
    if (nothing == NULL) {
        Py_CLEAR(stream);
    }
    Py_XDECREF(nothing);
    return stream;
}

static PyObject *
guard_requests(State *state, Handling *self, PyObject *requests, PyObject *stream)
{
    Starts *starts = &state->starts;
    if (!self->reads || !PyIter_Check(requests)) {
        return Py_NewRef(requests);
    }
    PyObject *guarded =
        grpc_guard_make_iterator(state, starts->received_twins, requests, stream, starts->Requests,
                                 REQUESTS, &((StreamFields *)stream)->read);
    if (guarded != NULL || PyErr_Occurred()) {
        return guarded;
    }
    return PyObject_CallFunctionObjArgs(starts->RequestIterator, requests, stream, NULL);
}

static PyObject *
guard_context(State *state, PyObject *context, PyObject *stream)
{
    Starts *starts = &state->starts;
    PyObject *guarded = grpc_guard_make_proxy(state, starts->context_twins, context, stream);
    if (guarded != NULL || PyErr_Occurred()) {
        return guarded;
    }
    return PyObject_CallFunctionObjArgs(starts->Context, context, stream, NULL);
}

static PyObject *
guard_responses(State *state, PyObject *responses, PyObject *stream)
{
    Starts *starts = &state->starts;
    PyObject *guarded = NULL;
    if (PyIter_Check(responses)) {
        guarded = grpc_guard_make_iterator(state, starts->response_twins, responses, stream,
                                           starts->HandlerResponses, TAKING_RESPONSES,
                                           &((StreamFields *)stream)->write);
    }
    if (guarded == NULL) {
        return PyErr_Occurred()
                   ? NULL
                   : PyObject_CallFunctionObjArgs(starts->respond, responses, stream, NULL);
    }
    if (grpc_guard_bind(state, responses, stream, starts->returns) < 0) {
        Py_CLEAR(guarded);
    }
    return guarded;
}

/* Calls the handler of a stream with guarded objects. */
static PyObject *
handle_stream(State *state, Handling *self, PyObject *mode, PyObject *args)
{
    PyObject *plain = PyTuple_GET_ITEM(args, self->first + 1), *result = NULL;
    PyObject *stream = new_stream(state, self, mode, plain);
    if (stream == NULL) {
        return NULL;
    }
    PyObject *request = guard_requests(state, self, PyTuple_GET_ITEM(args, self->first), stream);
    PyObject *context = request == NULL ? NULL : guard_context(state, plain, stream);
    if (context != NULL) {
        PyObject *given[3] = {PyTuple_GET_ITEM(args, 0)}; /* of a method its object, else replaced */
        given[self->first] = request;
        given[self->first + 1] = context;
        result = PyObject_Vectorcall(self->plain, given, (size_t)self->first + 2, NULL);
        if (!self->responds) {
            grpc_guard_end_stream(stream);
        }
        else if (result != NULL) {
            Py_SETREF(result, guard_responses(state, result, stream));
        }
    }
    Py_XDECREF(request);
    Py_XDECREF(context);
    Py_DECREF(stream);
    return result;
}

static PyObject *
handle_unary(State *state, Handling *self, PyObject *args)
{
    PyObject *entry = enter(self, self->rpc, PyTuple_GET_ITEM(args, self->first + 1));
    if (entry == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Call(self->plain, args, NULL);
    if (PyObject_TypeCheck(entry, state->unary_entry)) {
        ((UnaryEntry *)entry)->ended = 1;
    }
    Py_DECREF(entry);
    return result;
}

static PyObject *
handling_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    Handling *self = (Handling *)callable;
    if (PyVectorcall_NARGS(flagged) != 2 || names != NULL || !PyTuple_CheckExact(args[0])
        || !PyDict_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "a Handling takes the arguments in a tuple and a dict");
        return NULL;
    }
    State *state = PyType_GetModuleState(Py_TYPE(self));
    Starts *starts = &state->starts;
    if (PyTuple_GET_SIZE(args[0]) != self->first + 2 || PyDict_GET_SIZE(args[1]) > 0
        || starts->feeds == NULL || starts->wrapped == NULL || starts->returns == NULL) {
        return PyObject_Call(self->function, args[0], args[1]);
    }
    PyObject *mode = PyObject_CallNoArgs(self->choose), *result;
    if (mode == NULL) {
        return NULL;
    }
    if (mode == starts->OFF) {
        result = PyObject_Call(self->plain, args[0], args[1]);
    }
    else if (self->reads || self->responds) {
        result = handle_stream(state, self, mode, args[0]);
    }
    else {
        result = handle_unary(state, self, args[0]);
    }
    Py_DECREF(mode);
    return result;
}

static PyObject *
handling_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"function", "plain", "first", "choose", "enter", "rpc", "api",
                            "follows", "reads", "responds", NULL};
    PyObject *function, *plain, *choose, *enter, *rpc, *api;
    int first, follows, reads, responds;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOiOOOOppp:Handling", names, &function, &plain,
                                     &first, &choose, &enter, &rpc, &api, &follows, &reads,
                                     &responds)) {
        return NULL;
    }
    if (first != 0 && first != 1) {
        PyErr_SetString(PyExc_ValueError, "the request is the first argument, or comes after self");
        return NULL;
    }
    Handling *self = (Handling *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = handling_vectorcall;
#define TAKE(name) self->name = Py_NewRef(name);
    EACH_OF_HANDLING(TAKE)
#undef TAKE
    self->first = first;
    self->follows = follows;
    self->reads = reads;
    self->responds = responds;
    return (PyObject *)self;
}

static int
handling_traverse(Handling *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_HANDLING(VISIT)
#undef VISIT
    return 0;
}

/* No tp_clear: a handler that runs needs it all, and none of it needs this. */

static void
handling_dealloc(Handling *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_HANDLING(CLEAR)
#undef CLEAR
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef handling_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Handling, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot handling_slots[] = {
    {Py_tp_doc, "Handles an RPC: see _proxies/sync/handlers.py."},
    {Py_tp_new, handling_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, handling_traverse},
    {Py_tp_dealloc, handling_dealloc},
    {Py_tp_members, handling_members},
    {0, NULL},
};

static PyType_Spec handling_spec = {
    .name = "grpc_guard._core._compiled.Handling",
    .basicsize = sizeof(Handling),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handling_slots,
};

int
grpc_guard_add_handling(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->handling, &handling_spec, NULL);
}
