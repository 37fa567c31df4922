/* What stands for a sync handler function while it is guarded: it does the same as guarded() in
 * replacing() of _proxies/sync/handlers.py, and passes for it.
 *
 * A Handling of a unary handler notes that it runs; one of a stream guards what it gets and gives.
 */

#include "entries.h"
#include "guarded.h"
#include "handling.h"

PyObject *
grpc_guard_mode_of(Handling *self)
{
    Starts *starts = &self->state->starts;
    if (self->chosen == Py_None) {
        return PyObject_CallNoArgs(self->choose);
    }
    return self->chosen == starts->in_force
               ? grpc_guard_in_slot(&self->state->of_mode, self->chosen, starts->str_mode)
               : Py_NewRef(self->chosen);
}

/* Notes that the stream is being handled; -1: an error is set. */
static int
enter(State *state, Handling *self, PyObject *stream, PyObject *context)
{
    PyObject *args[] = {stream, self->follows ? context : Py_None};
    if (self->records != NULL) {
        return grpc_guard_enter(state, self->records, stream, args[1]);
    }
    PyObject *nothing = PyObject_Vectorcall(self->enter, args, 2, NULL);
    Py_XDECREF(nothing);
    return nothing == NULL ? -1 : 0;
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
    if (enter(state, self, stream, context) < 0) {
        Py_CLEAR(stream);
    }
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
handle_stream(State *state, Handling *self, PyObject *mode, PyObject *const *args)
{
    PyObject *plain = args[self->first + 1], *result = NULL;
    PyObject *stream = new_stream(state, self, mode, plain);
    if (stream == NULL) {
        return NULL;
    }
    PyObject *request = guard_requests(state, self, args[self->first], stream);
    PyObject *context = request == NULL ? NULL : guard_context(state, plain, stream);
    if (context != NULL) {
        PyObject *given[3] = {args[0]}; /* of a method its object, else replaced */
        given[self->first] = request;
        given[self->first + 1] = context;
        result = PyObject_Vectorcall(self->plain, given, (size_t)self->first + 2, NULL);
        if (!self->responds) {
            grpc_guard_end_stream(stream);
            grpc_guard_unfollow((StreamFields *)stream);
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

static USUAL PyObject *
handling_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    Handling *self = (Handling *)callable;
    size_t count = (size_t)PyVectorcall_NARGS(flagged);
    State *state = self->state;
    Starts *starts = &state->starts;
    if (!USUALLY(count == (size_t)self->first + 2 && names == NULL && state->is_told)) {
        return PyObject_Vectorcall(self->function, args, count, names);
    }
    PyObject *mode = grpc_guard_mode_of(self), *result;
    if (mode == NULL) {
        return NULL;
    }
    if (mode == starts->OFF) {
        result = PyObject_Vectorcall(self->plain, args, count, NULL);
    }
    else if (self->reads || self->responds) {
        result = handle_stream(state, self, mode, args);
    }
    else {
        result = grpc_guard_handle_unary(self, args, count);
    }
    Py_DECREF(mode);
    return result;
}

static PyObject *
handling_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"function", "plain", "first", "choose", "chosen", "enter", "rpc", "api",
                            "follows", "reads", "responds", NULL};
    PyObject *function, *plain, *choose, *chosen, *enter, *rpc, *api;
    int first, follows, reads, responds;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OiOOOOOppp:Handling", names, &PyFunction_Type, &function, &plain,
                                     &first, &choose, &chosen, &enter, &rpc, &api, &follows,
                                     &reads, &responds)) {
        return NULL;
    }
    if (first != 0 && first != 1) {
        PyErr_SetString(PyExc_ValueError, "the request is the first argument, or comes after self");
        return NULL;
    }
    Handling *self = (Handling *)type->tp_alloc(type, 0);
    if (self == NULL || grpc_guard_stand_for((PyObject *)self, function, handling_vectorcall) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
#define TAKE(name) self->name = Py_NewRef(name);
    EACH_OF_HANDLING(TAKE)
#undef TAKE
    self->module = Py_NewRef(PyType_GetModule(type));
    self->state = PyModule_GetState(self->module);
    self->first = (unsigned char)first;
    self->follows = (char)follows;
    self->reads = (char)reads;
    self->responds = (char)responds;
    int is_unary = !reads && !responds;
    Starts *starts = &self->state->starts;
    self->records = grpc_guard_records_of(enter, is_unary);
    self->of_entries = self->state->unary_entry;
    self->is_fixed = self->state->is_told && chosen != Py_None && chosen != starts->in_force
                     && chosen != starts->OFF;
    if (is_unary && self->records != NULL && follows && self->state->is_told) {
        self->vectorcall = grpc_guard_unary_vectorcall;
    }
    return (PyObject *)self;
}

static int
handling_traverse(Handling *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_FUNCTION(VISIT)
    EACH_OF_HANDLING(VISIT)
    VISIT(module)
#undef VISIT
    return 0;
}

/* No tp_clear: a handler that runs needs it all, and none of it needs this. */

static void
handling_dealloc(Handling *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_FUNCTION(CLEAR)
    EACH_OF_HANDLING(CLEAR)
    CLEAR(module)
#undef CLEAR
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot handling_slots[] = {
    FUNCTION_SLOTS,
    {Py_tp_new, handling_new},
    {Py_tp_traverse, handling_traverse},
    {Py_tp_dealloc, handling_dealloc},
    {0, NULL},
};

static PyType_Spec handling_spec = {
    .name = "grpc_guard._core._compiled.function", /* as a function's type is called */
    .basicsize = sizeof(Handling),
    .flags = FUNCTION_FLAGS,
    .slots = handling_slots,
};

int
grpc_guard_add_handling(PyObject *module, State *state)
{
    state->handling = grpc_guard_type_in_disguise(module, &handling_spec);
    if (state->handling == NULL || grpc_guard_ready_function_type(state->handling) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Handling", (PyObject *)state->handling);
}
