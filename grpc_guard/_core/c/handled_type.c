/* The type of tables of what is handled: see handled.c. */

#include "handled.h"

/* Finds what an identity has; -1: an error is set. */
static int
find(HandledNow *self, PyObject *identity, const HandledOne **found)
{
    uintptr_t key = (uintptr_t)PyLong_AsVoidPtr(identity);
    if (key == 0 && PyErr_Occurred()) {
        return -1;
    }
    *found = grpc_guard_handled_by(self, key);
    return 0;
}

static PyObject *
handled_get(HandledNow *self, PyObject *identity)
{
    const HandledOne *one;
    if (find(self, identity, &one) < 0) {
        return NULL;
    }
    if (one == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *what = Py_NewRef(one->what); /* to make something may run the collector */
    PyObject *both = Py_BuildValue("(Od)", what, one->since);
    Py_DECREF(what);
    return both;
}

static PyObject *
handled_since(HandledNow *self, PyObject *identity)
{
    const HandledOne *one;
    if (find(self, identity, &one) < 0) {
        return NULL;
    }
    return one == NULL ? Py_NewRef(Py_None) : PyFloat_FromDouble(one->since);
}

static PyObject *
handled_put(HandledNow *self, PyObject *args)
{
    PyObject *identity, *what;
    double since;
    if (!PyArg_ParseTuple(args, "OOd:put", &identity, &what, &since)) {
        return NULL;
    }
    uintptr_t key = (uintptr_t)PyLong_AsVoidPtr(identity);
    if ((key == 0 && PyErr_Occurred()) || grpc_guard_put_handled(self, key, what, since) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
handled_streams(HandledNow *self, PyObject *unused)
{
    State *state = PyType_GetModuleState(Py_TYPE(self));
    PyObject *found = PyList_New(0);
    for (Py_ssize_t i = 0; found != NULL && i < self->table.count; i++) {
        PyObject *what = grpc_guard_all_handled(self)[i].what;
        if (IS_STREAM(state, what) && PyList_Append(found, what) < 0) {
            Py_CLEAR(found);
        }
    }
    return found;
}

static int
handled_traverse(HandledNow *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (Py_ssize_t i = 0; i < self->table.count; i++) {
        Py_VISIT(grpc_guard_all_handled(self)[i].what);
    }
    return 0;
}

static int
handled_clear(HandledNow *self)
{
    while (self->table.count > 0) {
        const HandledOne *all = grpc_guard_all_handled(self);
        PyObject *what = all[--self->table.count].what;
        if (self->table.count > 8) {
            FETCH(all[self->table.count - 8].what);
        }
        Py_XDECREF(what);
    }
    return 0;
}

static void
handled_dealloc(HandledNow *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    handled_clear(self);
    grpc_guard_end_table(&self->table);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef handled_methods[] = {
    {"get", (PyCFunction)(void (*)(void))handled_get, METH_O, "Return what is handled and since when, or None."},
    {"since", (PyCFunction)(void (*)(void))handled_since, METH_O, "Return since when, or None."},
    {"put", (PyCFunction)(void (*)(void))handled_put, METH_VARARGS, "Put what is handled."},
    {"streams", (PyCFunction)(void (*)(void))handled_streams, METH_NOARGS, "Return all streams."},
    {NULL},
};

static PyType_Slot handled_slots[] = {
    {Py_tp_doc, "What is handled: see _lifecycle/handlers.py."},
    {Py_tp_traverse, handled_traverse},
    {Py_tp_clear, handled_clear},
    {Py_tp_dealloc, handled_dealloc},
    {Py_tp_methods, handled_methods},
    {0, NULL},
};

static PyType_Spec handled_spec = {
    .name = "grpc_guard._core._compiled.HandledNow",
    .basicsize = sizeof(HandledNow),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = handled_slots,
};

int
grpc_guard_add_handled_type(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->handled, &handled_spec, NULL);
}
