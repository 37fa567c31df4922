/* AioOperation: how it begins. It claims its direction when it is first driven.
 *
 * Where there is more to do than a claim, it drives the coroutine of the function that it stands for
 * instead, which does it all. Between the claim and the giving back nothing else of ours runs.
 */

#include "aio.h"
#include "callers.h"
#include "guarded.h"

int
grpc_guard_time(State *state, double *since)
{
    if (HAS_CLOCK) {
        *since = grpc_guard_just_now();
        return 0;
    }
    PyObject *time = PyObject_CallNoArgs(state->monotonic);
    *since = time == NULL ? -1.0 : PyFloat_AsDouble(time);
    Py_XDECREF(time);
    return *since == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int
grpc_guard_is_claimable(State *state, PyObject *direction)
{
    if ((PyObject *)Py_TYPE(direction) != state->aio_direction) {
        return 0;
    }
    PyObject *extra = ((AioFields *)direction)->extra;
    if (extra == NULL || extra == Py_None) {
        return extra != NULL;
    }
    Py_INCREF(extra); /* its operations are counted, at least */
    PyObject *turns = PyObject_GetAttr(extra, state->str_turns);
    PyObject *watch = turns == NULL ? NULL : PyObject_GetAttr(extra, state->str_watch);
    Py_DECREF(extra);
    int is_claimable = watch == NULL ? -1 : turns == Py_None && watch == Py_None;
    Py_XDECREF(turns);
    Py_XDECREF(watch);
    return is_claimable;
}

/* Notes where the objects of a type have a slot, if they have one of this name. */
static void
learn(Spots *spots, PyTypeObject *type, PyObject *name)
{
    PyObject *found = PyObject_GetAttr((PyObject *)type, name);
    if (found == NULL) {
        PyErr_Clear(); /* the object has an answer */
    }
    else if (Py_IS_TYPE(found, &PyMemberDescr_Type)
             && ((PyMemberDescrObject *)found)->d_member->type == T_OBJECT_EX
             && PyType_IsSubtype(type, PyDescr_TYPE(found))) {
        int at = spots->newest;
        spots->newest = (at + 1) % SPOTS;
        spots->version[at] = type->tp_version_tag;
        spots->offset[at] = (int)((PyMemberDescrObject *)found)->d_member->offset;
    }
    Py_XDECREF(found);
}

USUAL PyObject *
grpc_guard_in_slot(Spots *spots, PyObject *object, PyObject *name)
{
    unsigned int version = Py_TYPE(object)->tp_version_tag;
    for (int at = 0; version != 0 && at < SPOTS; at++) {
        if (spots->version[at] == version) {
            PyObject *value = *(PyObject **)((char *)object + spots->offset[at]);
            if (value != NULL) {
                return Py_NewRef(value);
            }
        }
    }
    PyObject *value = PyObject_GenericGetAttr(object, name);
    if (value != NULL) {
        learn(spots, Py_TYPE(object), name);
    }
    return value;
}

PyObject *
grpc_guard_find_direction(AioMethod *method, PyObject *proxy)
{
    PyObject *direction = grpc_guard_in_slot(&method->of_direction, proxy, method->direction);
    if (direction == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear(); /* the function says that when it is awaited */
    }
    if (direction != NULL && grpc_guard_is_claimable(method->state, direction) <= 0) {
        Py_CLEAR(direction);
    }
    return direction;
}

int
grpc_guard_hand_over(AioOperation *self)
{
    AioMethod *method = (AioMethod *)self->method;
    PyObject *args[] = {self->proxy, self->argument};
    PyObject *inner = PyObject_Vectorcall(method->function, args, method->count, NULL);
    if (inner == NULL) {
        return -1;
    }
    SET(self->inner, inner);
    return 0;
}

/* Tells whether the loop of the direction runs on this thread. */
static int
is_at_home(State *state, AioFields *direction)
{
    PyObject *loop_thread = Py_NewRef(direction->loop_thread);
    PyObject *home = grpc_guard_own(&state->of_thread_id, loop_thread, state->str_thread_id);
    Py_DECREF(loop_thread);
    if (home == NULL) {
        return -1;
    }
    int is_home = 0;
    if (PyLong_CheckExact(home)) {
        is_home = PyLong_AsUnsignedLong(home) == PyThread_get_thread_ident();
        if (PyErr_Occurred()) {
            is_home = -1;
        }
    }
    Py_DECREF(home);
    if (is_home > 0 && state->loop_of_thread != NULL) { /* so that it need not be asked again */
        PyObject *loop = grpc_guard_loop_here(state, state->loop_of_thread);
        Py_XDECREF(loop);
        is_home = loop == NULL ? -1 : 1;
    }
    return is_home;
}

/* Returns the step that is a method of what is wrapped, as the owner of the direction does it. */
static PyObject *
step_of_wrapped(State *state, AioOperation *self)
{
    PyObject *wrapped = PyObject_GetAttr(self->proxy, state->str_wrapped);
    PyObject *step =
        wrapped == NULL ? NULL : PyObject_GetAttr(wrapped, ((AioMethod *)self->method)->of_wrapped);
    Py_XDECREF(wrapped);
    if (step != NULL && !grpc_guard_is_plain(state, self->direction)) {
        Py_SETREF(step, PyObject_CallMethodOneArg(self->direction, state->str_prepared, step));
    }
    return step;
}

/* What does a step: a callable, or where there is a name, the method of an object. */
typedef struct {
    PyObject *object, *name;
} Doing;

/* Finds what does the step, new references; -1 with an exception set. */
static int
find_step(State *state, AioOperation *self, Doing *doing)
{
    AioMethod *method = (AioMethod *)self->method;
    AioFields *direction = (AioFields *)self->direction;
    doing->name = NULL;
    if (method->step != Py_None) {
        doing->object = grpc_guard_in_slot(&method->of_step, self->proxy, method->step);
        if (doing->object == Py_None) { /* the __anext__() of what is wrapped */
            Py_SETREF(doing->object, grpc_guard_wrapped(state, self->proxy));
            doing->name = Py_NewRef(method->operation);
        }
    }
    else if (direction->step == NULL && direction->wrapped != NULL && direction->name != NULL) {
        doing->object = Py_NewRef(direction->wrapped);
        doing->name = Py_NewRef(method->of_wrapped == Py_None ? direction->name : method->of_wrapped);
    }
    else if (method->of_wrapped != Py_None) {
        doing->object = step_of_wrapped(state, self);
    }
    else {
        doing->object = Py_XNewRef(direction->step);
    }
    return doing->object == NULL && PyErr_Occurred() ? -1 : 0;
}

/* Does the step: returns what it is to be awaited. */
static PyObject *
do_step(Doing *doing, AioMethod *method, PyObject *argument)
{
    PyObject *args[] = {doing->object, argument};
    if (doing->name != NULL && method->step != Py_None && PyAsyncGen_CheckExact(doing->object)) {
        return PyAsyncGen_Type.tp_as_async->am_anext(doing->object);
    }
    if (doing->name != NULL) {
        return grpc_guard_call_unbound(&method->unbound, doing->name, args, argument == NULL ? 1 : 2);
    }
    return PyObject_Vectorcall(doing->object, args + 1, argument == NULL ? 0 : 1, NULL);
}

USUAL PyObject *
grpc_guard_awaited(State *state, PyObject *awaitable)
{
    if (PyCoro_CheckExact(awaitable) && Py_REFCNT(awaitable) == 1) {
        return awaitable; /* made for this, and by nobody awaited */
    }
    PyAsyncMethods *methods = Py_TYPE(awaitable)->tp_as_async;
    PyObject *iterator;
    if (!PyCoro_CheckExact(awaitable) && methods != NULL && methods->am_await != NULL) {
        iterator = methods->am_await(awaitable);
        if (iterator == NULL || (PyIter_Check(iterator) && !PyCoro_CheckExact(iterator))) {
            Py_DECREF(awaitable);
            return iterator;
        }
        Py_DECREF(iterator);
    }
    iterator = PyObject_CallOneArg(state->awaiting, awaitable); /* Python knows what is wrong */
    Py_DECREF(awaitable);
    return iterator;
}

static int
claim(State *state, AioOperation *self, Doing *doing)
{
    AioFields *direction = (AioFields *)self->direction;
    double since = 0.0;
    int is_claimable = doing->object == NULL ? 0 : grpc_guard_is_claimable(state, self->direction);
    if (is_claimable < 0 || (!HAS_CLOCK && grpc_guard_time(state, &since) < 0)) {
        return -1;
    }
    StreamFields *stream = (StreamFields *)direction->stream;
    if (!is_claimable || !direction->is_of_fields || stream == NULL || stream->ended != Py_False
        || direction->taken) {
        return grpc_guard_hand_over(self);
    }
    direction->taken = 1;
    self->owns = 1;
    direction->inside = (PyObject *)self;
    direction->since = since;
    direction->is_untimed = HAS_CLOCK;
    PyObject *awaitable = do_step(doing, (AioMethod *)self->method, self->argument);
    self->inner = awaitable == NULL ? NULL : grpc_guard_awaited(state, awaitable);
    return self->inner == NULL ? -1 : 0;
}

int
grpc_guard_begin_anyhow(AioOperation *self)
{
    State *state = ((AioMethod *)self->method)->state;
    AioFields *direction = (AioFields *)self->direction;
    Doing doing = {NULL, NULL};
    int is_shut = state->str_thread_id == NULL; /* what the interpreter clears at its end */
    int is_home = direction->loop_thread == NULL || is_shut ? 0 : is_at_home(state, direction);
    int failed = is_home < 0 || (is_home && find_step(state, self, &doing) < 0);
    if (!failed) {
        failed = claim(state, self, &doing) < 0;
    }
    Py_XDECREF(doing.object);
    Py_XDECREF(doing.name);
    return failed ? -1 : 0;
}
