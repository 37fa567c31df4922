/* Chains of awaits followed to their ends: the same as groups() of _inspect/chains.py.
 *
 * Attributes that Python offers are read, and no frame is made. Types and code are known by their
 * identity: they live as long as the links.
 */

#include "looks.h"

enum { READERS = 16, KINDS_KNOWN = 512, MOST_HELD = 8 };
enum { GET_CORO, CR_CODE, CR_AWAIT, CHAIN_NAMES };
static const char *const names[CHAIN_NAMES] = {"get_coro", "cr_code", "cr_await"};

typedef enum { OF_ATTRIBUTES, IN_C, WITHOUT_CODE, OF_FUNCTIONS, AT_END } How;

/* How the links of one type are read. */
typedef struct {
    PyTypeObject *type;
    How how;
    PyObject *code_of, *awaited_by;
} Reader;

typedef struct {
    PyObject *code;
    long kind;
} Kind;

/* What an object without code holds, borrowed. */
typedef struct {
    PyObject *objects[MOST_HELD];
    int count;
} Held;

typedef struct {
    State *state;
    PyObject *reader, *kind, *without_code, *is_driven; /* of Lines and waiters.py, borrowed */
    long core;                              /* the bit at which a chain ends */
    Py_ssize_t longest;
    PyObject *names[CHAIN_NAMES];
    Reader readers[READERS];
    int known_readers;
    Kind kinds[KINDS_KNOWN];
    Kind driven[READERS]; /* by type: 1 if its objects are driven, else 0 */
    PyObject *groups; /* by the code of what says something */
    PyObject **shown; /* of the chain that is followed, `longest` at most */
    PyObject **codes; /* theirs, borrowed */
} Chains;

/* Notes how links of the type of `link` are read; -1: an error is set. */
static int
learn(Chains *self, PyObject *link, Reader *reader)
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

/* Returns how a link is read; NULL: an error is set. */
static Reader *
reader_of(Chains *self, PyObject *link)
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

static PyObject *
code_of(Chains *self, const Reader *reader, PyObject *link)
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
is_driven(Chains *self, PyObject *one)
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
driven_by(Chains *self, PyObject *link, PyObject **driven)
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

