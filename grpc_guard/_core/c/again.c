/* Tasks that have gone on, and are inside of another operation of the same stream: they need not be followed.
 *
 * The coroutine that awaits the operation is the task's own one, or that of a handler, which says where it is: what
 * is around it awaits it still, at the same lines. Where nothing of that is shown, its own line says all that there
 * is to say, and what was said of another task at that line is true of this one.
 */

#include "aio.h"
#include "looks.h"
#include "recalls.h"

#include <frameobject.h>

/* Tells whether those who stand so handle an RPC, by the standing's first field. */
static int
is_of_handler(PyObject *standing)
{
    return PyTuple_GET_ITEM(standing, 0) != Py_None;
}

static int
is_one_frame(PyObject *stack)
{
    return PyTuple_Check(stack) && PyTuple_GET_SIZE(stack) == 1;
}

/* Tells whether one line is all that is shown of those who stand so. */
static int
is_alone(PyObject *standing)
{
    return is_one_frame(PyTuple_GET_ITEM(standing, 2))
           && (!is_of_handler(standing) || is_one_frame(PyTuple_GET_ITEM(standing, 0)));
}

/* Returns the coroutine of Python's that a handler in flight drives, which a task does, a new reference; NULL: it is
 * not known. */
static PyObject *
handled_by(PyObject *task, const StreamFields *stream)
{
    const AioRun *run = stream->run;
    PyObject *its = run == NULL || run->flight.links.next == NULL ? NULL : run->flight.task;
    if (its == NULL || !PyWeakref_CheckRefExact(its) || ((PyWeakReference *)its)->wr_object != task) {
        return NULL;
    }
    PyObject *coroutine = run->operation.inner;
    return coroutine != NULL && PyCoro_CheckExact(coroutine) ? Py_NewRef(coroutine) : NULL;
}

/* Returns the coroutine of a task that awaits its operations, a new reference; NULL: it is not known, or an error
 * is set. */
static PyObject *
coroutine_of(const Recollection *self, PyObject *task, const StreamFields *stream, PyObject *standing)
{
    if (is_of_handler(standing)) {
        return handled_by(task, stream);
    }
    PyObject *coroutine = PyObject_CallMethodNoArgs(task, self->str_get_coro);
    if (coroutine != NULL && !PyCoro_CheckExact(coroutine)) {
        Py_CLEAR(coroutine);
    }
    return coroutine;
}

