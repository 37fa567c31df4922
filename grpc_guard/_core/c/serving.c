/* Handlers of grpc.aio as the bytes of a message: the same as _aio_handlers() of _inspect/servers.py,
 * and then encoding.c, without the records.
 */

#include "serving.h"

/* Tells whether a task is of the loop; -1: an error is set. */
static int
is_of_loop(Serving *self, PyObject *task)
{
    if (self->loop == Py_None) {
        return 1; /* there is no other one */
    }
    PyObject *loop = PyObject_CallMethodNoArgs(task, self->get_loop);
    Py_XDECREF(loop); /* the task holds it */
    return loop == NULL ? -1 : loop == self->loop;
}

/* Returns the RPC that a task is named after, or None, and its name as it is shown, in a tuple. */
static PyObject *
names_of(Serving *self, PyObject *task)
{
    PyObject *name = grpc_guard_name_in_task(self->crowd->state, task);
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
                 || grpc_guard_put_party(self->buffer, &of[HANDLER], party) < 0;
    size_t end = self->buffer->bytes.size;
    failed = failed || grpc_guard_put_length_at(&self->buffer->bytes, at) < 0;
    self->held_at += self->buffer->bytes.size - end;
    return failed ? -1 : 0;
}

/* Finds for how long a task handles an RPC, if it is this: 1; 0 if Python has to look at where
 * the generator of the handler is; -1: an error is set. */
static int
find_held(State *state, Serving *self, const HandledOne *noted, PyObject *rpc, double *held)
{
    *held = -1.0;
    if (noted == NULL) {
        return 1;
    }
    StreamFields *stream = IS_STREAM(state, noted->what) ? (StreamFields *)noted->what : NULL;
    PyObject *its = stream == NULL ? noted->what : stream->rpc;
    double since = noted->since;
    if (its == NULL || (stream == NULL && !PyUnicode_Check(its))) {
        return 0;
    }
    int is_it = its == rpc ? 1 : PyObject_RichCompareBool(its, rpc, Py_EQ);
    if (is_it <= 0) {
        return is_it < 0 ? -1 : 1;
    }
    *held = since < self->present ? self->present - since : 0.0;
    if (stream == NULL) {
        return 1;
    }
    PyObject *write = grpc_guard_writer(stream, NULL);
    int is_plain = write != NULL && (write == Py_None || (PyObject *)Py_TYPE(write) == self->plain);
    Py_XDECREF(write);
    return write == NULL ? -1 : is_plain;
}

int
grpc_guard_put_key(Serving *self, const HandledOne *noted, double held, size_t begin)
{
    Key key = {.held = held, .size = self->buffer->bytes.size - begin};
    key.number = noted == NULL ? 0 : (unsigned int)(noted - grpc_guard_all_handled(self->streams)) + 1;
    return grpc_guard_put(&self->scratch->keys, (const char *)&key, sizeof(Key));
}

/* Puts the handler that Python describes; -1: an error is set. */
static int
put_record(Serving *self, PyObject *task, PyObject *stack)
{
    size_t begin = self->buffer->bytes.size;
    PyObject *both = PyObject_CallFunctionObjArgs(self->one, task, stack, NULL);
    if (both == NULL) {
        return -1;
    }
    int failed = !PyTuple_Check(both) || PyTuple_GET_SIZE(both) != 2;
    if (failed) {
        PyErr_SetString(PyExc_TypeError, "a handler is described by seconds and a record");
    }
    double held = failed ? -1.0 : PyFloat_AsDouble(PyTuple_GET_ITEM(both, 0));
    failed = failed || (held == -1.0 && PyErr_Occurred())
             || grpc_guard_put_tag(self->buffer, &self->field) < 0
             || grpc_guard_put_nested(self->buffer, self->field.of, PyTuple_GET_ITEM(both, 1)) < 0
             || grpc_guard_put_key(self, NULL, held, begin) < 0;
    Py_DECREF(both);
    return failed ? -1 : 0;
}

