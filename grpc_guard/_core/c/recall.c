/* Which tasks have not gone on since the last look: the same as Memory.recalled() of
 * _inspect/remembered.py.
 */

#include "looks.h"

typedef struct {
    PyObject *before, *after, *waited; /* tables by the identity of tasks, borrowed */
    PyObject *fresh, *nowhere;         /* borrowed */
    PyObject *str_fut_waiter;
    PyObject *found; /* what is recalled, by the identity of its standing */
    PyObject *last;  /* of it, the part that was added to last; borrowed */
} Recall;

/* Tells whether a weak reference leads to this object; -1: an error is set. */
static int
leads_to(PyObject *reference, PyObject *object)
{
    PyObject *referent = PyObject_CallNoArgs(reference);
    Py_XDECREF(referent); /* who asks holds it, if it is the one */
    return referent == NULL ? -1 : referent == object;
}

/* Tells whether a task waits for the future that it was known to wait for; -1: an error is set. */
static int
has_not_gone_on(PyObject *known, PyObject *task, PyObject *future)
{
    if (!PyTuple_Check(known) || PyTuple_GET_SIZE(known) != 4) {
        PyErr_SetString(PyExc_TypeError, "a task is known by four things");
        return -1;
    }
    int is_same = leads_to(PyTuple_GET_ITEM(known, 1), future);
    return is_same > 0 ? leads_to(PyTuple_GET_ITEM(known, 0), task) : is_same;
}

/* Returns standing, tasks and directions of those who stand so, borrowed; NULL: an error is set. */
static PyObject *
part_of(Recall *self, PyObject *standing)
{
    if (self->last != NULL && PyTuple_GET_ITEM(self->last, 0) == standing) {
        return self->last;
    }
    PyObject *key = PyLong_FromVoidPtr(standing);
    PyObject *part = key == NULL ? NULL : PyDict_GetItemWithError(self->found, key);
    if (part == NULL && key != NULL && !PyErr_Occurred()) {
        part = Py_BuildValue("(O[][])", standing);
        if (part != NULL && PyDict_SetItem(self->found, key, part) < 0) {
            Py_CLEAR(part);
        }
        Py_XDECREF(part); /* the table has it */
    }
    Py_XDECREF(key);
    self->last = part;
    return part;
}

/* Notes what is known of a task that has not gone on; -1: an error is set. */
static int
recall(Recall *self, PyObject *key, PyObject *known, PyObject *task)
{
    PyObject *standing = PyTuple_GET_ITEM(known, 2), *reference = PyTuple_GET_ITEM(known, 3);
    if (PyDict_SetItem(self->after, key, known) < 0) {
        return -1;
    }
    if (standing == self->nowhere) {
        return 0;
    }
    PyObject *part = part_of(self, standing);
    if (part == NULL || PyList_Append(PyTuple_GET_ITEM(part, 1), task) < 0) {
        return -1;
    }
    if (reference == Py_None) {
        return 0;
    }
    PyObject *direction = PyObject_CallNoArgs(reference); /* a local variable of the task holds it */
    int failed = direction == NULL || PyList_Append(PyTuple_GET_ITEM(part, 2), direction) < 0;
    Py_XDECREF(direction);
    return failed ? -1 : 0;
}

/* Recalls a task, or adds it to the fresh ones; -1: an error is set. */
static int
look_at(Recall *self, PyObject *task)
{
    PyObject *future = PyObject_GetAttr(task, self->str_fut_waiter), *known = NULL;
    if (future == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        future = Py_NewRef(Py_None);
    }
    PyObject *key = future == NULL ? NULL : PyLong_FromVoidPtr(task);
    if (key != NULL && future != Py_None) {
        known = PyDict_GetItemWithError(self->before, key);
        Py_XINCREF(known);
    }
    int is_known = key == NULL || PyErr_Occurred() ? -1
                   : known == NULL                ? 0
                                                  : has_not_gone_on(known, task, future);
    int failed = is_known < 0;
    if (is_known > 0) {
        failed = recall(self, key, known, task) < 0;
    }
    else if (is_known == 0) {
        failed = PyList_Append(self->fresh, task) < 0
                 || PyDict_SetItem(self->waited, key, future) < 0;
    }
    Py_XDECREF(known);
    Py_XDECREF(key);
    Py_XDECREF(future);
    return failed ? -1 : 0;
}

/* recalled(tasks, fresh, before, after, waited, nowhere, "_fut_waiter"): see Memory. */
static PyObject *
recalled(PyObject *module, PyObject *args)
{
    Recall self = {0};
    PyObject *tasks, *result = NULL;
    if (!PyArg_ParseTuple(args, "OO!O!O!O!OU:recalled", &tasks, &PyList_Type, &self.fresh,
                          &PyDict_Type, &self.before, &PyDict_Type, &self.after, &PyDict_Type,
                          &self.waited, &self.nowhere, &self.str_fut_waiter)) {
        return NULL;
    }
    tasks = PySequence_Tuple(tasks);
    self.found = tasks == NULL ? NULL : PyDict_New();
    int failed = self.found == NULL;
    for (Py_ssize_t i = 0; !failed && i < PyTuple_GET_SIZE(tasks); i++) {
        failed = look_at(&self, PyTuple_GET_ITEM(tasks, i)) < 0;
    }
    if (!failed) {
        result = PyDict_Values(self.found);
    }
    Py_XDECREF(self.found);
    Py_XDECREF(tasks);
    return result;
}

static PyMethodDef module_methods[] = {
    {"recalled", recalled, METH_VARARGS,
     "Return the tasks that have not gone on, by their standing: see _inspect/remembered.py."},
    {NULL},
};

int
grpc_guard_add_recall(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