int
grpc_guard_find_line(const Recollection *self, PyObject *task, const StreamFields *stream, PyObject *standing,
                     Awaiting *found)
{
    *found = (Awaiting){NULL};
    PyObject *coroutine = coroutine_of(self, task, stream, standing);
    if (coroutine == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *awaited =
        grpc_guard_runs_now(coroutine) ? Py_NewRef(Py_None) : PyObject_GetAttr(coroutine, self->str_cr_await);
    int is_ours = awaited != NULL && Py_IS_TYPE(awaited, self->state->aio_operation);
    PyObject *frame = is_ours ? PyObject_GetAttr(coroutine, self->str_cr_frame) : NULL;
    int instruction = frame != NULL && PyFrame_Check(frame) ? PyFrame_GetLasti((PyFrameObject *)frame) : -1;
    if (0 <= instruction && instruction / 2 + 1 < MOST_LINES) {
        found->line = instruction / 2 + 1;
        found->operation = Py_NewRef(awaited);
        found->code = (PyObject *)PyFrame_GetCode((PyFrameObject *)frame);
    }
    Py_XDECREF(frame);
    Py_XDECREF(awaited);
    Py_DECREF(coroutine);
    return found->line > 0 ? 1 : PyErr_Occurred() ? -1 : 0;
}

void
grpc_guard_forget_line(Awaiting *found)
{
    Py_CLEAR(found->operation);
    Py_CLEAR(found->code);
}

/* Returns the name of an operation, borrowed; NULL: it has ended. */
static PyObject *
name_of(const Awaiting *found)
{
    const AioMethod *method = (AioMethod *)((AioOperation *)found->operation)->method;
    return method == NULL ? NULL : method->operation;
}

/* Finds what is known of tasks at a line: of those that handle an RPC, or of the others; NULL: nothing. */
static KnownLine *
find(Recollection *self, const Awaiting *found, int of_handler)
{
    PyObject *name = name_of(found);
    for (int i = 0; i < LINES_KNOWN; i++) {
        KnownLine *one = &self->lines[i];
        if (one->code != NULL && one->line == found->line && ((PyWeakReference *)one->code)->wr_object == found->code
            && PyTuple_GET_ITEM(one->standing, 1) == name && is_of_handler(one->standing) == of_handler) {
            return one;
        }
    }
    return NULL;
}

int
grpc_guard_learn_line(Recollection *self, const Awaiting *found, PyObject *standing)
{
    if (!is_alone(standing) || PyTuple_GET_ITEM(standing, 1) != name_of(found)) {
        return 0;
    }
    KnownLine *one = find(self, found, is_of_handler(standing));
    if (one == NULL) {
        PyObject *code = PyWeakref_NewRef(found->code, NULL); /* which may go before this does */
        if (code == NULL) {
            return -1;
        }
        one = &self->lines[self->next_line++ % LINES_KNOWN];
        SET(one->code, code);
        one->line = found->line;
    }
    SET(one->standing, Py_NewRef(standing));
    return 0;
}

/* Returns how tasks stand that await such an operation at this line, borrowed, if that is known of this task. */
static PyObject *
standing_at(Recollection *self, const Recalled *one, const Awaiting *found, int is_write)
{
    const Inside *inside = &one->inside;
    PyObject *standing = one->standing;
    if (found->line == inside->line && is_write == inside->is_write
        && PyTuple_GET_ITEM(standing, 1) == name_of(found)) {
        return standing; /* the same coroutine is at the same line */
    }
    const KnownLine *known = is_alone(standing) ? find(self, found, is_of_handler(standing)) : NULL;
    return known == NULL ? NULL : known->standing;
}

/* The same as grpc_guard_is_again(), where the line is found. */
static int
goes_on_at(Recollection *self, Recalled *one, const StreamFields *stream, const Awaiting *found, PyObject *future)
{
    PyObject *direction = ((AioOperation *)found->operation)->direction;
    if (direction == NULL || !IS_AIO_DIRECTION(self->state, direction)) {
        return 0;
    }
    const AioFields *fields = (AioFields *)direction;
    int is_write = grpc_guard_way_of(stream, 0) != direction;
    if (!grpc_guard_has_inside(fields) || fields->inside != found->operation
        || (is_write && grpc_guard_way_of(stream, 1) != direction)) {
        return 0;
    }
    PyObject *standing = standing_at(self, one, found, is_write);
    if (standing == NULL) {
        return 0;
    }
    Inside *inside = &one->inside;
    inside->operation = found->operation;
    inside->future = future;
    inside->since = fields->since;
    inside->is_write = is_write != 0;
    inside->line = (unsigned short)found->line;
    if (standing != one->standing) {
        SET(one->standing, Py_NewRef(standing));
    }
    return 1;
}

int
grpc_guard_is_again(Recollection *self, Recalled *one, PyObject *task, PyObject *future)
{
    const StreamFields *stream = grpc_guard_stream_of(self, &one->inside);
    if (stream == NULL || one->inside.line == 0 || (PyObject *)Py_TYPE(future) != self->plain
        || !PyTuple_Check(one->standing) || PyTuple_GET_SIZE(one->standing) != 4) {
        return 0;
    }
    Awaiting found;
    int is_again = grpc_guard_find_line(self, task, stream, one->standing, &found);
    if (is_again > 0) {
        is_again = goes_on_at(self, one, stream, &found, future);
    }
    grpc_guard_forget_line(&found);
    return is_again;
}

void
grpc_guard_end_lines(Recollection *self)
{
    for (int i = 0; i < LINES_KNOWN; i++) {
        Py_XDECREF(self->lines[i].code);
        Py_XDECREF(self->lines[i].standing);
    }
}
