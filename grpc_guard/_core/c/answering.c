/* Live streams as the bytes of a message: the same as telling.c and then encoding.c, without the records.
 *
 * A record is made where somebody looks at it: of a stream that is not like most, and of one that may
 * wait for its peer.
 */

#include "answering.h"

static int
put_enum(Answer *self, const Field *field, PyObject *named)
{
    PyObject *text = grpc_guard_text_of(&self->look, named);
    int failed = text == NULL || grpc_guard_put_text(self->buffer, field, text) < 0;
    Py_XDECREF(text);
    return failed ? -1 : 0;
}

/* Puts how long ago a stream began, and who has started it, as far as that is known. */
static int
put_start(Answer *self, const Started *started, const HandledOne *handled)
{
    if (started == NULL && handled == NULL) {
        return 0;
    }
    self->began = started == NULL ? handled->since : started->since;
    int failed = grpc_guard_put_double(self->buffer, &self->stream[AGE], self->look.present - self->began);
    self->times[ITS_AGE] = self->buffer->bytes.size - sizeof(double);
    return failed < 0 || started == NULL ? failed : grpc_guard_put_starter(self, started);
}

static int
put_stream(Answer *self, StreamFields *stream, long number, const Ways *ways,
           const Started *started, const HandledOne *handled)
{
    Buffer *buffer = self->buffer;
    const Field *of = self->stream;
    memset(self->times, 0, sizeof(self->times));
    self->channel_number = grpc_guard_number_of(self, stream->channel);
    if (self->channel_number < -1 || grpc_guard_put_tag(buffer, &self->field) < 0) {
        return -1;
    }
    size_t at = buffer->bytes.size;
    int failed = grpc_guard_put_int(buffer, &of[NUMBER], number) < 0;
    size_t from = buffer->bytes.size;
    failed = failed || grpc_guard_put_text(buffer, &of[RPC], stream->rpc) < 0
             || put_enum(self, &of[SIDE], stream->side) < 0
             || put_enum(self, &of[API], stream->api) < 0
             || put_enum(self, &of[MODE], stream->mode) < 0
             || grpc_guard_put_text(buffer, &of[STATE], ways->state) < 0
             || put_start(self, started, handled) < 0;
    if (!failed && self->channel_number >= 0) {
        failed = grpc_guard_put_int(buffer, &of[CHANNEL], (unsigned long long)self->channel_number) < 0;
    }
    failed = failed || grpc_guard_put_direction(self, &of[READ_WAY], &ways->read) < 0
             || grpc_guard_put_direction(self, &of[WRITE_WAY], &ways->write) < 0;
    size_t end = buffer->bytes.size;
    failed = failed || grpc_guard_close(self, at, 0, TIMES) < 0;
    self->count += !failed && self->channel_number >= 0;
    from += buffer->bytes.size - end; /* as far as the length has moved it */
    return failed ? -1 : grpc_guard_keep_copy(self, stream, number, from, ways);
}

/* Puts the record of a stream, and notes what was told of it; -1: an error is set. */
static int
put_told(Answer *self, PyObject *told)
{
    if (!PyTuple_Check(told) || PyTuple_GET_SIZE(told) != 3
        || !Py_IS_TYPE(PyTuple_GET_ITEM(told, 0), self->field.of->kind)) {
        PyErr_SetString(PyExc_TypeError, "what is told is a record, a stream and its directions");
        return -1;
    }
    PyObject *record = PyTuple_GET_ITEM(told, 0);
    PyObject *channel = OF(record, self->stream[CHANNEL].offset);
    int failed = grpc_guard_put_tag(self->buffer, &self->field) < 0
                 || grpc_guard_put_nested(self->buffer, self->field.of, record) < 0
                 || PyList_Append(self->told, told) < 0;
    if (!failed && channel != Py_None) {
        failed = grpc_guard_add_up(self) < 0;
        SET(self->channel, NULL);
        SET(self->number, Py_NewRef(channel));
        self->met_number = -2;
        self->count = 1;
    }
    return failed ? -1 : 0;
}

/* Tells whether a record is needed: a direction is unlike most, or a write may have waited for a reader for
 * longer than a moment. */
static int
needs_record(Answer *self, const Ways *ways)
{
    const Way *write = &ways->write;
    int may_wait = grpc_guard_is_inside(write) && !grpc_guard_is_inside(&ways->read)
                   && ways->read.direction != Py_None;
    int waits = may_wait && (write->noted == NULL || write->noted->held >= self->look.moment);
    return waits || !grpc_guard_is_usual(&self->look, &ways->read)
           || !grpc_guard_is_usual(&self->look, &ways->write);
}

/* Returns what Teller.one() returns of a stream, by way of a record. */
static PyObject *
told_of(Answer *self, PyObject *stream, long number, Ways *ways)
{
    PyObject *its = PyLong_FromLong(number);
    if (its == NULL) {
        return NULL;
    }
    PyObject *told =
        ways == NULL ? PyObject_CallFunctionObjArgs(self->look.one, stream, its, NULL)
                     : grpc_guard_tell(&self->look, (StreamFields *)stream, its, ways);
    Py_DECREF(its);
    return told;
}

