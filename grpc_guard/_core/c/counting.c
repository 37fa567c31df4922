/* Count: the same as itertools.count(), as far as streams are counted with it, and no object for a number. */

#include "core.h"

typedef struct {
    PyObject_HEAD
    unsigned long long number;
} Count;

USUAL int
grpc_guard_count(State *state, PyObject *counter)
{
    if (Py_IS_TYPE(counter, state->count)) {
        ((Count *)counter)->number++;
        return 0;
    }
    PyObject *number = PyIter_Check(counter) ? PyIter_Next(counter) : NULL;
    if (number == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "created is not an iterator that goes on");
        }
        return -1;
    }
    Py_DECREF(number);
    return 0;
}

static PyObject *
count_next(Count *self)
{
    return PyLong_FromUnsignedLongLong(self->number++);
}

static PyObject *
count_repr(Count *self)
{
    return PyUnicode_FromFormat("count(%llu)", self->number);
}

static void
count_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot count_slots[] = {
    {Py_tp_doc, "Counts, as itertools.count() does."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, count_next},
    {Py_tp_repr, count_repr},
    {Py_tp_dealloc, count_dealloc},
    {0, NULL},
};

static PyType_Spec count_spec = {
    .name = "grpc_guard._core._compiled.count",
    .basicsize = sizeof(Count),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = count_slots,
};

int
grpc_guard_add_counting(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->count, &count_spec, NULL);
}
