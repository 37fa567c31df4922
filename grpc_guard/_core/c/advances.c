/* What makes sync operations, by the names of the functions in advances.py. */

#include "callers.h"
#include "core.h"

static PyObject *
new_operation(State *state, PyObject *direction, int kind, PyObject *call)
{
    SyncOperation *self = (SyncOperation *)grpc_guard_new_of(KEPT_SYNC_OPERATIONS, state->steps.type, state->steps.type);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = grpc_guard_operate;
    self->direction = (SyncFields *)Py_NewRef(direction);
    self->call = Py_XNewRef(call);
    self->kind = (char)kind;
    self->is_native = (char)(state->steps.has_native_ident && state->steps.has_native_clock);
    return (PyObject *)self;
}

USUAL PyObject *
grpc_guard_make_operation(State *state, PyObject *direction, int kind)
{
    return new_operation(state, direction, kind, NULL);
}

static PyObject *
make(PyObject *module, PyObject *direction, int kind, PyObject *call)
{
    State *state = PyModule_GetState(module);
    if (state->steps.namespace == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure_steps() of the module comes first");
        return NULL;
    }
    if (!PyObject_TypeCheck(direction, state->sync_fields)) {
        PyErr_Format(PyExc_TypeError, "%s() takes a direction", grpc_guard_kinds[kind].maker);
        return NULL;
    }
    return new_operation(state, direction, kind, call);
}

#define MAKER(name, kind) \
    static PyObject *name(PyObject *module, PyObject *direction) \
    { \
        return make(module, direction, kind, NULL); \
    }
MAKER(reading_responses, READING)
MAKER(reading_requests, REQUESTS)
MAKER(taking_requests, TAKING_REQUESTS)
MAKER(taking_responses, TAKING_RESPONSES)
MAKER(sending_responses, SENDING)

static PyObject *
reading_responses_or_metadata(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "reading_responses_or_metadata() takes 2 arguments");
        return NULL;
    }
    PyObject *advance = make(module, args[0], READING, NULL);
    PyObject *metadata = advance == NULL ? NULL : make(module, args[0], METADATA, args[1]);
    PyObject *both = metadata == NULL ? NULL : PyTuple_Pack(2, advance, metadata);
    Py_XDECREF(advance);
    Py_XDECREF(metadata);
    return both;
}

static PyObject *
direction_of(PyObject *module, PyObject *advance)
{
    State *state = PyModule_GetState(module);
    if (Py_TYPE(advance) != state->steps.type || ((SyncOperation *)advance)->direction == NULL) {
        PyErr_SetString(PyExc_AttributeError, "direction");
        return NULL;
    }
    return Py_NewRef((PyObject *)((SyncOperation *)advance)->direction);
}

static PyObject *
operations_in_progress(PyObject *module, PyObject *unused)
{
    State *state = PyModule_GetState(module);
    PyObject *found = PyList_New(0); /* a collection, if any, comes now: the rest is not tracked */
    Links *head = &state->steps.live, *one = head;
    while (found != NULL && (one = one->next) != head) {
        SyncFields *direction = (SyncFields *)((char *)one - offsetof(SyncFields, links));
        /* Only one that is held, by its operation: another may be about to die. */
        if (direction->operation != 0 && PyList_Append(found, (PyObject *)direction) < 0) {
            Py_CLEAR(found);
        }
    }
    return found;
}

/* In a child, memory of the frames of other threads is used anew: nothing may be taken for them. */
static PyObject *
after_fork(PyObject *module, PyObject *unused)
{
    State *state = PyModule_GetState(module);
    Links *head = &state->steps.live, *one = head;
    while (state->steps.has_native_ident && (one = one->next) != head) {
        SyncFields *direction = (SyncFields *)((char *)one - offsetof(SyncFields, links));
        if (direction->owner != PyThread_get_thread_ident()) {
            direction->caller = LEFT_BEHIND;
        }
    }
    state->here_version = 0;
    state->loops = (LoopsHere){0}; /* of the parent: they run here no more */
    Py_RETURN_NONE;
}

static PyObject *
key_of(PyObject *module, PyObject *frame)
{
    if (!PyFrame_Check(frame)) {
        PyErr_SetString(PyExc_TypeError, "key_of() takes a frame");
        return NULL;
    }
    return PyLong_FromVoidPtr(grpc_guard_key_of(frame));
}