/* Puts the handler in a task, at this stack; -1: an error is set. */
static int
put_one(State *state, Serving *self, PyObject *task, PyObject *stack)
{
    const HandledOne *noted = grpc_guard_handled_by(self->streams, (uintptr_t)task);
    int is_put = grpc_guard_put_handler_copy(state, self, noted, task, stack);
    if (is_put != 0) {
        return is_put < 0 ? -1 : 0;
    }
    Py_INCREF(task);
    PyObject *names = names_of(self, task);
    if (names == NULL) {
        Py_DECREF(task);
        return -1;
    }
    PyObject *rpc = PyTuple_GET_ITEM(names, 0);
    int is_known = 1;
    if (rpc == Py_None) {
        rpc = self->unnamed;
        is_known = noted == NULL;
    }
    Party party = {
        .kind = self->kind,
        .name = PyTuple_GET_ITEM(names, 1),
        .operation = self->operation,
        .stack = stack,
        .relation = self->relation,
        .held_at = &self->held_at,
    };
    size_t begin = self->buffer->bytes.size;
    int is_usual = is_known ? find_held(state, self, noted, rpc, &party.held) : 0;
    int failed = is_usual;
    if (is_usual == 0) {
        failed = put_record(self, task, stack);
    }
    else if (is_usual > 0) {
        int is_held = party.held >= 0.0;
        failed = put_handler(self, rpc, &party) < 0
                         || grpc_guard_put_key(self, is_held ? noted : NULL, is_held ? party.held : 0.0, begin) < 0
                     ? -1
                     : 0;
        if (failed == 0 && is_held) {
            failed = grpc_guard_keep_handler_copy(state, self, noted, task, stack, begin);
        }
    }
    Py_DECREF(names);
    Py_DECREF(task);
    return failed;
}

/* Returns what a task that follows handles, if that was found; its stream is one of ours. */
static const HandledOne *
ahead(State *state, Serving *self, Py_ssize_t at)
{
    unsigned int row = self->ahead[at % AHEAD];
    const HandledOne *one = row == 0 || row > self->streams->table.count
                                ? NULL : &grpc_guard_all_handled(self->streams)[row - 1];
    return one == NULL || !IS_STREAM(state, one->what) ? NULL : one;
}

/* Has what is needed of the tasks that follow the one at this place fetched, each from where the last step leads. */
static void
fetch_ahead(State *state, Serving *self, PyObject *const *tasks, Py_ssize_t left, Py_ssize_t at)
{
    if (left > 16) {
        if (self->loop != Py_None) {
            FETCH(tasks[16]);
        }
        grpc_guard_fetch_row(&self->streams->table, sizeof(HandledOne), (uintptr_t)tasks[16], 1);
    }
    const HandledOne *later = left > 12 ? grpc_guard_handled_by(self->streams, (uintptr_t)tasks[12]) : NULL;
    self->ahead[(at + 12) % AHEAD] = later == NULL ? 0 : (unsigned int)(later - grpc_guard_all_handled(self->streams)) + 1;
    if (later != NULL) {
        FETCH_LINES(later->what, self->copies != NULL ? 112 : sizeof(StreamFields));
    }
    later = left > 8 ? ahead(state, self, at + 8) : NULL;
    if (later != NULL) {
        const StreamFields *stream = (StreamFields *)later->what;
        FETCH(stream->write == Py_True ? stream->writer : stream->write);
        const Copied *one = self->copies == NULL ? NULL : grpc_guard_box_of(self->copies, stream);
        if (one != NULL) {
            FETCH_LINES(one, sizeof(Copied));
            FETCH(stream->reader);
        }
        else {
            FETCH((const char *)tasks[8] + 128); /* its name */
        }
    }
    later = left > 4 ? ahead(state, self, at + 4) : NULL;
    if (later != NULL && grpc_guard_copy_of(self->copies, (StreamFields *)later->what) != NULL) {
        grpc_guard_fetch_seen(self->crowd, ((StreamFields *)later->what)->reader, 1);
    }
}