/* Puts a stream, if it is not over: 1, else 0; -1: an error is set. */
static int
put_one(State *state, Answer *self, PyObject *stream, long number, Ways *ways)
{
    Started started;
    StreamFields *fields = (StreamFields *)stream;
    int is_put = self->copies == NULL ? 0 : grpc_guard_put_copy(state, self, fields, number);
    if (is_put != 0) {
        return is_put;
    }
    int is_usual = grpc_guard_find_ways(state, &self->look, stream, ways);
    if (is_usual < 0 || (is_usual > 0 && ways->state == NULL)) {
        return is_usual < 0 ? -1 : 0;
    }
    const HandledOne *handled = NULL;
    if (is_usual > 0 && fields->origin == Py_None) {
        handled = grpc_guard_handled_by(self->look.begun, (uintptr_t)stream);
    }
    int is_started = is_usual > 0 && fields->origin != Py_None
                         ? grpc_guard_started(&self->look, fields->origin, &started)
                         : is_usual;
    if (is_started < 0) {
        return -1;
    }
    if (grpc_guard_make_place(self) < 0) {
        return -1;
    }
    if (is_started > 0 && !needs_record(self, ways)) {
        PyObject *origin = Py_NewRef(fields->origin);
        int failed = put_stream(self, fields, number, ways, origin == Py_None ? NULL : &started, handled);
        Py_DECREF(origin);
        return failed < 0 ? -1 : 1;
    }
    PyObject *told = told_of(self, stream, number, is_usual > 0 ? ways : NULL);
    int is_told = told == NULL ? -1 : told != Py_None;
    if (is_told > 0 && put_told(self, told) < 0) {
        is_told = -1;
    }
    Py_XDECREF(told);
    return is_told;
}

/* Puts those of so many streams that are not over, from `begin` on; -1: an error is set. */
static int
put_all(State *state, Answer *self, PyObject *streams, Py_ssize_t begin, Py_ssize_t count)
{
    int failed = 0;
    for (Py_ssize_t i = begin; !failed && i < PyList_GET_SIZE(streams) && i - begin < count; i++) {
        Ways ways = {0};
        PyObject *stream = Py_NewRef(PyList_GET_ITEM(streams, i));
        PyObject **items = ((PyListObject *)streams)->ob_item;
        grpc_guard_fetch_ahead(state, self, &items[i], PyList_GET_SIZE(streams) - i, i);
        long number = 1 + (long)PyList_GET_SIZE(self->streams);
        int is_put = put_one(state, self, stream, number, &ways);
        grpc_guard_forget_ways(&ways);
        failed = is_put < 0 || (is_put > 0 && PyList_Append(self->streams, stream) < 0);
        Py_DECREF(stream);
    }
    return failed || grpc_guard_add_up(self) < 0 ? -1 : 0;
}

/* Finds the fields of the records in that of a stream; -1: an error is set. */
static int
take_fields(Answer *self)
{
    Encoding *stream = self->field.of, *direction = NULL, *party = NULL;
    if (Py_SIZE(stream) == OF_STREAM) {
        direction = stream->fields[READ_WAY].of;
        party = stream->fields[ORIGIN].of;
    }
    if (direction == NULL || Py_SIZE(direction) != OF_DIRECTION || party == NULL
        || Py_SIZE(party) != OF_PARTY || stream->kind != self->look.new_stream->kind
        || party->kind != self->look.new_owner->kind) {
        PyErr_SetString(PyExc_TypeError, "answer_streams() takes the encoding of streams");
        return -1;
    }
    self->stream = stream->fields;
    self->direction = direction->fields;
    return 0;
}

/* answer_streams(look, encoding, tag, some, begin, count, carried, streams, told, scratch, copies):
 * puts so many of these streams, a repeated field with this tag; adds to `carried`, `streams` and `told`.
 * See Teller. */
static PyObject *
answer_streams(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    Answer self = {0};
    PyObject *said, *some, *copies;
    Scratch *scratch;
    const char *tag;
    Py_ssize_t size, begin, count;
    if (!PyArg_ParseTuple(args, "O!O!y#O!nnO!O!O!O!O:answer_streams", &PyTuple_Type, &said,
                          state->encoding, &self.field.of, &tag, &size, &PyList_Type, &some, &begin,
                          &count, &PyDict_Type, &self.carried, &PyList_Type, &self.streams,
                          &PyList_Type, &self.told, state->scratch, &scratch, &copies)) {
        return NULL;
    }
    if (copies != Py_None && !Py_IS_TYPE(copies, state->copies)) {
        return PyErr_Format(PyExc_TypeError, "%R is not what the last answer said", copies);
    }
    self.copies = copies == Py_None ? NULL : (Copies *)copies;
    if (begin < 0 || grpc_guard_take_tag(&self.field, tag, size) < 0
        || !grpc_guard_scratch_is_free(scratch)) {
        return begin < 0 ? PyErr_Format(PyExc_ValueError, "no such streams") : NULL;
    }
    self.buffer = PyMem_Calloc(1, sizeof(Buffer));
    if (self.buffer == NULL) {
        return PyErr_NoMemory();
    }
    int failed = grpc_guard_take_look(state, &self.look, said) < 0 || take_fields(&self) < 0
                 || grpc_guard_take_filter(&self.owners, self.look.owners) < 0
                 || grpc_guard_take_filter(&self.others, self.look.others) < 0;
    if (!failed) {
        if (self.copies != NULL) {
            grpc_guard_begin_in_place(self.copies, scratch);
        }
        self.met_number = -2;
        grpc_guard_borrow_memory(self.buffer, scratch);
        failed = put_all(state, &self, some, begin, count) < 0;
        grpc_guard_return_memory(self.buffer, scratch);
    }
    grpc_guard_forget_look(&self.look);
    grpc_guard_free_buffer(self.buffer);
    Py_XDECREF(self.channel);
    Py_XDECREF(self.number);
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef module_methods[] = {
    {"answer_streams", answer_streams, METH_VARARGS, "Put the bytes of streams: see Teller."},
    {NULL},
};

int
grpc_guard_add_answering(PyObject *module, State *state)
{
    return grpc_guard_add_copies(module, state) < 0 ? -1 : PyModule_AddFunctions(module, module_methods);
}