static PyObject *
configure_steps(PyObject *module, PyObject *namespace)
{
    State *state = PyModule_GetState(module);
    PyObject *get_ident = NULL;
    if (PyDict_Check(namespace)) {
        get_ident = PyDict_GetItemWithError(namespace, state->steps.str_get_ident);
    }
    if (get_ident == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "configure_steps() takes the names of advances.py");
        }
        return NULL;
    }
    Py_INCREF(get_ident);
    PyObject *ident = PyObject_CallNoArgs(get_ident); /* gevent may have replaced it */
    if (ident == NULL) {
        Py_DECREF(get_ident);
        return NULL;
    }
    state->steps.has_native_ident = PyCFunction_CheckExact(get_ident) && PyLong_Check(ident)
        && PyLong_AsUnsignedLongMask(ident) == PyThread_get_thread_ident();
    Py_DECREF(ident);
    state->steps.has_native_clock =
        HAS_CLOCK && PyDict_GetItemWithError(namespace, state->steps.str_monotonic) == state->monotonic;
    grpc_guard_ask_counter(state->steps.has_native_clock);
    Py_DECREF(get_ident);
    SET(state->steps.namespace, Py_NewRef(namespace));
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"configure_steps", configure_steps, METH_O,
     "Take the namespace that has the clock, and what is done where a claim fails."},
    {"direction_of", direction_of, METH_O, NULL},
    {"after_fork", after_fork, METH_NOARGS, "Know that the other threads are the parent's."},
    {"next_by_slot", (PyCFunction)(void (*)(void))grpc_guard_next_by_slot, METH_FASTCALL,
     "Have next() of a class call what is in a slot, without a lookup."},
    {"attributes_by_slot", (PyCFunction)(void (*)(void))grpc_guard_attributes_by_slot, METH_FASTCALL,
     "Have attributes of a class found without a look at what finds them."},
    {"calls_by_slot", grpc_guard_calls_by_slot, METH_O, "Have a class called without a lookup."},
    {"key_of", key_of, METH_O, "Return what directions have as the caller of an operation."},
    {"operations_in_progress", operations_in_progress, METH_NOARGS,
     "Return the directions that an operation of this module owns."},
    {"reading_responses", reading_responses, METH_O, NULL},
    {"reading_responses_or_metadata", (PyCFunction)(void (*)(void))reading_responses_or_metadata,
     METH_FASTCALL, NULL},
    {"reading_requests", reading_requests, METH_O, NULL},
    {"taking_requests", taking_requests, METH_O, NULL},
    {"taking_responses", taking_responses, METH_O, NULL},
    {"sending_responses", sending_responses, METH_O, NULL},
    {NULL},
};

#define EACH_NAME(DO) \
    DO(monotonic) DO(get_ident) DO(contended) DO(used_after_end) DO(initial_metadata) DO(response) DO(ended) \
    DO(signature_of)

int
grpc_guard_add_steps(PyObject *module, State *state)
{
    Steps *steps = &state->steps;
    steps->live = (Links){&steps->live, &steps->live};
#define INTERN(name) \
    if ((steps->str_##name = PyUnicode_InternFromString(#name)) == NULL) { \
        return -1; \
    }
    EACH_NAME(INTERN)
#undef INTERN
    if ((steps->str_next = PyUnicode_InternFromString("__next__")) == NULL) {
        return -1;
    }
    for (int kind = 0; kind < KINDS; kind++) {
        steps->operations[kind] = PyUnicode_InternFromString(grpc_guard_kinds[kind].operation);
        if (steps->operations[kind] == NULL) {
            return -1;
        }
    }
    if (grpc_guard_add_type(module, &steps->type, &grpc_guard_sync_operation, NULL) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, module_methods);
}

int
grpc_guard_steps_traverse(Steps *steps, visitproc visit, void *arg)
{
    Py_VISIT(steps->type);
    Py_VISIT(steps->namespace);
    return 0;
}

void
grpc_guard_steps_clear(Steps *steps)
{
#define CLEAR(name) Py_CLEAR(steps->str_##name);
    EACH_NAME(CLEAR)
#undef CLEAR
    Py_CLEAR(steps->str_next);
    for (int kind = 0; kind < KINDS; kind++) {
        Py_CLEAR(steps->operations[kind]);
    }
    Py_CLEAR(steps->type);
    Py_CLEAR(steps->namespace);
}

void
grpc_guard_leave_list(Links *head)
{
    Links *one = head->next;
    while (one != NULL && one != head) { /* NULL: the module was not made to its end */
        Links *next = one->next;
        *one = (Links){NULL, NULL};
        one = next;
    }
}
