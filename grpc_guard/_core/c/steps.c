/* Sync operations: the same as the functions of advances.py, name by name.
 *
 * What an operation stores, and what tells where it was asked for, is ready before the claim; what
 * it lets go of goes after the direction is given back. Between the two there is no code of
 * anybody's but the step itself: nothing else can raise, and no signal handler, finaliser or other
 * thread runs.
 */

#include "core.h"

static int
needs_handler(SyncOperation *self)
{
    return self->kind == REQUESTS || self->kind == SENDING;
}

/* Returns a new reference to what advances.py has under a name. */
static PyObject *
named(Steps *steps, PyObject *name)
{
    PyObject *value = PyDict_GetItemWithError(steps->namespace, name);
    if (value == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_NameError, name);
    }
    return Py_XNewRef(value);
}

static PyObject *
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

/* Finds what time it is, and which thread runs: 1, 0 if its ident is no number; -1: an error is set. */
static int
this_party(Steps *steps, unsigned long long *owner, double *since)
{
    PyObject *now = call_named(steps, steps->str_monotonic, NULL, 0);
    *since = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    if (now == NULL || (*since == -1.0 && PyErr_Occurred())) {
        return -1;
    }
    if (steps->has_native_ident) {
        *owner = PyThread_get_thread_ident();
        return 1;
    }
    PyObject *ident = call_named(steps, steps->str_get_ident, NULL, 0);
    if (ident == NULL) {
        return -1;
    }
    int is_number = PyLong_Check(ident);
    *owner = is_number ? PyLong_AsUnsignedLongLongMask(ident) : 0;
    Py_DECREF(ident);
    return is_number;
}

/* Calls what `object` has under a name; without a lookup if nobody can have replaced that. */
static PyObject *
do_step(Steps *steps, PyObject *object, PyObject *name, PyObject *response)
{
    PyTypeObject *type = Py_TYPE(object);
    if (name == steps->str_next && response == NULL && type->tp_iternext != NULL
        && !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) && type->tp_dictoffset == 0
        && type->tp_getattro == PyObject_GenericGetAttr) {
        PyObject *item = type->tp_iternext(object);
        if (item == NULL && !PyErr_Occurred()) {
            PyErr_SetNone(PyExc_StopIteration);
        }
        return item;
    }
    PyObject *args[] = {object, response};
    return PyObject_VectorcallMethod(name, args, response == NULL ? 1 : 2, NULL);
}

static int
has_ended(State *state, PyObject *stream)
{
    if (PyObject_TypeCheck(stream, state->stream_fields)) {
        PyObject *ended = ((StreamFields *)stream)->ended;
        if (ended == Py_False || ended == Py_True) {
            return ended == Py_True;
        }
    }
    PyObject *ended = PyObject_GetAttr(stream, state->steps.str_ended);
    int answer = ended == NULL ? -1 : PyObject_IsTrue(ended);
    Py_XDECREF(ended);
    return answer;
}

/* Notes that the handler has ended; an error that is set stays. Returns the old value, if that is ours. */
static PyObject *
end_handler(State *state, PyObject *stream)
{
    if (PyObject_TypeCheck(stream, state->stream_fields)) {
        PyObject *before = ((StreamFields *)stream)->ended;
        ((StreamFields *)stream)->ended = Py_NewRef(Py_True);
        return before;
    }
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (PyObject_SetAttr(stream, state->steps.str_ended, Py_True) < 0) {
        PyErr_WriteUnraisable(stream);
    }
    PyErr_Restore(type, value, trace);
    return NULL;
}

/* Returns a new reference to what does the step, as the direction has it by now. */
static PyObject *
subject_of(SyncOperation *self)
{
    PyObject *subject = self->call != NULL ? self->call : self->direction->iterator;
    if (subject == NULL) {
        PyErr_SetString(PyExc_AttributeError, "iterator");
    }
    return Py_XNewRef(subject);
}

