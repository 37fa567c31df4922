/* Memory for the bytes of a message, used again for the next one: see _inspect/messages.py.
 *
 * An answer has megabytes, and memory that is new for each costs as much as what is put there.
 */

#include "core.h"
#include "scratches.h"

int
grpc_guard_scratch_is_free(Scratch *self)
{
    if (self->exports > 0 || self->is_busy) {
        PyErr_SetString(PyExc_BufferError, "somebody looks at these bytes, or writes them");
        return 0;
    }
    return 1;
}

static PyObject *
scratch_clear(Scratch *self, PyObject *unused)
{
    if (!grpc_guard_scratch_is_free(self)) {
        return NULL;
    }
    self->bytes.size = self->keys.size = self->placed = self->placed_keys = 0;
    Py_RETURN_NONE;
}

static int
scratch_get_buffer(Scratch *self, Py_buffer *view, int flags)
{
    if (self->is_busy) {
        view->obj = NULL;
        PyErr_SetString(PyExc_BufferError, "somebody writes these bytes");
        return -1;
    }
    char *start = self->bytes.start != NULL ? self->bytes.start : "";
    int failed = PyBuffer_FillInfo(view, (PyObject *)self, start, (Py_ssize_t)self->bytes.size, 1, flags);
    self->exports += failed == 0;
    return failed;
}

static void
scratch_release_buffer(Scratch *self, Py_buffer *view)
{
    self->exports--;
}

static PyObject *
scratch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_SetString(PyExc_TypeError, "Scratch() takes no arguments");
        return NULL;
    }
    return type->tp_alloc(type, 0);
}

static void
scratch_dealloc(Scratch *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(self->bytes.start);
    PyMem_Free(self->keys.start);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef scratch_methods[] = {
    {"clear", (PyCFunction)(void (*)(void))scratch_clear, METH_NOARGS, "Forget the bytes, not their memory."},
    {NULL},
};

static PyType_Slot scratch_slots[] = {
    {Py_tp_doc, "Bytes of a message: see _inspect/messages.py."},
    {Py_tp_new, scratch_new},
    {Py_tp_dealloc, scratch_dealloc},
    {Py_tp_methods, scratch_methods},
    {Py_bf_getbuffer, scratch_get_buffer},
    {Py_bf_releasebuffer, scratch_release_buffer},
    {0, NULL},
};

static PyType_Spec scratch_spec = {
    .name = "grpc_guard._core._compiled.Scratch",
    .basicsize = sizeof(Scratch),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = scratch_slots,
};

int
grpc_guard_add_scratch(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->scratch, &scratch_spec, NULL);
}
