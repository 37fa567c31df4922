/* AioHandler: what a guarded handler function of asyncio does for a usual call, with no frame.
 *
 * All that is not usual is left to the function in Python that it stands for.
 */

#include "aio_generated.h"
#include "aio_handlers.h"
#include "recipes.h"

#define EACH_OF_HANDLER(DO) \
    DO(function) DO(plain) DO(rpc) DO(choose) DO(chosen) DO(off) DO(running_loop) DO(handlers) DO(method) \
    DO(stream) DO(side) DO(api) DO(context) DO(requests) DO(generate) DO(watched) DO(module)

#define MOST_GIVEN 8 /* arguments of a handler; gRPC gives two */

/* Returns the run of what the handler of a stream has returned; takes the reference. */
static PyObject *
run_of(State *state, AioHandler *self, PyObject *subject, PyObject *made, PyObject *loop)
{
    if (made != NULL && !PyCoro_CheckExact(made)) {
        Py_SETREF(made, PyObject_CallOneArg(state->awaiting, made));
    }
    return made == NULL ? NULL
                        : grpc_guard_new_run(state, (AioMethod *)self->method, subject, made,
                                             self->handlers, loop);
}

/* Replaces request and context, borrowed in `given`, by guarded ones; -1 with an exception set. */
static int
guard_given(State *state, AioHandler *self, PyObject *stream, PyObject **given)
{
    PyObject **request = given + self->first, **context = request + 1;
    PyObject *of_context[] = {*context, stream};
    PyObject *guarded = grpc_guard_construct(state, self->context, of_context, 2);
    if (guarded == NULL) {
        return -1;
    }
    if (!self->reads) { /* there is one request: nobody is expected to read */
        ((StreamFields *)stream)->reader = NULL;
        SET(((StreamFields *)stream)->read, Py_NewRef(Py_None));
    }
    PyAsyncMethods *methods = Py_TYPE(*request)->tp_as_async;
    if (!self->reads || methods == NULL || methods->am_aiter == NULL) {
        *request = Py_NewRef(*request);
        *context = guarded;
        return 0;
    }
    PyObject *direction = grpc_guard_in_slot(&self->of_read, guarded, state->str_self_read);
    PyObject *of_requests[] = {*request, stream, direction};
    PyObject *requests =
        direction == NULL ? NULL : grpc_guard_construct(state, self->requests, of_requests, 3);
    Py_XDECREF(direction);
    if (requests == NULL) {
        Py_DECREF(guarded);
        return -1;
    }
    *request = requests;
    *context = guarded;
    return 0;
}

/* Returns the async generator in Python around `responses`, that of the handler. */
static PyObject *
generated_in_python(AioHandler *self, PyObject *stream, PyObject *context, PyObject *responses)
{
    PyObject *args[] = {self->handlers, stream, context, responses};
    PyObject *made = PyObject_Vectorcall(self->generate, args, 4, NULL);
    if (made != NULL && ((StreamFields *)stream)->is_instrumented != Py_False) {
        Py_SETREF(made, PyObject_CallFunctionObjArgs(self->watched, context, made, NULL));
    }
    return made;
}

/* Returns what stands for the generator of the handler. */
static PyObject *
generated(State *state, AioHandler *self, PyObject *stream, PyObject **given, Py_ssize_t count,
          PyObject *names)
{
    PyObject *context = given[self->first + 1], *made = NULL;
    PyObject *direction = grpc_guard_in_slot(&self->of_write, context, state->starts.str__self_write);
    if (direction == NULL) {
        return NULL;
    }
    PyObject *responses = PyObject_Vectorcall(self->plain, given, (size_t)count, names);
    if (responses != NULL) {
        made = grpc_guard_is_plain(state, direction)
                   ? grpc_guard_new_generated(state, stream, direction, responses, self->handlers,
                                              self->module)
                   : generated_in_python(self, stream, context, responses);
        Py_DECREF(responses);
    }
    Py_DECREF(direction);
    return made;
}

static PyObject *
serve(State *state, AioHandler *self, PyObject *mode, PyObject *loop, PyObject *const *args,
      Py_ssize_t count, PyObject *names)
{
    Py_ssize_t total = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    PyObject *given[MOST_GIVEN];
    memcpy(given, args, (size_t)total * sizeof(PyObject *));
    PyObject *stream = grpc_guard_make_stream(state, (PyTypeObject *)self->stream, self->rpc,
                                              self->side, self->api, mode, loop);
    if (stream == NULL || guard_given(state, self, stream, given) < 0) {
        Py_XDECREF(stream);
        return NULL;
    }
    PyObject *request = given[self->first], *context = given[self->first + 1], *result;
    if (self->generate != Py_None) {
        result = generated(state, self, stream, given, count, names);
    }
    else {
        result = PyObject_Vectorcall(self->plain, given, (size_t)count, names);
        if (result == NULL) {
            SET(((StreamFields *)stream)->ended, Py_NewRef(Py_True));
        }
        result = run_of(state, self, stream, result, loop);
    }
    Py_DECREF(request);
    Py_DECREF(context);
    Py_DECREF(stream);
    return result;
}