static PyObject *
awaited_by(Chains *self, const Reader *reader, PyObject *link)
{
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

/* Returns what the code of a link is, in bits; -1: an error is set. */
static long
kind_of(Chains *self, PyObject *code, PyObject *link)
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

/* Adds a task, and what its chain shows, to its group; -1: an error is set. */
static int
put_into_group(Chains *self, PyObject *task, long kinds, Py_ssize_t count)
{
    Py_ssize_t size = count * (Py_ssize_t)sizeof(PyObject *);
    PyObject *key = PyBytes_FromStringAndSize((char *)self->codes, size);
    PyObject *group = key == NULL ? NULL : PyDict_GetItemWithError(self->groups, key);
    Py_XINCREF(group);
    if (group == NULL && key != NULL && !PyErr_Occurred()) {
        PyObject *columns = PyList_New(0);
        for (Py_ssize_t i = 0; columns != NULL && i < count; i++) {
            PyObject *column = PyList_New(0);
            if (column == NULL || PyList_Append(columns, column) < 0) {
                Py_CLEAR(columns);
            }
            Py_XDECREF(column);
        }
        group = columns == NULL ? NULL : Py_BuildValue("([]lN)", kinds, columns);
        if (group != NULL && PyDict_SetItem(self->groups, key, group) < 0) {
            Py_CLEAR(group);
        }
    }
    Py_XDECREF(key);
    int failed = group == NULL || PyList_Append(PyTuple_GET_ITEM(group, 0), task) < 0;
    for (Py_ssize_t i = 0; !failed && i < count; i++) {
        PyObject *column = PyList_GET_ITEM(PyTuple_GET_ITEM(group, 2), i);
        failed = PyList_Append(column, self->shown[i]) < 0;
    }
    Py_XDECREF(group);
    return failed ? -1 : 0;
}

/* Follows a chain from its first link on, which it takes; -1: an error is set. */
static int
follow(Chains *self, PyObject *task, PyObject *link)
{
    long kinds = 0;
    Py_ssize_t count = 0;
    int failed = link == NULL;
    for (Py_ssize_t depth = 0; !failed && link != Py_None && depth < self->longest; depth++) {
        Reader *reader = reader_of(self, link);
        if (reader != NULL && reader->how == AT_END) {
            break;
        }
        PyObject *code = reader == NULL ? NULL : code_of(self, reader, link);
        long kind = code == NULL ? -1 : kind_of(self, code, link);
        if (kind >= 0 && kind & self->core) {
            Py_DECREF(code);
            break;
        }
        PyObject *next = kind < 0 ? NULL : awaited_by(self, reader, link);
        if (next != NULL && kind > 0) {
            kinds |= kind;
            self->codes[count] = code; /* `kinds`, or the type itself, keeps it */
            self->shown[count++] = Py_NewRef(link);
        }
        Py_XDECREF(code);
        failed = next == NULL;
        Py_SETREF(link, next);
    }
    if (!failed) {
        failed = put_into_group(self, task, kinds, count) < 0;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_DECREF(self->shown[i]);
    }
    Py_XDECREF(link);
    return failed ? -1 : 0;
}

/* Follows the chains of all tasks; returns the groups. */
static PyObject *
follow_all(Chains *self, PyObject *tasks)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tasks); i++) {
        PyObject *task = PyTuple_GET_ITEM(tasks, i);
        PyObject *link = PyObject_CallMethodNoArgs(task, self->names[GET_CORO]);
        if (follow(self, task, link) < 0) {
            return NULL;
        }
    }
    return PyDict_Values(self->groups);
}

static PyObject *
groups_of(Chains *self, PyObject *tasks)
{
    for (int i = 0; i < CHAIN_NAMES; i++) {
        self->names[i] = PyUnicode_InternFromString(names[i]);
        if (self->names[i] == NULL) {
            return NULL;
        }
    }
    self->groups = PyDict_New();
    self->shown = PyMem_New(PyObject *, 2 * self->longest);
    if (self->groups == NULL || self->shown == NULL) {
        return PyErr_NoMemory();
    }
    self->codes = self->shown + self->longest;
    PyObject *all = PySequence_Tuple(tasks);
    PyObject *groups = all == NULL ? NULL : follow_all(self, all);
    Py_XDECREF(all);
    return groups;
}

/* chains(tasks, and what Chains borrows): a list of tasks, kinds, columns. */
static PyObject *
chains(PyObject *module, PyObject *args)
{
    PyObject *tasks, *groups = NULL;
    Chains *self = PyMem_Calloc(1, sizeof(Chains));
    if (self == NULL) {
        return PyErr_NoMemory();
    }
    self->state = PyModule_GetState(module);
    if (PyArg_ParseTuple(args, "OnlOOOO:chains", &tasks, &self->longest, &self->core, &self->reader,
                         &self->kind, &self->without_code, &self->is_driven)) {
        groups = groups_of(self, tasks);
    }
    for (int i = 0; i < CHAIN_NAMES; i++) {
        Py_XDECREF(self->names[i]);
    }
    for (int i = 0; i < self->known_readers; i++) {
        forget(&self->readers[i]);
    }
    for (int i = 0; i < KINDS_KNOWN; i++) {
        Py_XDECREF(self->kinds[i].code);
    }
    for (int i = 0; i < READERS; i++) {
        Py_XDECREF(self->driven[i].code);
    }
    Py_XDECREF(self->groups);
    PyMem_Free(self->shown);
    PyMem_Free(self);
    return groups;
}

static PyMethodDef module_methods[] = {
    {"chains", chains, METH_VARARGS, "Return the groups of these tasks: see _inspect/chains.py."},
    {NULL},
};

int
grpc_guard_add_chains(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
