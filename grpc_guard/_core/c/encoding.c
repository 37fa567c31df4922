/* Records as the bytes of their protobuf messages: the same as Encoder of _inspect/encoding.py.
 *
 * https://protobuf.dev/programming-guides/encoding/
 */

#include "encodings.h"

/* Puts a record after its length. */
int
grpc_guard_put_nested(Buffer *buffer, Encoding *of, PyObject *record)
{
    size_t at = buffer->bytes.size;
    return grpc_guard_put_record(buffer, of, record) < 0 ? -1 : grpc_guard_put_length_at(&buffer->bytes, at);
}

static int
put_each(Buffer *buffer, const Field *field, PyObject **records, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        if (grpc_guard_put_tag(buffer, field) < 0
            || grpc_guard_put_nested(buffer, field->of, records[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

int
grpc_guard_put_tuple(Buffer *buffer, const Field *field, PyObject *records)
{
    if (!PyTuple_Check(records)) {
        PyErr_Format(PyExc_TypeError, "a repeated field takes a tuple, not %R", records);
        return -1;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(records);
    if (count == 0) {
        return 0;
    }
    Known *known = &buffer->known[((size_t)records >> 5) % KNOWN];
    if (known->records == records && known->field == field) {
        return grpc_guard_put(&buffer->bytes, known->bytes.start, known->bytes.size);
    }
    size_t at = buffer->bytes.size;
    if (put_each(buffer, field, &PyTuple_GET_ITEM(records, 0), count) < 0) {
        return -1;
    }
    Py_CLEAR(known->records);
    known->bytes.size = 0;
    if (grpc_guard_put(&known->bytes, buffer->bytes.start + at, buffer->bytes.size - at) < 0) {
        return -1;
    }
    known->records = Py_NewRef(records);
    known->field = field;
    return 0;
}

static int
put_text(Bytes *bytes, PyObject *value)
{
    Py_ssize_t size;
    const char *text;
    if (PyUnicode_Check(value) && PyUnicode_IS_COMPACT_ASCII(value)) { /* as most are */
        text = (const char *)PyUnicode_1BYTE_DATA(value);
        size = PyUnicode_GET_LENGTH(value);
    }
    else {
        text = PyUnicode_AsUTF8AndSize(value, &size);
    }
    return text == NULL || grpc_guard_put_varint(bytes, size) < 0
               ? -1
               : grpc_guard_put(bytes, text, size);
}

static int
put_number(Bytes *bytes, double number)
{
    char packed[8];
    grpc_guard_pack(packed, number);
    return grpc_guard_put_few(bytes, packed, 8);
}

int
grpc_guard_put_text(Buffer *buffer, const Field *field, PyObject *text)
{
    return grpc_guard_put_tag(buffer, field) < 0
               ? -1
               : put_text(&buffer->bytes, text);
}

int
grpc_guard_put_double(Buffer *buffer, const Field *field, double number)
{
    return grpc_guard_put_tag(buffer, field) < 0
               ? -1
               : put_number(&buffer->bytes, number);
}

static int
put_field(Buffer *buffer, const Field *field, PyObject *value)
{
    if (field->how == 't') {
        return grpc_guard_put_tuple(buffer, field, value);
    }
    if (grpc_guard_put_tag(buffer, field) < 0) {
        return -1;
    }
    if (field->how == 'r') {
        return grpc_guard_put_nested(buffer, field->of, value);
    }
    if (field->how == 's') {
        return put_text(&buffer->bytes, value);
    }
    if (field->how == 'd') {
        double number = PyFloat_AsDouble(value);
        return number == -1.0 && PyErr_Occurred() ? -1 : put_number(&buffer->bytes, number);
    }
    if (field->how == 'b') {
        int is_true = PyObject_IsTrue(value);
        return is_true < 0 ? -1 : grpc_guard_put_varint(&buffer->bytes, is_true);
    }
    unsigned long long number = PyLong_AsUnsignedLongLongMask(value);
    return number == (unsigned long long)-1 && PyErr_Occurred()
               ? -1
               : grpc_guard_put_varint(&buffer->bytes, number);
}

int
grpc_guard_put_record(Buffer *buffer, Encoding *self, PyObject *record)
{
    if (!Py_IS_TYPE(record, self->kind)) {
        PyErr_Format(PyExc_TypeError, "%R is not a record of %R", record, self->kind);
        return -1;
    }
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        const Field *field = &self->fields[i];
        PyObject *value = OF(record, field->offset);
        if (value == NULL) {
            PyErr_Format(PyExc_AttributeError, "a record of %R without all fields", self->kind);
            return -1;
        }
        if (value != Py_None && put_field(buffer, field, value) < 0) {
            return -1;
        }
    }
    return 0;
}

void
grpc_guard_free_buffer(Buffer *buffer)
{
    for (int i = 0; i < KNOWN; i++) {
        Py_XDECREF(buffer->known[i].records);
        PyMem_Free(buffer->known[i].bytes.start);
    }
    PyMem_Free(buffer->bytes.start);
    PyMem_Free(buffer);
}

/* joined(tag, records): these records as a repeated field. */
static PyObject *
joined(Encoding *self, PyObject *args)
{
    PyObject *records, *result = NULL;
    Field field = {.of = self};
    const char *tag;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y#O:joined", &tag, &size, &records)) {
        return NULL;
    }
    if (grpc_guard_take_tag(&field, tag, size) < 0) {
        return NULL;
    }
    PyObject *all = PySequence_Tuple(records);
    Buffer *buffer = all == NULL ? NULL : PyMem_Calloc(1, sizeof(Buffer));
    if (buffer == NULL) {
        Py_XDECREF(all);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    if (put_each(buffer, &field, &PyTuple_GET_ITEM(all, 0), PyTuple_GET_SIZE(all)) == 0) {
        result = PyBytes_FromStringAndSize(buffer->bytes.start, buffer->bytes.size);
    }
    grpc_guard_free_buffer(buffer);
    Py_DECREF(all);
    return result;
}

static int
take_field(Encoding *self, Field *field, PyObject *said)
{
    PyObject *name, *of;
    const char *how, *tag;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(said, "Usy#O:Encoding", &name, &how, &tag, &size, &of)) {
        return -1;
    }
    int is_nested = *how == 'r' || *how == 't';
    if (size > TAG_ROOM || strlen(how) != 1 || strchr("dbisrt", *how) == NULL
        || is_nested != Py_IS_TYPE(of, Py_TYPE(self))) {
        PyErr_Format(PyExc_ValueError, "no such field: %R", said);
        return -1;
    }
    field->how = *how;
    memcpy(field->tag, tag, size);
    field->tag_size = (char)size;
    field->of = is_nested ? (Encoding *)Py_NewRef(of) : NULL;
    field->offset = grpc_guard_offset_of(self->kind, name);
    return field->offset < 0 ? -1 : 0;
}

static PyObject *
encoding_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyTypeObject *kind;
    PyObject *fields;
    if (!PyArg_ParseTuple(args, "O!O!:Encoding", &PyType_Type, &kind, &PyTuple_Type, &fields)) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(fields);
    Encoding *self = (Encoding *)type->tp_alloc(type, count);
    if (self == NULL) {
        return NULL;
    }
    self->kind = (PyTypeObject *)Py_NewRef((PyObject *)kind);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (take_field(self, &self->fields[i], PyTuple_GET_ITEM(fields, i)) < 0) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

static int
encoding_traverse(Encoding *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->kind);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        Py_VISIT((PyObject *)self->fields[i].of);
    }
    return 0;
}

/* No tp_clear: nothing that it holds can hold it, but its kind, which can be cleared. */

static void
encoding_dealloc(Encoding *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->kind);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        Py_CLEAR(self->fields[i].of);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef encoding_methods[] = {
    {"joined", (PyCFunction)(void (*)(void))joined, METH_VARARGS,
     "Return records as a repeated field with this tag."},
    {NULL},
};

static PyType_Slot encoding_slots[] = {
    {Py_tp_doc, "How records of one kind are encoded: see _inspect/encoding.py."},
    {Py_tp_new, encoding_new},
    {Py_tp_traverse, encoding_traverse},
    {Py_tp_dealloc, encoding_dealloc},
    {Py_tp_methods, encoding_methods},
    {0, NULL},
};

static PyType_Spec encoding_spec = {
    .name = "grpc_guard._core._compiled.Encoding",
    .basicsize = offsetof(Encoding, fields),
    .itemsize = sizeof(Field),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = encoding_slots,
};

int
grpc_guard_add_encoding(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->encoding, &encoding_spec, NULL);
}
