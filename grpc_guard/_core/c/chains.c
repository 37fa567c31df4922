/* Chains of awaits followed to their ends: the same as groups() of _inspect/chains.py. */

#include "awaits.h"

typedef struct {
    Awaits awaits;
    long core; /* the bit at which a chain ends */
    Py_ssize_t longest;
    PyObject *groups; /* by the code of what says something */
    PyObject **shown; /* of the chain that is followed, `longest` at most */
    PyObject **codes; /* theirs, borrowed */
} Chains;

/* Adds a task, and what its chain shows, to its group; -1: an error is set. */
static int
put_into_group(Chains *self, PyObject *task, long kinds, Py_ssize_t count)
{
    int is_in_core = count == 0 && kinds == self->core; /* where nothing is shown, either */
    Py_ssize_t size = count * (Py_ssize_t)sizeof(PyObject *);
    PyObject *key = is_in_core ? PyBytes_FromStringAndSize("c", 1)
                               : PyBytes_FromStringAndSize((char *)self->codes, size);
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
        Reader *reader = grpc_guard_reader_of(&self->awaits, link);
        if (reader != NULL && reader->how == AT_END) {
            break;
        }
        PyObject *code = reader == NULL ? NULL : grpc_guard_code_of_link(&self->awaits, reader, link);
        long kind = code == NULL ? -1 : grpc_guard_kind_of_link(&self->awaits, code, link);
        if (kind >= 0 && kind & self->core) {
            kinds = depth == 0 ? self->core : kinds;
            Py_DECREF(code);
            break;
        }
        PyObject *next = kind < 0 ? NULL : grpc_guard_awaited_by(&self->awaits, reader, link);
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
        PyObject *link = PyObject_CallMethodNoArgs(task, self->awaits.names[GET_CORO]);
        if (follow(self, task, link) < 0) {
            return NULL;
        }
    }
    return PyDict_Values(self->groups);
}

static PyObject *
groups_of(Chains *self, PyObject *tasks)
{
    if (grpc_guard_awaits_begin(&self->awaits) < 0) {
        return NULL;
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
    Awaits *awaits = &self->awaits;
    awaits->state = PyModule_GetState(module);
    if (PyArg_ParseTuple(args, "OnlOOOO:chains", &tasks, &self->longest, &self->core,
                         &awaits->reader, &awaits->kind, &awaits->without_code,
                         &awaits->is_driven)) {
        groups = groups_of(self, tasks);
    }
    grpc_guard_awaits_end(&self->awaits);
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
