/* What a handler yields: from the yield until gRPC asks for the next message, which is when it has
 * written that below the proxies, the handler owns the writing direction. The same as _generate() of
 * _proxies/aio/handlers.py.
 */

#include "aio_generated.h"

USUAL void
grpc_guard_is_written(Generated *self)
{
    if (self->owns) {
        self->owns = 0;
        ((AioFields *)self->direction)->taken = 0;
    }
}

USUAL void
grpc_guard_handler_has_ended(Generated *self)
{
    if (self->has_begun) {
        SET(((StreamFields *)self->stream)->ended, Py_NewRef(Py_True));
    }
}

/* Notes the task that handles the stream, and where it does: see Stream.handler. */
static int
note_handler(State *state, Generated *self)
{
    StreamFields *stream = (StreamFields *)self->stream;
    PyObject *loop = stream->loop == NULL ? Py_NewRef(Py_None) : Py_NewRef(stream->loop);
    PyObject *records = self->records;
    int failed = 0;
    self->records = NULL;
    if (records != NULL) {
        failed = grpc_guard_begin_flight(state, records, &self->flight, self->stream, loop) < 0
                 || grpc_guard_flight_waits(&self->flight) < 0;
        Py_DECREF(records);
    }
    Py_DECREF(loop);
    if (self->flight.task != NULL) {
        SET(self->task, Py_NewRef(self->flight.task));
        stream->generated = (PyObject *)self;
    }
    return failed ? -1 : 0;
}

/* Returns weak references to the task and the generator of the handler. */
static PyObject *
handler_of(Generated *self)
{
    PyObject *task = Py_NewRef(self->task);
    PyObject *held = Py_NewRef(self->responses); /* a collection may find `self` */
    PyObject *responses = PyWeakref_NewRef(held, NULL);
    PyObject *both = responses == NULL ? NULL : PyTuple_Pack(2, task, responses);
    Py_DECREF(task);
    Py_DECREF(held);
    Py_XDECREF(responses);
    return both;
}

PyObject *
grpc_guard_get_handler(StreamFields *self, void *closure)
{
    if (self->generated != NULL) {
        return handler_of((Generated *)self->generated);
    }
    if (self->handler == NULL) {
        PyErr_SetString(PyExc_AttributeError, "handler");
        return NULL;
    }
    return Py_NewRef(self->handler);
}

int
grpc_guard_set_handler(StreamFields *self, PyObject *handler, void *closure)
{
    self->generated = NULL;
    SET(self->handler, Py_XNewRef(handler));
    return 0;
}

/* Tells whether somebody has the direction; -1: an exception is set. One that is broken is of a class in
 * Python, which reports its use. */
static int
is_taken(State *state, PyObject *direction)
{
    PyObject *teller = state->starts.is_taken_at_yield;
    if ((PyObject *)Py_TYPE(direction) == state->aio_direction || teller == NULL) {
        return ((AioFields *)direction)->taken != 0;
    }
    PyObject *answer = PyObject_CallOneArg(teller, direction);
    int taken = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return taken;
}

/* Claims the direction for what was yielded: 1, 0 if somebody has it, or -1 with an exception set. */
static int
claim(State *state, Generated *self)
{
    AioFields *direction = (AioFields *)self->direction;
    double since;
    int taken = is_taken(state, self->direction);
    if (taken != 0 || grpc_guard_time(state, &since) < 0) {
        return taken > 0 ? 0 : -1;
    }
    direction->taken = 1;
    self->owns = 1;
    direction->since = since;
    return 1;
}

/* Returns what the generator of the handler does for a step. */
static UNUSUAL PyObject *
make_inner(State *state, Step *self)
{
    PyObject *responses = self->responses, *made = NULL, *method;
    switch (self->act) {
    case NEXT:
        made = PyObject_CallMethodOneArg(responses, state->str_asend, Py_None);
        break;
    case SEND:
        made = PyObject_CallMethodOneArg(responses, state->str_asend, self->given);
        break;
    case THROW:
        method = PyObject_GetAttr(responses, state->str_athrow);
        made = method == NULL ? NULL : PyObject_Call(method, self->given, NULL);
        Py_XDECREF(method);
        break;
    default:
        made = PyObject_CallMethodNoArgs(responses, state->str_aclose);
    }
    return made == NULL ? NULL : grpc_guard_awaited(state, made);
}

USUAL int
grpc_guard_begin_step(State *state, Step *self)
{
    Generated *generated = (Generated *)self->generated;
    self->counts = !generated->is_running;
    if (USUALLY(self->counts)) {
        grpc_guard_is_written(generated);
        if (!USUALLY(self->act != CLOSE)) {
            int is_its_task = grpc_guard_runs_in_its_task(state, generated);
            if (is_its_task < 0) {
                return -1;
            }
            if (!is_its_task) { /* else an interceptor closes it, and the RPC lives */
                grpc_guard_handler_has_ended(generated); /* further use by the handler is too late */
            }
        }
        else if (!USUALLY(generated->has_begun) && note_handler(state, generated) < 0) {
            return -1;
        }
        generated->is_running = 1;
        generated->has_begun |= self->act != CLOSE;
    }
    self->inner = USUALLY(self->act == NEXT && PyAsyncGen_CheckExact(self->responses))
                      ? PyAsyncGen_Type.tp_as_async->am_anext(self->responses)
                      : make_inner(state, self);
    return self->inner == NULL ? -1 : 0;
}

