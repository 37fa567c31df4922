/* Which tasks have not gone on since the last look: the same as Memory.recalled() of
 * _inspect/remembered.py.
 */

#include "looks.h"

typedef struct {
    PyObject *before, *after, *waited; /* tables, borrowed */
    PyObject *loops, *fresh, *nowhere; /* borrowed */
    PyObject *str_fut_waiter, *str_get_loop, *str_done;
    PyObject *loop; /* one of them that was met last; borrowed */
    PyObject *found; /* what is recalled, by the identity of its standing */
    PyObject *last;  /* of it, the part that was added to last; borrowed */
} Recall;

/* Tells whether a task waits for the future that it was known to wait for; -1: an error is set. */
static int
has_not_gone_on(PyObject *known, PyObject *future)
{
    if (!PyTuple_Check(known) || PyTuple_GET_SIZE(known) != 3) {
        PyErr_SetString(PyExc_TypeError, "a task is known by three things");
        return -1;
    }
    PyObject *referent = grpc_guard_led_to(PyTuple_GET_ITEM(known, 0));
    Py_XDECREF(referent); /* who asks holds it, if it is the one */
    return referent == NULL ? -1 : referent == future;
}

/* Tells whether a task is of one of the loops, and not done; -1: an error is set. */
static int
is_sought(Recall *self, PyObject *task)
{
    PyObject *loop = PyObject_CallMethodNoArgs(task, self->str_get_loop);
    if (loop == NULL) {
        return -1;
    }
    if (loop != self->loop) {
        int is_its = PySet_Contains(self->loops, loop);
        if (is_its < 0) {
            Py_DECREF(loop);
            return -1;
        }
        self->loop = is_its ? loop : NULL; /* `loops` holds it */
    }
    int is_its = loop == self->loop;
    Py_DECREF(loop);
    PyObject *done = is_its ? PyObject_CallMethodNoArgs(task, self->str_done) : NULL;
    int is_done = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    return !is_its ? 0 : is_done < 0 ? -1 : !is_done;
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

/* A task, what it waits for, and what is known of it or NULL. */
typedef struct {
    PyObject *task, *future, *known;
} Met;

/* Notes what is known of a task that has not gone on, and is in a direction or NULL; -1: an error. */
static int
recall(Recall *self, PyObject *reference, const Met *met, PyObject *direction)
{
    PyObject *standing = PyTuple_GET_ITEM(met->known, 1);
    if (PyDict_SetItem(self->after, reference, met->known) < 0) {
        return -1;
    }
    if (standing == self->nowhere) {
        return 0;
    }
    PyObject *part = part_of(self, standing);
    if (part == NULL || PyList_Append(PyTuple_GET_ITEM(part, 1), met->task) < 0) {
        return -1;
    }
    return direction == NULL ? 0 : PyList_Append(PyTuple_GET_ITEM(part, 2), direction);
}

/* Adds a task that has to be looked at to the fresh ones; -1: an error is set. */
static int
add_fresh(Recall *self, PyObject *reference, PyObject *task, PyObject *future)
{
    int is_one = is_sought(self, task);
    if (is_one <= 0) {
        return is_one;
    }
    PyObject *key = PyLong_FromVoidPtr(task);
    PyObject *both = key == NULL ? NULL : PyTuple_Pack(2, reference, future);
    int failed = both == NULL || PyList_Append(self->fresh, task) < 0
                 || PyDict_SetItem(self->waited, key, both) < 0;
    Py_XDECREF(both);
    Py_XDECREF(key);
    return failed ? -1 : 0;
}

/* Finds the task that a weak reference leads to, if there is one; -1: an error is set. */
static int
meet(Recall *self, PyObject *reference, Met *met)
{
    PyObject *task = grpc_guard_led_to(reference);
    if (task == NULL || task == Py_None) {
        Py_XDECREF(task);
        return task == NULL ? -1 : 0;
    }
    met->task = task;
    met->future = PyObject_GetAttr(task, self->str_fut_waiter);
    if (met->future == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        met->future = Py_NewRef(Py_None);
    }
    if (met->future != NULL && met->future != Py_None) {
        met->known = PyDict_GetItemWithError(self->before, reference);
        Py_XINCREF(met->known);
    }
    return met->future == NULL || PyErr_Occurred() ? -1 : 0;
}

static int
meet_all(Recall *self, PyObject *references, Met *met)
{
    Py_ssize_t count = PyTuple_GET_SIZE(references);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i + 16 < count) {
            FETCH_LINES(PyTuple_GET_ITEM(references, i + 16), sizeof(PyWeakReference));
        }
        if (i + 8 < count) {
            grpc_guard_fetch_led_to(PyTuple_GET_ITEM(references, i + 8), 256);
        }
        if (meet(self, PyTuple_GET_ITEM(references, i), &met[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Has what is needed of the tasks that follow fetched. */
static void
fetch_known(const Met *met, Py_ssize_t left)
{
    if (left > 12 && met[12].known != NULL) {
        FETCH_LINES(met[12].known, 64);
    }
    for (Py_ssize_t step = 8; step > 0; step -= 4) {
        PyObject *known = left > step ? met[step].known : NULL;
        if (known == NULL || !PyTuple_Check(known) || PyTuple_GET_SIZE(known) != 3) {
            continue;
        }
        PyObject *future = PyTuple_GET_ITEM(known, 0), *inside = PyTuple_GET_ITEM(known, 2);
        if (step == 8) {
            FETCH_LINES(future, 64);
            FETCH_LINES(inside, 64);
        }
        else {
            grpc_guard_fetch_led_to(future, 64);
            grpc_guard_fetch_led_to(inside, sizeof(AioFields));
        }
    }
}

/* Recalls a task, or adds it to the fresh ones; -1: an error is set. */
static int
look_at(Recall *self, PyObject *reference, const Met *met)
{
    PyObject *direction = NULL;
    int is_known = met->known == NULL ? 0 : has_not_gone_on(met->known, met->future);
    if (is_known > 0 && PyTuple_GET_ITEM(met->known, 2) != Py_None) {
        direction = grpc_guard_led_to(PyTuple_GET_ITEM(met->known, 2));
        is_known = direction == NULL ? -1 : direction != Py_None; /* else it has gone on just now */
    }
    int failed = is_known;
    if (is_known >= 0) {
        failed = is_known > 0 ? recall(self, reference, met, direction)
                              : add_fresh(self, reference, met->task, met->future);
    }
    Py_XDECREF(direction);
    return failed;
}

/* Looks at the tasks that weak references lead to; returns those that are recalled, in their parts. */
static PyObject *
look_at_all(Recall *self, PyObject *references, Met *met)
{
    self->found = PyDict_New();
    self->str_get_loop = PyUnicode_InternFromString("get_loop");
    self->str_done = PyUnicode_InternFromString("done");
    if (self->found == NULL || self->str_get_loop == NULL || self->str_done == NULL
        || meet_all(self, references, met) < 0) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(references); i++) {
        fetch_known(&met[i], PyTuple_GET_SIZE(references) - i);
        if (met[i].task != NULL && look_at(self, PyTuple_GET_ITEM(references, i), &met[i]) < 0) {
            return NULL;
        }
    }
    return PyDict_Values(self->found);
}

/* recalled(references, loops, fresh, before, after, waited, nowhere, "_fut_waiter"): see Memory. */
static PyObject *
recalled(PyObject *module, PyObject *args)
{
    Recall self = {0};
    PyObject *references;
    if (!PyArg_ParseTuple(args, "OO!O!O!O!O!OU:recalled", &references, &PySet_Type, &self.loops,
                          &PyList_Type, &self.fresh, &PyDict_Type, &self.before, &PyDict_Type,
                          &self.after, &PyDict_Type, &self.waited, &self.nowhere,
                          &self.str_fut_waiter)) {
        return NULL;
    }
    references = PySequence_Tuple(references);
    Py_ssize_t count = references == NULL ? 0 : PyTuple_GET_SIZE(references);
    Met *met = references == NULL ? NULL : PyMem_Calloc((size_t)count + 1, sizeof(Met));
    PyObject *result = met == NULL ? NULL : look_at_all(&self, references, met);
    if (met == NULL && references != NULL) {
        PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; met != NULL && i < count; i++) {
        Py_XDECREF(met[i].task);
        Py_XDECREF(met[i].future);
        Py_XDECREF(met[i].known);
    }
    PyMem_Free(met);
    Py_XDECREF(self.found);
    Py_XDECREF(self.str_get_loop);
    Py_XDECREF(self.str_done);
    Py_XDECREF(references);
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
