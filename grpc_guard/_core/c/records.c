/* Frozen records made in one step: a dataclass would set each field by a call of its own.
 *
 * The same as made_by() of _inspect/records.py.
 */

#include "looks.h"

Py_ssize_t
grpc_guard_offset_of(PyTypeObject *kind, PyObject *name)
{
    PyObject *field = PyObject_GetAttr((PyObject *)kind, name);
    if (field == NULL) {
        return -1;
    }
    Py_ssize_t offset = -1;
    if (Py_IS_TYPE(field, &PyMemberDescr_Type)
        && PyType_IsSubtype(kind, PyDescr_TYPE(field))
        && ((PyMemberDescrObject *)field)->d_member->type == T_OBJECT_EX) {
        offset = ((PyMemberDescrObject *)field)->d_member->offset;
    }
    else {
        PyErr_Format(PyExc_TypeError, "%R of %R is not one of its __slots__", name, kind);
    }
    Py_DECREF(field);
    return offset;
}

PyObject *
grpc_guard_make_record(RecordMaker *maker, PyObject **values)
{
    Py_ssize_t count = Py_SIZE(maker);
    PyObject *record = NULL;
    int is_whole = 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        is_whole &= values[i] != NULL;
    }
    if (is_whole) {
        record = maker->kind->tp_alloc(maker->kind, 0);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (record == NULL) {
            Py_XDECREF(values[i]);
        }
        else {
            OF(record, maker->offsets[i]) = values[i];
        }
    }
    return record;
}

static PyObject *
make(RecordMaker *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Py_ssize_t count = Py_SIZE(self);
    if (PyVectorcall_NARGS(nargsf) != count || (names != NULL && PyTuple_GET_SIZE(names) > 0)) {
        PyErr_Format(PyExc_TypeError, "a record takes %zd values, all by position", count);
        return NULL;
    }
    PyObject *record = self->kind->tp_alloc(self->kind, 0);
    for (Py_ssize_t i = 0; record != NULL && i < count; i++) {
        OF(record, self->offsets[i]) = Py_NewRef(args[i]);
    }
    return record;
}

static PyObject *
maker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyTypeObject *kind;
    PyObject *names;
    if (!PyArg_ParseTuple(args, "O!O!:Maker", &PyType_Type, &kind, &PyTuple_Type, &names)) {
        return NULL;
    }
    if (kind->tp_new != PyBaseObject_Type.tp_new || kind->tp_itemsize != 0) {
        PyErr_Format(PyExc_TypeError, "%R makes its objects in a way of its own", kind);
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    RecordMaker *self = (RecordMaker *)type->tp_alloc(type, count);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = (vectorcallfunc)make;
    self->kind = (PyTypeObject *)Py_NewRef((PyObject *)kind);
    for (Py_ssize_t i = 0; i < count; i++) {
        self->offsets[i] = grpc_guard_offset_of(kind, PyTuple_GET_ITEM(names, i));
        if (self->offsets[i] < 0) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

static int
maker_traverse(RecordMaker *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->kind);
    return 0;
}

/* No tp_clear: what is in a cycle with it, the kind, can be cleared. */

static void
maker_dealloc(RecordMaker *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->kind);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef maker_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(RecordMaker, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot maker_slots[] = {
    {Py_tp_doc, "Makes frozen records of one kind from the values of all fields, in their order."},
    {Py_tp_new, maker_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, maker_traverse},
    {Py_tp_dealloc, maker_dealloc},
    {Py_tp_members, maker_members},
    {0, NULL},
};

static PyType_Spec maker_spec = {
    .name = "grpc_guard._core._compiled.Maker",
    .basicsize = offsetof(RecordMaker, offsets),
    .itemsize = sizeof(Py_ssize_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = maker_slots,
};

int
grpc_guard_add_records(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->maker, &maker_spec, NULL);
}
