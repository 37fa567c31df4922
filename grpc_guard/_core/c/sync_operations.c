/* The type of sync operations: as functions they are to be seen, weakly too. */

#include "core.h"

const SyncKind grpc_guard_kinds[KINDS] = {
    [READING] = {"next", "reading_responses"},
    [METADATA] = {"initial_metadata", "reading_responses_or_metadata"},
    [REQUESTS] = {"next", "reading_requests"},
    [TAKING_REQUESTS] = {"next(request_iterator)", "taking_requests"},
    [TAKING_RESPONSES] = {"next(response_iterator)", "taking_responses"},
    [SENDING] = {"send_response", "sending_responses"},
};

static int
operation_traverse(SyncOperation *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->direction);
    Py_VISIT(self->call);
    return 0;
}

static int
operation_clear(SyncOperation *self)
{
    Py_CLEAR(self->direction);
    Py_CLEAR(self->call);
    return 0;
}

static USUAL void
operation_dealloc(SyncOperation *self)
{
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    operation_clear(self);
    grpc_guard_free_of(
        KEPT_SYNC_OPERATIONS, (PyObject *)self, sizeof(SyncOperation), (destructor)operation_dealloc);
}

static PyObject *
get_name(SyncOperation *self, void *is_qualified)
{
    const char *within = self->kind == SENDING ? "_sending" : "_claiming";
    return is_qualified ? PyUnicode_FromFormat("%s.<locals>.advance", within)
                        : PyUnicode_FromString("advance");
}

static PyObject *
get_signature(SyncOperation *self, void *closure)
{
    Steps *steps = &((State *)PyType_GetModuleState(Py_TYPE(self)))->steps;
    PyObject *function = NULL;
    if (steps->namespace != NULL) { /* else the interpreter is shutting down */
        function = PyDict_GetItemWithError(steps->namespace, steps->str_signature_of);
    }
    if (function == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_AttributeError, "__signature__");
        }
        return NULL;
    }
    Py_INCREF(function);
    PyObject *signature = PyObject_CallFunctionObjArgs(
        function, self->kind == SENDING ? steps->str_response : NULL, NULL);
    Py_DECREF(function);
    return signature;
}

/* That is iterable, and stands for the iterator, which merge() takes from here. */
static PyObject *
get_self(SyncOperation *self, void *closure)
{
    if (self->direction == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__self__");
        return NULL;
    }
    return Py_NewRef((PyObject *)self->direction);
}

static PyObject *
same(PyObject *self, PyObject *unused)
{
    return Py_NewRef(self);
}

static PyMemberDef operation_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(SyncOperation, vectorcall), READONLY, NULL},
    WEAK(SyncOperation),
    {"direction", T_OBJECT_EX, offsetof(SyncOperation, direction), READONLY, NULL},
    {NULL},
};

static PyGetSetDef operation_properties[] = {
    {"__name__", (getter)get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)get_name, NULL, NULL, "qualified"},
    {"__self__", (getter)get_self, NULL, NULL, NULL},
    {"__signature__", (getter)get_signature, NULL, NULL, NULL},
    {NULL},
};

static PyMethodDef operation_methods[] = {
    {"__copy__", same, METH_NOARGS, NULL},
    {"__deepcopy__", same, METH_O, NULL},
    {NULL},
};

static PyType_Slot operation_slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, operation_traverse},
    {Py_tp_clear, operation_clear},
    {Py_tp_dealloc, operation_dealloc},
    {Py_tp_members, operation_members},
    {Py_tp_getset, operation_properties},
    {Py_tp_methods, operation_methods},
    {0, NULL},
};

PyType_Spec grpc_guard_sync_operation = {
    .name = "grpc_guard._core._compiled.SyncOperation",
    .basicsize = sizeof(SyncOperation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
        | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = operation_slots,
};
