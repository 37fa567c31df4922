/* Handlers of grpc.aio as the bytes of a message: the same as _aio_handlers() of _inspect/servers.py,
 * and then encoding.c, without the records.
 */

#include "crowds.h"
#include "encodings.h"

enum { RPC, HANDLER, OVER, OF_HANDLER };

typedef struct {
    Buffer *buffer;
    Field field; /* of the handlers in their message */
    PyObject *loop, *streams, *plain; /* whose tasks they are; Handlers.streams(); AioDirection */
    PyObject *names, *named, *one; /* what is known of a name; functions in Python */
    PyObject *unnamed, *kind, *operation, *relation;
    PyObject *get_loop, *get_name;
    double present;
} Serving;

/* Tells whether a task is of the loop; -1: an error is set. */
static int
is_of_loop(Serving *self, PyObject *task)
{
    PyObject *loop = PyObject_CallMethodNoArgs(task, self->get_loop);
    Py_XDECREF(loop); /* the task holds it */
    return loop == NULL ? -1 : loop == self->loop;
}

/* Returns the RPC that a task is named after, or None, and its name as it is shown, in a tuple. */
static PyObject *
names_of(Serving *self, PyObject *task)
{
    PyObject *name = PyObject_CallMethodNoArgs(task, self->get_name);
    PyObject *known = name == NULL ? NULL : PyDict_GetItemWithError(self->names, name);
    Py_XINCREF(known);
    if (known == NULL && name != NULL && !PyErr_Occurred()) {
        known = PyObject_CallOneArg(self->named, task);
        int is_pair = known != NULL && PyTuple_Check(known) && PyTuple_GET_SIZE(known) == 2;
        if (known != NULL && !is_pair) {
            PyErr_SetString(PyExc_TypeError, "a task has two names");
        }
        if (!is_pair || PyDict_SetItem(self->names, name, known) < 0) {
            Py_CLEAR(known);
        }
    }
    Py_XDECREF(name);
    return known;
}

/* Puts the handler in a task; -1: an error is set. */
static int
put_handler(Serving *self, PyObject *rpc, const Party *party)
{
    const Field *of = self->field.of->fields;
    if (grpc_guard_put_tag(self->buffer, &self->field) < 0) {
        return -1;
    }
    size_t at = self->buffer->bytes.size;
    int failed = grpc_guard_put_text(self->buffer, &of[RPC], rpc) < 0
                 || grpc_guard_put_party(self->buffer, &of[HANDLER], party) < 0
                 || grpc_guard_put_length_at(&self->buffer->bytes, at) < 0;
    return failed ? -1 : 0;
}

/* Finds for how long a task handles a stream, if its RPC is this: 1; 0 if Python has to look at where
 * the generator of the handler is; -1: an error is set. */
