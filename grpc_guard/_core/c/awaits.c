/* The links of chains of awaits: the same as reader_of() of _findings/waiters.py and Lines.kind().
 *
 * Attributes that Python offers are read, and no frame is made.
 */

#include "awaits.h"

enum { MOST_HELD = 8 };

static const char *const names[CHAIN_NAMES] = {"get_coro", "cr_code", "cr_await"};

/* What an object without code holds, borrowed. */
typedef struct {
    PyObject *objects[MOST_HELD];
    int count;
} Held;

/* Notes how links of the type of `link` are read; -1: an error is set. */
static int
learn(Awaits *self, PyObject *link, Reader *reader)
{
    reader->type = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(link));
    if (PyCoro_CheckExact(link)) {
        reader->how = OF_ATTRIBUTES;
        return 0;
    }
    if (Py_IS_TYPE(link, self->state->aio_operation)) {
        reader->how = IN_C;
        return 0;
    }
    PyObject *read = PyObject_CallOneArg(self->reader, link);
    if (read == NULL) {
        return -1;
    }
    reader->how = read == Py_None ? AT_END
                  : read == self->without_code ? WITHOUT_CODE
                                               : OF_FUNCTIONS;
    int is_pair = PyTuple_Check(read) && PyTuple_GET_SIZE(read) == 2;
    if (is_pair) {
        reader->code_of = Py_NewRef(PyTuple_GET_ITEM(read, 0));
        reader->awaited_by = Py_NewRef(PyTuple_GET_ITEM(read, 1));
    }
    Py_DECREF(read);
    if (reader->how != AT_END && !is_pair) {
        PyErr_SetString(PyExc_TypeError, "a reader is a pair of functions");
        return -1;
    }
    return 0;
}

static void
forget(Reader *reader)
{
    Py_CLEAR(reader->type);
    Py_CLEAR(reader->code_of);
    Py_CLEAR(reader->awaited_by);
}

Reader *
grpc_guard_reader_of(Awaits *self, PyObject *link)
{
    for (int i = 0; i < self->known_readers; i++) {
        if (Py_IS_TYPE(link, self->readers[i].type)) {
            return &self->readers[i];
        }
    }
    if (self->known_readers == READERS) {
        forget(&self->readers[--self->known_readers]);
    }
    Reader *reader = &self->readers[self->known_readers];
    if (learn(self, link, reader) < 0) {
        forget(reader);
        return NULL;
    }
    self->known_readers++;
    return reader;
}

PyObject *
grpc_guard_code_of_link(Awaits *self, const Reader *reader, PyObject *link)
{
    switch (reader->how) {
    case OF_ATTRIBUTES:
        return PyObject_GetAttr(link, self->names[CR_CODE]);
    case IN_C:
        return Py_NewRef((PyObject *)Py_TYPE(link));
    case WITHOUT_CODE:
        return Py_NewRef(Py_None);
    default:
        return PyObject_CallOneArg(reader->code_of, link);
    }
}

static int
collect(PyObject *one, void *found)
{
    Held *held = found;
    if (held->count < MOST_HELD) {
        held->objects[held->count] = one;
    }
    return ++held->count > MOST_HELD; /* 1 ends it */
}

/* Tells whether an object is one that others drive, as a coroutine; -1: an error is set. */
static int
is_driven(Awaits *self, PyObject *one)
{
    PyObject *type = (PyObject *)Py_TYPE(one);
    Kind *known = &self->driven[((size_t)type >> 5) % READERS];
    if (known->code != type) {
        PyObject *answer = PyObject_CallOneArg(self->is_driven, one);
        int is_true = answer == NULL ? -1 : PyObject_IsTrue(answer);
        Py_XDECREF(answer);
        if (is_true < 0) {
            return -1;
        }
        SET(known->code, Py_NewRef(type));
        known->kind = is_true;
    }
    return (int)known->kind;
}

/* Finds what a link without code drives, a new reference or NULL: 1; 0 if Python has to; -1: an error. */
static int
driven_by(Awaits *self, PyObject *link, PyObject **driven)
{
    Held held = {.count = 0};
    traverseproc traverse = Py_TYPE(link)->tp_traverse;
    *driven = NULL;
    if (traverse == NULL || traverse(link, collect, &held) != 0) {
        return 0;
    }
    int found = 0;
    for (int i = 0; i < held.count; i++) {
        Py_INCREF(held.objects[i]);
    }
    for (int i = 0; i < held.count; i++) {
        found = found == 0 ? is_driven(self, held.objects[i]) : found;
        if (found > 0 && *driven == NULL) {
            *driven = Py_NewRef(held.objects[i]);
        }
        Py_DECREF(held.objects[i]);
    }
    return found;
}

PyObject *
grpc_guard_awaited_by(Awaits *self, const Reader *reader, PyObject *link)
{
    if (reader->how == OF_ATTRIBUTES && grpc_guard_runs_now(link)) {
        Py_RETURN_NONE;
    }
    if (reader->how == OF_ATTRIBUTES || reader->how == IN_C) {
        return PyObject_GetAttr(link, self->names[CR_AWAIT]);
    }
    PyObject *driven = NULL;
    int found = reader->how == WITHOUT_CODE ? driven_by(self, link, &driven) : 0;
    if (found != 0) {
        return driven;
    }
    return PyObject_CallOneArg(reader->awaited_by, link);
}

long
grpc_guard_kind_of_link(Awaits *self, PyObject *code, PyObject *link)
{
    if (code == Py_None) {
        return 0;
    }
    Kind *known = &self->kinds[((size_t)code >> 4) % KINDS_KNOWN];
    if (known->code != code) {
        PyObject *kind = PyObject_CallFunctionObjArgs(self->kind, code, link, NULL);
        long bits = kind == NULL ? -1 : PyLong_AsLong(kind);
        Py_XDECREF(kind);
        if (bits < 0) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "a kind is a number of bits");
            }
            return -1;
        }
        SET(known->code, Py_NewRef(code));
        known->kind = bits;
    }
    return known->kind;
}

int
grpc_guard_awaits_begin(Awaits *self)
{
    for (int i = 0; i < CHAIN_NAMES; i++) {
        self->names[i] = PyUnicode_InternFromString(names[i]);
        if (self->names[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

void
grpc_guard_awaits_end(Awaits *self)
{
    for (int i = 0; i < CHAIN_NAMES; i++) {
        Py_CLEAR(self->names[i]);
    }
    for (int i = 0; i < self->known_readers; i++) {
        forget(&self->readers[i]);
    }
    for (int i = 0; i < KINDS_KNOWN; i++) {
        Py_CLEAR(self->kinds[i].code);
    }
    for (int i = 0; i < READERS; i++) {
        Py_CLEAR(self->driven[i].code);
    }
}
