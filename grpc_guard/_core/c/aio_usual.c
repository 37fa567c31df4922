/* An operation of asyncio where all is as usual: how it is made, how it claims its direction, and how it ends.
 *
 * Each message finds all of this cold. What is not usual is left to aio_claims.c, which can do it all. Between
 * the claim and the giving back nothing else of ours runs.
 */

#include "aio.h"
#include "directions.h"

/* The same as grpc_guard_in_slot(), and borrowed, without a lookup; NULL if that has to be done. */
static inline PyObject *
in_same_slot(const Spots *spots, PyObject *object)
{
    unsigned int version = Py_TYPE(object)->tp_version_tag;
    for (int at = 0; version != 0 && at < SPOTS; at++) {
        if (USUALLY(spots->version[at] == version)) {
            return *(PyObject **)((char *)object + spots->offset[at]);
        }
    }
    return NULL;
}

/* Returns a new operation of a proxy, or NULL, mostly without an exception: the function is to do it. */
static inline PyObject *
new_operation(AioMethod *method, PyObject *const *args)
{
    PyObject *direction = in_same_slot(&method->of_direction, args[0]);
    if (USUALLY(direction != NULL && grpc_guard_is_plain(method->state, direction))) {
        Py_INCREF(direction);
    }
    else {
        direction = grpc_guard_find_direction(method, args[0]);
        if (direction == NULL) {
            return NULL;
        }
    }
    AioOperation *self =
        (AioOperation *)grpc_guard_alloc(&method->kept, method->state->aio_operation);
    if (self == NULL) {
        Py_DECREF(direction);
        return NULL;
    }
    self->method = Py_NewRef((PyObject *)method);
    self->proxy = Py_NewRef(args[0]);
    self->argument = method->count == 2 ? Py_NewRef(args[1]) : NULL;
    self->direction = direction;
    grpc_guard_place(&self->code, &self->offset); /* the line that asks: its number is found later */
    return (PyObject *)self;
}

USUAL PyObject *
grpc_guard_operation_vectorcall(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    AioMethod *method = (AioMethod *)self;
    PyObject *operation = NULL;
    if (USUALLY(names == NULL && PyVectorcall_NARGS(flags) == method->count
                && grpc_guard_origins_are_tracked(method->state) == 0)) {
        operation = new_operation(method, args);
    }
    return USUALLY(operation != NULL) ? operation : grpc_guard_call_function(method, args, flags, names);
}

/* Returns whose method does the step, borrowed, and the name of that; NULL where more has to be looked at. */
static inline PyObject *
doer_of(State *state, AioMethod *method, AioOperation *self, AioFields *direction, PyObject **name)
{
    if (method->step == Py_None) {
        *name = method->of_wrapped == Py_None ? direction->name : method->of_wrapped;
        return direction->step == NULL && *name != NULL ? direction->wrapped : NULL;
    }
    *name = method->operation;
    int is_its = in_same_slot(&method->of_step, self->proxy) == Py_None && state->wrapped_at > 0;
    return is_its ? *(PyObject **)((char *)self->proxy + state->wrapped_at) : NULL;
}

/* Claims the direction and makes what is driven, or hands over; -1 with an exception set. */
static inline int
begin(AioOperation *self)
{
    AioMethod *method = (AioMethod *)self->method;
    State *state = method->state;
    AioFields *direction = (AioFields *)self->direction;
    StreamFields *stream = (StreamFields *)direction->stream;
    if (!USUALLY(HAS_CLOCK && grpc_guard_is_here(state, direction->loop_thread)
                 && grpc_guard_is_plain(state, self->direction) && direction->is_of_fields && stream != NULL
                 && stream->ended == Py_False && !direction->taken)) {
        return grpc_guard_begin_anyhow(self);
    }
    PyObject *name, *args[] = {doer_of(state, method, self, direction, &name), self->argument};
    if (!USUALLY(args[0] != NULL)) {
        return grpc_guard_begin_anyhow(self);
    }
    direction->taken = 1;
    self->owns = 1;
    direction->inside = (PyObject *)self;
    direction->since = 0.0;
    direction->is_untimed = 1;
    Py_INCREF(args[0]);
    if (method->step != Py_None && PyAsyncGen_CheckExact(args[0])) {
        self->inner = PyAsyncGen_Type.tp_as_async->am_anext(args[0]); /* which `await` drives itself */
        Py_DECREF(args[0]);
        return self->inner == NULL ? -1 : 0;
    }
    PyObject *awaitable = grpc_guard_call_unbound(&method->unbound, name, args, (size_t)method->count);
    Py_DECREF(args[0]);
    if (USUALLY(awaitable != NULL && PyCoro_CheckExact(awaitable) && Py_REFCNT(awaitable) == 1)) {
        self->inner = awaitable; /* made for this, and by nobody awaited */
        return 0;
    }
    self->inner = awaitable == NULL ? NULL : grpc_guard_awaited(state, awaitable);
    return self->inner == NULL ? -1 : 0;
}

/* Tells whether it can be driven for the first time; else an exception is set. */
static inline int
can_begin(AioOperation *self, PyObject *value)
{
    if (USUALLY(self->progress == CREATED && value == Py_None)) {
        return 1;
    }
    if (grpc_guard_can_go_on(self)) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
    }
    return 0;
}

USUAL PySendResult
grpc_guard_begin_and_send(AioOperation *self, PyObject *value, PyObject **result)
{
    if (!can_begin(self, value)) {
        return PYGEN_ERROR;
    }
    Py_INCREF(self);
    self->progress = RUNNING;
    PySendResult status = PYGEN_ERROR;
    if (self->inner == NULL && !USUALLY(begin(self) == 0)) {
        grpc_guard_replace_stop_iteration();
    }
    else if (USUALLY(self->subject == NULL) || grpc_guard_begin_run((AioRun *)self) == 0) {
        status = grpc_guard_send(self->inner, value, result);
    }
    if (USUALLY(status == PYGEN_NEXT && self->owns)) {
        self->progress = SUSPENDED;
        (void)grpc_guard_since_of((AioFields *)self->direction); /* it waits: somebody may ask */
        Py_DECREF(self);
        return status;
    }
    return grpc_guard_operation_sent(self, status);
}

/* Keeps the memory of an operation all of whose fields are clear but the method, or frees it. */
static inline void
free_operation(AioOperation *self)
{
    AioMethod *method = (AioMethod *)self->method;
    self->method = NULL;
    self->weakrefs = NULL;
    self->offset = 0;
    self->owns = 0;
    self->progress = CREATED;
    if (!USUALLY(method != NULL && grpc_guard_put_kept(&method->kept, (PyObject *)self))) {
        PyTypeObject *type = Py_TYPE(self);
        type->tp_free(self);
        Py_DECREF(type);
    }
    Py_XDECREF(method);
}

USUAL void
grpc_guard_operation_dealloc(AioOperation *self)
{
    /* First: the collector and who asks its direction may still come upon it, in whatever runs. */
    if (!USUALLY(self->progress == CLOSED) && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return; /* somebody has it again */
    }
    PyObject_GC_UnTrack(self);
    if (!USUALLY(self->weakrefs == NULL)) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
#define CLEAR(name) \
    if (!USUALLY(self->name == NULL)) { \
        Py_CLEAR(self->name); \
    }
    EACH_BUT_METHOD(CLEAR)
#undef CLEAR
    free_operation(self);
}