static int
find_held(State *state, Serving *self, PyObject *noted, PyObject *rpc, double *held)
{
    *held = -1.0;
    if (noted == NULL) {
        return 1;
    }
    StreamFields *stream = (StreamFields *)PyTuple_GET_ITEM(noted, 0);
    if (!IS_STREAM(state, (PyObject *)stream) || stream->rpc == NULL) {
        return 0;
    }
    int is_it = stream->rpc == rpc ? 1 : PyObject_RichCompareBool(stream->rpc, rpc, Py_EQ);
    if (is_it <= 0) {
        return is_it < 0 ? -1 : 1;
    }
    double since = PyFloat_AsDouble(PyTuple_GET_ITEM(noted, 1));
    if (since == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    *held = since < self->present ? self->present - since : 0.0;
    PyObject *write = grpc_guard_writer(stream, NULL);
    int is_plain = write != NULL && (write == Py_None || (PyObject *)Py_TYPE(write) == self->plain);
    Py_XDECREF(write);
    return write == NULL ? -1 : is_plain;
}

/* Returns (seconds, bytes) of the handler that Python describes. */
static PyObject *
by_record(Serving *self, PyObject *task, PyObject *stack)
{
    PyObject *both = PyObject_CallFunctionObjArgs(self->one, task, stack, NULL), *found = NULL;
    if (both == NULL) {
        return NULL;
    }
    if (!PyTuple_Check(both) || PyTuple_GET_SIZE(both) != 2) {
        PyErr_SetString(PyExc_TypeError, "a handler is described by seconds and a record");
    }
    else if (grpc_guard_put_tag(self->buffer, &self->field) == 0
             && grpc_guard_put_nested(self->buffer, self->field.of, PyTuple_GET_ITEM(both, 1)) == 0) {
        Bytes *bytes = &self->buffer->bytes;
        found = Py_BuildValue("(Oy#)", PyTuple_GET_ITEM(both, 0), bytes->start,
                              (Py_ssize_t)bytes->size);
    }
    Py_DECREF(both);
    return found;
}

/* Returns (seconds, bytes) of the handler in a task, at this stack. */
static PyObject *
described(State *state, Serving *self, PyObject *task, PyObject *stack)
{
    PyObject *found = NULL, *noted, *names = names_of(self, task);
    if (names == NULL || grpc_guard_by_identity(self->streams, task, &noted) < 0) {
        Py_XDECREF(names);
        return NULL;
    }
    PyObject *rpc = PyTuple_GET_ITEM(names, 0);
    int is_known = noted == NULL || (PyTuple_Check(noted) && PyTuple_GET_SIZE(noted) == 2);
    if (rpc == Py_None) {
        rpc = self->unnamed;
        is_known = is_known && noted == NULL;
    }
    Party party = {
        .kind = self->kind,
        .name = PyTuple_GET_ITEM(names, 1),
        .operation = self->operation,
        .stack = stack,
        .relation = self->relation,
    };
    int is_usual = is_known ? find_held(state, self, noted, rpc, &party.held) : 0;
    self->buffer->bytes.size = 0;
    if (is_usual == 0) {
        found = by_record(self, task, stack);
    }
    else if (is_usual > 0 && put_handler(self, rpc, &party) == 0) {
        Bytes *bytes = &self->buffer->bytes;
        found = Py_BuildValue("(dy#)", party.held < 0.0 ? 0.0 : party.held, bytes->start,
                              (Py_ssize_t)bytes->size);
    }
    Py_XDECREF(noted);
    Py_DECREF(names);
    return found;
}

/* Returns the task in a tuple, or NULL, borrowed. */
static PyObject *
task_in(PyObject *both)
{
    return PyTuple_Check(both) && PyTuple_GET_SIZE(both) == 2 ? PyTuple_GET_ITEM(both, 0) : NULL;
}

/* Returns the stream that a task was noted to handle, or NULL, borrowed. */
static StreamFields *
stream_of(State *state, Serving *self, PyObject *both)
{
    PyObject *task = task_in(both), *noted;
    if (task == NULL || grpc_guard_by_identity(self->streams, task, &noted) <= 0) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *stream = PyTuple_Check(noted) && PyTuple_GET_SIZE(noted) == 2
                           ? PyTuple_GET_ITEM(noted, 0)
                           : NULL;
    Py_DECREF(noted); /* the table has it */
    return stream != NULL && IS_STREAM(state, stream)
               ? (StreamFields *)stream
               : NULL;
}

/* Has what is needed of the tasks that follow fetched. */
static void
fetch_ahead(State *state, Serving *self, PyObject *const *tasks, Py_ssize_t left)
{
    if (left > 12 && task_in(tasks[12]) != NULL) {
        FETCH_LINES(task_in(tasks[12]), 256);
    }
    StreamFields *stream = left > 8 ? stream_of(state, self, tasks[8]) : NULL;
    if (stream != NULL) {
        FETCH(stream->write == Py_True ? stream->writer : stream->write);
    }
}

static PyObject *
describe_all(State *state, Serving *self, PyObject *tasks)
{
    PyObject *found = PyList_New(0);
    for (Py_ssize_t i = 0; found != NULL && i < PyTuple_GET_SIZE(tasks); i++) {
        PyObject *both = PyTuple_GET_ITEM(tasks, i), *one = NULL;
        fetch_ahead(state, self, &PyTuple_GET_ITEM(tasks, i), PyTuple_GET_SIZE(tasks) - i);
        int is_pair = PyTuple_Check(both) && PyTuple_GET_SIZE(both) == 2;
        if (!is_pair) {
            PyErr_SetString(PyExc_TypeError, "a task and its stack are a tuple");
        }
        int is_its = is_pair ? is_of_loop(self, PyTuple_GET_ITEM(both, 0)) : -1;
        if (is_its > 0) {
            one = described(state, self, PyTuple_GET_ITEM(both, 0), PyTuple_GET_ITEM(both, 1));
        }
        if (is_its < 0 || (is_its > 0 && (one == NULL || PyList_Append(found, one) < 0))) {
            Py_CLEAR(found);
        }
        Py_XDECREF(one);
    }
    return found;
}

static int
is_ready(Serving *self)
{
    self->kind = PyUnicode_InternFromString("task");
    self->operation = PyUnicode_InternFromString("handler");
    self->relation = PyUnicode_InternFromString("inside");
    self->get_loop = PyUnicode_InternFromString("get_loop");
    self->get_name = PyUnicode_InternFromString("get_name");
    self->buffer = PyMem_Calloc(1, sizeof(Buffer));
    if (self->buffer == NULL) {
        PyErr_NoMemory();
    }
    return !PyErr_Occurred();
}

/* answer_handlers(known, encoding, tag, tasks): seconds and bytes of the handler in each, in a list. */
static PyObject *
answer_handlers(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    Serving self = {0};
    PyObject *known, *tasks, *found = NULL;
    const char *tag;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "O!O!y#O:answer_handlers", &PyTuple_Type, &known, state->encoding,
                          &self.field.of, &tag, &size, &tasks)
        || !PyArg_ParseTuple(known, "OO!O!O!OOUd:answer_handlers", &self.loop, &PyDict_Type,
                             &self.streams, &PyType_Type, &self.plain, &PyDict_Type, &self.names,
                             &self.named, &self.one, &self.unnamed, &self.present)
        || grpc_guard_take_tag(&self.field, tag, size) < 0) {
        return NULL;
    }
    const Encoding *party = Py_SIZE(self.field.of) == OF_HANDLER ? self.field.of->fields[HANDLER].of : NULL;
    if (party == NULL || Py_SIZE(party) != OF_PARTY) {
        return PyErr_Format(PyExc_TypeError, "answer_handlers() takes the encoding of handlers");
    }
    PyObject *all = PySequence_Tuple(tasks);
    if (all != NULL && is_ready(&self)) {
        found = describe_all(state, &self, all);
    }
    if (self.buffer != NULL) {
        grpc_guard_free_buffer(self.buffer);
    }
    Py_XDECREF(self.kind);
    Py_XDECREF(self.operation);
    Py_XDECREF(self.relation);
    Py_XDECREF(self.get_loop);
    Py_XDECREF(self.get_name);
    Py_XDECREF(all);
    return found;
}

static PyMethodDef module_methods[] = {
    {"answer_handlers", answer_handlers, METH_VARARGS, "Return the bytes of handlers: see servers.py."},
    {NULL},
};

int
grpc_guard_add_serving(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
