/* Sync operations: the same as the functions of advances.py, name by name.
 *
 * What an operation stores, and what tells where it was asked for, is ready before the claim; what
 * it lets go of goes after the direction is given back. Between the two there is no code of
 * anybody's but the step itself: nothing else can raise, and no signal handler, finaliser or other
 * thread runs.
 */

#include "callers.h"
#include "core.h"

/* A claim is asked for from a cold cache, and on a server each delay makes others: what is usual
 * fetches the proxy, the operation, the direction, the stream, and no more.
 */

static Steps *
steps_of(SyncOperation *self)
{
    return &((State *)PyType_GetModuleState(Py_TYPE(self)))->steps;
}

static UNUSUAL PyObject *
is_shut_down(void)
{
    PyErr_SetString(PyExc_RuntimeError, "the interpreter is shutting down");
    return NULL;
}

/* Returns a new reference to what advances.py has under a name. */
static PyObject *
named(Steps *steps, PyObject *name)
{
    if (steps->namespace == NULL) {
        return is_shut_down();
    }
    PyObject *value = PyDict_GetItemWithError(steps->namespace, name);
    if (value == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_NameError, name);
    }
    return Py_XNewRef(value);
}

static UNUSUAL PyObject *
call_named(Steps *steps, PyObject *name, PyObject *const *args, size_t count)
{
    PyObject *function = named(steps, name);
    if (function == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(function, args, count, NULL);
    Py_DECREF(function);
    return result;
}

USUAL int
grpc_guard_this_ident(Steps *steps, unsigned long long *ident)
{
    *ident = PyThread_get_thread_ident();
    if (steps->has_native_ident) {
        return 1;
    }
    PyObject *its = call_named(steps, steps->str_get_ident, NULL, 0);
    if (its == NULL) {
        return -1;
    }
    int is_number = PyLong_Check(its);
    *ident = is_number ? PyLong_AsUnsignedLongLongMask(its) : 0;
    Py_DECREF(its);
    return is_number;
}

/* Finds what time it is, and which thread runs: 1, 0 if its ident is no number; -1: an error is set. */
static UNUSUAL int
this_party(Steps *steps, unsigned long long *owner, double *since)
{
    PyObject *now = call_named(steps, steps->str_monotonic, NULL, 0);
    *since = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    if (now == NULL || (*since == -1.0 && PyErr_Occurred())) {
        return -1;
    }
    return grpc_guard_this_ident(steps, owner);
}

/* Tells whether an operation may begin: one of a handler only while that runs. Sure only if so. */
static inline int
may_begin(SyncOperation *self)
{
    if (self->kind != REQUESTS && self->kind != SENDING) {
        return 1;
    }
    SyncFields *direction = self->direction;
    return direction->is_of_fields && ((StreamFields *)direction->stream)->ended == Py_False;
}

/* Refuses an operation, unless the handler is running. */
static UNUSUAL int
check_handler(SyncOperation *self)
{
    Steps *steps = steps_of(self);
    PyObject *stream = self->direction->stream;
    PyObject *ended = PyObject_GetAttr(stream, steps->str_ended);
    int answer = ended == NULL ? -1 : PyObject_IsTrue(ended);
    Py_XDECREF(ended);
    if (answer <= 0) {
        return answer;
    }
    PyObject *args[] = {stream, steps->operations[(int)self->kind]};
    PyObject *nothing = call_named(steps, steps->str_used_after_end, args, 2);
    Py_XDECREF(nothing);
    return nothing == NULL ? -1 : 0;
}

/* Notes that the handler has ended; an error that is set stays. Returns the old value, if that is ours. */
static USUAL PyObject *
end_handler(SyncOperation *self)
{
    PyObject *stream = self->direction->stream;
    if (self->direction->is_of_fields) {
        PyObject *before = ((StreamFields *)stream)->ended;
        ((StreamFields *)stream)->ended = Py_NewRef(Py_True);
        return before;
    }
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (PyObject_SetAttr(stream, steps_of(self)->str_ended, Py_True) < 0) {
        PyErr_WriteUnraisable(stream);
    }
    PyErr_Restore(type, value, trace);
    return NULL;
}

static UNUSUAL void
lacks_iterator(void)
{
    PyErr_SetString(PyExc_AttributeError, "iterator");
}

/* Returns a new reference to what does the step, as the direction has it by now. */
static inline PyObject *
subject_of(SyncOperation *self)
{
    PyObject *subject = USUALLY(self->call == NULL) ? self->direction->iterator : self->call;
    if (!USUALLY(subject != NULL)) {
        lacks_iterator();
    }
    return Py_XNewRef(subject);
}

static PyObject *
method_of(Steps *steps, SyncOperation *self)
{
    return self->kind == METADATA ? steps->str_initial_metadata : steps->str_next;
}

/* Does an operation that has found its direction taken: contended() of conflicts.py. */
static UNUSUAL PyObject *
meet(Steps *steps, SyncOperation *self, PyObject *response)
{
    PyObject *object = subject_of(self);
    PyObject *step = object == NULL ? NULL : PyObject_GetAttr(object, method_of(steps, self));
    Py_XDECREF(object);
    if (step == NULL) {
        return NULL;
    }
    PyObject *args[] = {
        (PyObject *)self->direction, steps->operations[(int)self->kind], step, response};
    PyObject *result = call_named(steps, steps->str_contended, args, response == NULL ? 3 : 4);
    Py_DECREF(step);
    if (result != NULL && response != NULL) {
        Py_SETREF(result, Py_NewRef(Py_None));
    }
    return result;
}

static UNUSUAL PyObject *
call_step(SyncOperation *self, PyObject *object, PyObject *response)
{
    PyObject *args[] = {object, response};
    return PyObject_VectorcallMethod(method_of(steps_of(self), self), args, response == NULL ? 1 : 2,
                                     NULL);
}

/* Does the step: as next() does, by the type; or as a method of the object, which may be its own. */
static inline PyObject *
do_step(SyncOperation *self, PyObject *object, PyObject *response, int is_next)
{
    iternextfunc next = Py_TYPE(object)->tp_iternext;
    return USUALLY(is_next && next != NULL) ? next(object) : call_step(self, object, response);
}

/* Does an operation with a direction that is there. Returns NULL without an exception where an
 * iterator is at its end.
 */
static inline PyObject *
operate(SyncOperation *self, PyObject *response, int is_next)
{
    SyncFields *direction = self->direction;
    unsigned long long owner;
    double since;
    int has_owner = 1;
    if (!USUALLY(may_begin(self)) && check_handler(self) < 0) {
        return NULL;
    }
    void *caller = grpc_guard_caller(&owner); /* its place is the line that asks */
    if (USUALLY(self->is_native)) {
        since = grpc_guard_just_now();
    }
    else if ((has_owner = this_party(steps_of(self), &owner, &since)) < 0) {
        return NULL;
    }
    char is_free = direction->free;
    direction->free = 0; /* the claim */
    if (!USUALLY(is_free)) {
        return meet(steps_of(self), self, response);
    }
    direction->caller = caller;
    direction->operation = (char)(self->kind + 1);
    direction->owner = owner;
    direction->has_owner = (char)has_owner;
    direction->since = since;

    PyObject *object = subject_of(self), *before = NULL;
    PyObject *result = !USUALLY(object != NULL) ? NULL : do_step(self, object, response, is_next);

    if (!USUALLY(result != NULL) && self->kind == TAKING_RESPONSES) {
        before = end_handler(self);
    }
    direction->operation = 0;
    direction->free = 1; /* given back */
    if (response == Py_None) {
        before = end_handler(self);
    }
    if (!USUALLY(before == NULL)) {
        grpc_guard_unfollow((StreamFields *)direction->stream);
        Py_DECREF(before);
    }
    Py_XDECREF(object);
    return result;
}

/* The same, if the direction is there. Whoever calls the operation holds that, which holds the direction. */
static inline PyObject *
operate_if_there(SyncOperation *self, PyObject *response, int is_next)
{
    if (!USUALLY(self->direction != NULL && self->direction->stream != NULL)) {
        return is_shut_down();
    }
    return operate(self, response, is_next);
}

USUAL PyObject *
grpc_guard_advance(SyncOperation *self)
{
    return operate_if_there(self, NULL, 1);
}

/* Tells whether the arguments are right, and finds the response among them; else sets TypeError. */
static int
takes(SyncOperation *self, PyObject *const *args, Py_ssize_t count, PyObject *names,
      PyObject **response)
{
    Py_ssize_t wanted = self->kind == SENDING;
    Py_ssize_t given = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    if (given != wanted) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments but %zd were given",
                     self->kind == METADATA ? "initial_metadata" : "advance", wanted, given);
        return 0;
    }
    if (given > count) {
        PyObject *name = PyTuple_GET_ITEM(names, 0);
        int is_right = PyObject_RichCompareBool(name, steps_of(self)->str_response, Py_EQ);
        if (is_right == 0) {
            PyErr_Format(PyExc_TypeError, "advance() got an unexpected keyword argument %R", name);
        }
        if (is_right <= 0) {
            return 0;
        }
    }
    *response = wanted ? args[0] : NULL;
    return 1;
}

PyObject *
grpc_guard_operate(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    SyncOperation *self = (SyncOperation *)callable;
    PyObject *response = NULL;
    if (!takes(self, args, PyVectorcall_NARGS(nargsf), kwnames, &response)) {
        return NULL;
    }
    PyObject *result = operate_if_there(self, response, 0);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}