/* Returns the mode of the next RPC. */
static PyObject *
mode_of(AioHandler *self)
{
    if (self->chosen == Py_None) {
        return PyObject_CallNoArgs(self->choose);
    }
    Starts *starts = &self->state->starts;
    return self->chosen == starts->in_force ? PyObject_GetAttr(self->chosen, starts->str_mode)
                                            : Py_NewRef(self->chosen);
}

USUAL PyObject *
grpc_guard_handle(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    AioHandler *self = (AioHandler *)callable;
    Py_ssize_t count = PyVectorcall_NARGS(flagged);
    Py_ssize_t total = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    if (count < self->first + 2 || total > MOST_GIVEN) {
        return PyObject_Vectorcall(self->function, args, (size_t)count, names);
    }
    State *state = self->state;
    PyObject *result = NULL, *loop = grpc_guard_loop_here(state, self->running_loop);
    if (loop == NULL) {
        return NULL;
    }
    if (loop == Py_None) { /* whoever calls it is not gRPC */
        result = PyObject_Vectorcall(self->function, args, (size_t)count, names);
        Py_DECREF(loop);
        return result;
    }
    PyObject *mode = mode_of(self);
    if (mode == self->off) {
        result = PyObject_Vectorcall(self->plain, args, (size_t)count, names);
    }
    else if (mode != NULL && self->is_unary) {
        result = grpc_guard_run_of_unary(
            self, PyObject_Vectorcall(self->plain, args, (size_t)count, names), loop);
    }
    else if (mode != NULL) {
        result = serve(state, self, mode, loop, args, count, names);
    }
    Py_XDECREF(mode);
    Py_DECREF(loop);
    return result;
}

static PyObject *
handler_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"function", "plain", "first", "reads", "rpc", "choose", "chosen",
                            "off", "running_loop", "handlers", "method", "stream", "side", "api",
                            "context", "requests", "generate", "watched", NULL};
    PyObject *function, *plain, *rpc, *choose, *chosen, *off, *running_loop, *handlers, *method;
    PyObject *stream = Py_None, *side = Py_None, *api = Py_None, *context = Py_None,
             *requests = Py_None, *generate = Py_None, *watched = Py_None;
    Py_ssize_t first;
    int reads;
    PyObject *module = PyType_GetModule(type);
    State *state = PyType_GetModuleState(type);
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOnpOOOOOO!O!|OOOOOOO:AioHandler", names, &function, &plain, &first,
            &reads, &rpc, &choose, &chosen, &off, &running_loop, state->in_flight, &handlers,
            state->aio_method, &method, &stream, &side, &api, &context, &requests, &generate,
            &watched)) {
        return NULL;
    }
    if (first < 0 || first > 1) {
        PyErr_SetString(PyExc_ValueError, "the request of a handler is its first argument or second");
        return NULL;
    }
    if (stream != Py_None
        && !(PyType_Check(stream)
             && PyType_IsSubtype((PyTypeObject *)stream, state->stream_fields))) {
        PyErr_SetString(PyExc_TypeError, "what is handled is a class of streams, or None");
        return NULL;
    }
    AioHandler *self = (AioHandler *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = grpc_guard_handle;
    self->state = state;
    self->first = (int)first;
    self->reads = reads;
    self->is_unary = stream == Py_None;
#define TAKE(name) self->name = Py_NewRef(name);
    EACH_OF_HANDLER(TAKE)
#undef TAKE
    return (PyObject *)self;
}

static int
handler_traverse(AioHandler *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->code);
    int failed = grpc_guard_visit_spared(self, visit, arg);
    if (failed) {
        return failed;
    }
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_HANDLER(VISIT)
#undef VISIT
    return 0;
}

/* No tp_clear: what is in a cycle with it, functions and records, can be cleared. */

static void
handler_dealloc(AioHandler *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    grpc_guard_free_spared(self);
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_HANDLER(CLEAR)
#undef CLEAR
    Py_CLEAR(self->code);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef handler_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(AioHandler, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot handler_slots[] = {
    {Py_tp_doc, "What a guarded handler of asyncio does: see _proxies/aio/handlers.py."},
    {Py_tp_new, handler_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, handler_traverse},
    {Py_tp_dealloc, handler_dealloc},
    {Py_tp_members, handler_members},
    {0, NULL},
};

static PyType_Spec handler_spec = {
    .name = "grpc_guard._core._compiled.AioHandler",
    .basicsize = sizeof(AioHandler),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = handler_slots,
};

int
grpc_guard_add_aio_handlers(PyObject *module, State *state)
{
    if (grpc_guard_add_shortcuts(module) < 0) {
        return -1;
    }
    return grpc_guard_add_type(module, &state->aio_handler, &handler_spec, NULL);
}