/* Tells whether the generator of the handler shows no frame any more. */
static int
is_over(State *state, PyObject *responses)
{
    PyObject *frame = PyObject_GetAttr(responses, state->str_ag_frame);
    PyErr_Clear();
    Py_XDECREF(frame);
    return frame == NULL || frame == Py_None;
}

/* Tells whether an error has ended the generator; one that cannot be begun or sent to has not. */
static int
has_ended(State *state, Generated *self)
{
    if (PyErr_ExceptionMatches(PyExc_StopAsyncIteration)) {
        return 1;
    }
    PyObject *error = take_exception();
    int ended = is_over(state, self->responses);
    set_exception(error);
    return ended;
}

/* A step has ended by the exception that is set. */
static USUAL void
fail(State *state, Step *self)
{
    Generated *generated = (Generated *)self->generated;
    self->progress = CLOSED;
    Py_CLEAR(self->inner);
    if (!self->counts) {
        return;
    }
    generated->is_running = 0;
    if (has_ended(state, generated)) {
        PyObject *told[] = {generated->stream, NULL};
        grpc_guard_tell_of_cancel(state, state->handler_cancelled, told, 2, 1);
        grpc_guard_handler_has_ended(generated);
        grpc_guard_end_flight(&generated->flight);
    }
}

/* Has the refusal of a message thrown into the handler, if it is refused: 1, else 0. */
static int
is_refused(State *state, Step *self)
{
    PyObject *direction = ((Generated *)self->generated)->direction;
    PyObject *report = state->starts.report_conflict;
    PyObject *nothing =
        report == NULL ? Py_NewRef(Py_None)
                       : PyObject_CallFunctionObjArgs(report, direction, state->str_yield, NULL);
    Py_XDECREF(nothing);
    return nothing == NULL;
}

/* Throws the exception that is set into the handler, whose answer is what is driven then. */
static int
throw_in(State *state, Step *self)
{
    PyObject *error = take_exception();
    PyObject *made = PyObject_CallMethodOneArg(self->responses, state->str_athrow, error);
    Py_XDECREF(error);
    SET(self->inner, made == NULL ? NULL : grpc_guard_awaited(state, made));
    return self->inner == NULL ? -1 : 0;
}

/* Takes what is driven to be done: it has returned `*result`, a message. */
static PySendResult
finish(State *state, Step *self, PyObject **result)
{
    Generated *generated = (Generated *)self->generated;
    PySendResult status = PYGEN_RETURN;
    int yields = self->counts && self->act != CLOSE;
    if (yields && self->act == THROW) {
        yields = !is_over(state, self->responses); /* else CPython 3.11 returns None */
    }
    while (status == PYGEN_RETURN && yields) {
        int claimed = claim(state, generated);
        if (claimed > 0 || (claimed == 0 && !is_refused(state, self))) {
            break;
        }
        Py_CLEAR(*result); /* it is not written */
        status = throw_in(state, self) < 0 ? PYGEN_ERROR : PyIter_Send(self->inner, Py_None, result);
    }
    if (status == PYGEN_NEXT) {
        self->progress = SUSPENDED;
    }
    else if (status == PYGEN_ERROR) {
        fail(state, self);
    }
    else {
        self->progress = CLOSED;
        Py_CLEAR(self->inner);
        if (self->counts) {
            generated->is_running = 0;
        }
        if (self->counts && self->act == CLOSE) {
            grpc_guard_handler_has_ended(generated);
            grpc_guard_end_flight(&generated->flight);
        }
    }
    return status;
}

USUAL int
grpc_guard_is_yielded(State *state, Step *self)
{
    Generated *generated = (Generated *)self->generated;
    AioFields *direction = (AioFields *)generated->direction;
    if (!USUALLY(HAS_CLOCK && self->counts && (PyObject *)Py_TYPE(direction) == state->aio_direction
                 && !direction->taken)) {
        return 0;
    }
    direction->taken = 1;
    generated->owns = 1;
    direction->since = grpc_guard_just_now();
    generated->is_running = 0;
    self->progress = CLOSED;
    Py_CLEAR(self->inner);
    return 1;
}

USUAL PySendResult
grpc_guard_after_step(State *state, Step *self, PySendResult status, PyObject **result)
{
    if (status == PYGEN_RETURN) {
        return finish(state, self, result);
    }
    if (status == PYGEN_NEXT) {
        self->progress = SUSPENDED;
    }
    else {
        fail(state, self);
    }
    return status;
}