/* Does an operation that has found its direction taken: contended() of conflicts.py. */
static PyObject *
meet(Steps *steps, SyncOperation *self, PyObject *name, PyObject *response)
{
    PyObject *object = subject_of(self);
    PyObject *step = object == NULL ? NULL : PyObject_GetAttr(object, name);
    Py_XDECREF(object);
    if (step == NULL) {
        return NULL;
    }
    PyObject *args[] = {(PyObject *)self->direction, steps->operations[self->kind], step, response};
    PyObject *result = call_named(steps, steps->str_contended, args, response == NULL ? 3 : 4);
    Py_DECREF(step);
    if (result != NULL && response != NULL) {
        Py_SETREF(result, Py_NewRef(Py_None));
    }
    return result;
}

static PyObject *
operate(State *state, SyncOperation *self, PyObject *response)
{
    Steps *steps = &state->steps;
    SyncFields *direction = self->direction;
    PyObject *stream = Py_XNewRef(direction->stream), *object = NULL, *result = NULL;
    PyObject *name = self->kind == METADATA ? steps->str_initial_metadata : steps->str_next;
    PyObject *frame = NULL, *before = NULL;
    unsigned long long owner;
    double since;
    if (stream == NULL) {
        PyErr_SetString(PyExc_AttributeError, "stream");
        goto done;
    }
    if (needs_handler(self)) {
        int ended = has_ended(state, stream);
        if (ended < 0) {
            goto done;
        }
        if (ended) {
            PyObject *args[] = {stream, steps->operations[self->kind]};
            PyObject *nothing = call_named(steps, steps->str_used_after_end, args, 2);
            if (nothing == NULL) {
                goto done;
            }
            Py_DECREF(nothing);
        }
    }
    frame = Py_XNewRef((PyObject *)PyEval_GetFrame()); /* its place is the line that asks */
    int has_owner = this_party(steps, &owner, &since);
    if (has_owner < 0) {
        goto done;
    }
    char is_free = direction->free;
    direction->free = 0; /* the claim */
    if (!is_free) {
        result = meet(steps, self, name, response);
        goto done;
    }
    PyObject *frame_before = direction->frame;
    direction->frame = frame;
    direction->operation = (char)(self->kind + 1);
    direction->owner = owner;
    direction->has_owner = (char)has_owner;
    direction->since = since;
    Links *links = &direction->links, *head = &steps->in_progress;
    if (links->next == NULL) { /* else somebody has given it back by hand */
        *links = (Links){head->next, head};
        head->next->previous = links;
        head->next = links;
    }
    frame = NULL;
    Py_XDECREF(frame_before);

    object = subject_of(self);
    result = object == NULL ? NULL : do_step(steps, object, name, response);

    if (result == NULL && self->kind == TAKING_RESPONSES) {
        before = end_handler(state, stream);
    }
    if (links->next != NULL) {
        links->next->previous = links->previous;
        links->previous->next = links->next;
        *links = (Links){NULL, NULL};
    }
    frame = direction->frame;
    direction->frame = NULL;
    direction->operation = 0;
    direction->free = 1; /* given back */
    if (response == Py_None) {
        Py_XSETREF(before, end_handler(state, stream));
    }

done:
    Py_XDECREF(before);
    Py_XDECREF(frame);
    Py_XDECREF(object);
    Py_XDECREF(stream);
    return result;
}

/* Tells whether the arguments are right, and finds the response among them; else sets TypeError. */
static int
takes(SyncOperation *self, Steps *steps, PyObject *const *args, Py_ssize_t count, PyObject *names,
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
        int is_right = PyObject_RichCompareBool(name, steps->str_response, Py_EQ);
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
    State *state = PyType_GetModuleState(Py_TYPE(callable));
    if (self->direction == NULL || state->steps.namespace == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the interpreter is shutting down");
        return NULL;
    }
    PyObject *response = NULL;
    if (!takes(self, &state->steps, args, PyVectorcall_NARGS(nargsf), kwnames, &response)
        || Py_EnterRecursiveCall(" in a guarded operation")) {
        return NULL;
    }
    PyObject *direction = Py_NewRef((PyObject *)self->direction);
    PyObject *result = operate(state, self, response);
    Py_DECREF(direction);
    Py_LeaveRecursiveCall();
    return result;
}
