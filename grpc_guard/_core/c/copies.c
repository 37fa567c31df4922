/* What the last answer said of streams: the bytes of those that have not changed are used again.
 *
 * Most of thousands of streams are idle: of each nothing but some times is another one. A stream bears
 * the number of its entry and that of the table; memory that is used for another stream has neither.
 */

#include "core.h"
#include "copies.h"

static void
forget_way(CopiedWay *way)
{
    Py_CLEAR(way->name);
    Py_CLEAR(way->operation);
    Py_CLEAR(way->stack);
}

void
grpc_guard_forget_copy(Copies *self, Copied *one)
{
    if (one->stream != NULL) {
        one->stream = NULL;
        forget_way(&one->read);
        forget_way(&one->write);
        Py_CLEAR(one->handled_at);
        grpc_guard_leave_box(&self->boxes, (unsigned int)(one - (Copied *)self->boxes.all));
    }
}

Copied *
grpc_guard_place_for_copy(Copies *self, StreamFields *stream)
{
    Copied *one = grpc_guard_box_of(self, stream);
    unsigned int number = stream->copy;
    if (one != NULL && one->stream == stream) {
        forget_way(&one->read);
        forget_way(&one->write);
        Py_CLEAR(one->handled_at);
    }
    else if (grpc_guard_take_box(&self->boxes, sizeof(Copied), &number) < 0) {
        return NULL;
    }
    one = (Copied *)self->boxes.all + number;
    *one = (Copied){.stream = stream, .look = self->look};
    self->fresh++;
    stream->copies = self->serial;
    stream->copy = number;
    return one;
}

/* begin(): begins an answer. */
static PyObject *
copies_begin(Copies *self, PyObject *unused)
{
    self->look++;
    self->same = self->fresh = 0;
    self->base = 0;
    self->is_in_place = 0;
    if (self->is_used_up) { /* by an answer that did not come to its end: nothing is known to be there */
        self->last = 0;
        self->is_used_up = 0;
    }
    Py_RETURN_NONE;
}

/* keep(streams, handlers): the answer is there, with these bytes: they are the last ones from now on, and the
 * scratches have the memory of those that were. Forgets the streams that were not in it. */
static PyObject *
copies_keep(Copies *self, PyObject *args)
{
    State *state = state_of(Py_TYPE(self));
    Scratch *streams, *handlers;
    if (state == NULL
        || !PyArg_ParseTuple(args, "O!O!:keep", state->scratch, &streams, state->scratch, &handlers)
        || !grpc_guard_scratch_is_free(streams) || !grpc_guard_scratch_is_free(handlers)) {
        return NULL;
    }
    grpc_guard_swap(&streams->bytes, &self->bytes);
    grpc_guard_swap(&handlers->bytes, &self->handlers);
    self->last = self->look;
    self->base = 0;
    self->is_in_place = self->is_used_up = 0;
    Copied *all = self->boxes.all;
    unsigned int known = self->boxes.count - self->boxes.unused_count;
    for (unsigned int i = 0; known != self->same + self->fresh && i < self->boxes.count; i++) {
        if (all[i].look != self->last) {
            grpc_guard_forget_copy(self, &all[i]);
        }
    }
    Py_RETURN_NONE;
}

/* known(): how many streams it knows, and how many in this answer have not changed. */
static PyObject *
copies_known(Copies *self, PyObject *unused)
{
    return Py_BuildValue("(II)", self->boxes.count - self->boxes.unused_count, self->same);
}

static PyObject *
copies_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    State *state = state_of(type);
    if (state == NULL || PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        return state == NULL ? NULL : PyErr_Format(PyExc_TypeError, "Copies() takes no arguments");
    }
    Copies *self = (Copies *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->serial = ++state->copies_made;
    }
    return (PyObject *)self;
}

static void
copies_dealloc(Copies *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Copied *all = self->boxes.all;
    for (unsigned int i = 0; i < self->boxes.count; i++) {
        forget_way(&all[i].read);
        forget_way(&all[i].write);
        Py_CLEAR(all[i].handled_at);
    }
    grpc_guard_end_boxes(&self->boxes);
    PyMem_Free(self->bytes.start);
    PyMem_Free(self->handlers.start);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef copies_methods[] = {
    {"begin", (PyCFunction)(void (*)(void))copies_begin, METH_NOARGS, "Begin an answer."},
    {"keep", (PyCFunction)(void (*)(void))copies_keep, METH_VARARGS, "Keep the bytes of the answer."},
    {"known", (PyCFunction)(void (*)(void))copies_known, METH_NOARGS, "Return how many streams it knows, and how many are the same."},
    {NULL},
};

static PyType_Slot copies_slots[] = {
    {Py_tp_doc, "What the last answer said of streams: see _inspect/messages.py."},
    {Py_tp_new, copies_new},
    {Py_tp_dealloc, copies_dealloc},
    {Py_tp_methods, copies_methods},
    {0, NULL},
};

static PyType_Spec copies_spec = {
    .name = "grpc_guard._core._compiled.Copies",
    .basicsize = sizeof(Copies),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = copies_slots,
};

int
grpc_guard_add_copies(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->copies, &copies_spec, NULL);
}