/* Puts the handlers in so many tasks of a list at one stack, from `begin` on; -1: an error is set. */
static int
put_all(State *state, Serving *self, PyObject *tasks, Py_ssize_t begin, Py_ssize_t count, PyObject *stack)
{
    for (Py_ssize_t i = begin; i < PyList_GET_SIZE(tasks) && i - begin < count; i++) {
        PyObject *task = PyList_GET_ITEM(tasks, i);
        fetch_ahead(state, self, &((PyListObject *)tasks)->ob_item[i], PyList_GET_SIZE(tasks) - i, i);
        int is_its = is_of_loop(self, task);
        if (is_its < 0 || (is_its > 0 && put_one(state, self, task, stack) < 0)) {
            return -1;
        }
    }
    return 0;
}

static int
is_ready(Serving *self)
{
    self->kind = PyUnicode_InternFromString("task");
    self->operation = PyUnicode_InternFromString("handler");
    self->relation = PyUnicode_InternFromString("inside");
    self->get_loop = PyUnicode_InternFromString("get_loop");
    self->buffer = PyMem_Calloc(1, sizeof(Buffer));
    if (self->buffer == NULL) {
        PyErr_NoMemory();
    }
    return !PyErr_Occurred();
}

/* answer_handlers(known, encoding, tag, tasks, begin, count, stack, scratch): puts the handlers in so many tasks at
 * one stack, for handlers_in_order(). */
static PyObject *
answer_handlers(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    Serving self = {0};
    PyObject *known, *tasks, *stack, *copies;
    const char *tag;
    Py_ssize_t size, begin, count;
    if (!PyArg_ParseTuple(args, "O!O!y#O!nnO!O!:answer_handlers", &PyTuple_Type, &known, state->encoding,
                          &self.field.of, &tag, &size, &PyList_Type, &tasks, &begin, &count, &PyTuple_Type, &stack,
                          state->scratch, &self.scratch)
        || !PyArg_ParseTuple(known, "OO!O!O!OOUdOO!:answer_handlers", &self.loop, state->handled,
                             &self.streams, &PyType_Type, &self.plain, &PyDict_Type, &self.names,
                             &self.named, &self.one, &self.unnamed, &self.present, &copies, state->crowd, &self.crowd)
        || grpc_guard_take_tag(&self.field, tag, size) < 0) {
        return NULL;
    }
    if (copies != Py_None && !Py_IS_TYPE(copies, state->copies)) {
        return PyErr_Format(PyExc_TypeError, "%R is not what the last answer said", copies);
    }
    self.copies = copies == Py_None ? NULL : (Copies *)copies;
    const Encoding *party = Py_SIZE(self.field.of) == OF_HANDLER ? self.field.of->fields[HANDLER].of : NULL;
    if (party == NULL || Py_SIZE(party) != OF_PARTY) {
        return PyErr_Format(PyExc_TypeError, "answer_handlers() takes the encoding of handlers");
    }
    if (begin < 0 || !grpc_guard_scratch_is_free(self.scratch)) {
        return begin < 0 ? PyErr_Format(PyExc_ValueError, "no such tasks") : NULL;
    }
    int failed = !is_ready(&self);
    if (!failed) {
        grpc_guard_borrow_memory(self.buffer, self.scratch);
        failed = put_all(state, &self, tasks, begin, count, stack) < 0;
        grpc_guard_return_memory(self.buffer, self.scratch);
    }
    if (self.buffer != NULL) {
        grpc_guard_free_buffer(self.buffer);
    }
    Py_XDECREF(self.kind);
    Py_XDECREF(self.operation);
    Py_XDECREF(self.relation);
    Py_XDECREF(self.get_loop);
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef module_methods[] = {
    {"answer_handlers", answer_handlers, METH_VARARGS, "Return the bytes of handlers: see servers.py."},
    {NULL},
};

int
grpc_guard_add_serving(PyObject *module, State *state)
{
    return grpc_guard_add_scratch(module, state) < 0 || grpc_guard_add_ordering(module, state) < 0
               ? -1
               : PyModule_AddFunctions(module, module_methods);
}
