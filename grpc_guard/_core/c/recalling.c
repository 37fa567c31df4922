/* Which tasks have not gone on since the last look: see recall.c. */

#include "recalls.h"

typedef struct {
    Recollection *self;
    PyObject *fresh; /* borrowed */
    PyObject *loop;  /* one of them that was met last; borrowed */
    PyObject *found; /* what is recalled, by the identity of its standing */
    PyObject *last;  /* of it, the part that was added to last; borrowed */
} Recall;

/* Learns how objects of the type of `task` say what they wait for: by what nobody can replace, or not
 * at all; -1: an error is set. */
static int
learn(Recollection *self, PyObject *task)
{
    PyTypeObject *type = Py_TYPE(task);
    PyObject *read = NULL;
    if ((type->tp_flags & Py_TPFLAGS_IMMUTABLETYPE) && type->tp_getattro == PyObject_GenericGetAttr) {
        read = PyObject_GetAttr((PyObject *)type, self->str_fut_waiter);
        if (read == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
    }
    if (read != NULL && !Py_IS_TYPE(read, &PyGetSetDescr_Type) && !Py_IS_TYPE(read, &PyMemberDescr_Type)) {
        Py_CLEAR(read);
    }
    SET(self->task_type, (PyTypeObject *)Py_NewRef((PyObject *)type));
    SET(self->read_waiter, read);
    return 0;
}

PyObject *
grpc_guard_waiter_of(Recollection *self, PyObject *task)
{
    if (!Py_IS_TYPE(task, self->task_type) && learn(self, task) < 0) {
        return NULL;
    }
    PyObject *read = self->read_waiter;
    if (read != NULL) {
        return Py_TYPE(read)->tp_descr_get(read, task, (PyObject *)Py_TYPE(task));
    }
    PyObject *future = PyObject_GetAttr(task, self->str_fut_waiter);
    if (future == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        future = Py_NewRef(Py_None);
    }
    return future;
}

/* Tells whether a task is of one of the loops; -1: an error is set. */
static int
is_sought(Recall *recall, PyObject *task)
{
    PyObject *loop = PyObject_CallMethodNoArgs(task, recall->self->str_get_loop);
    if (loop == NULL) {
        return -1;
    }
    if (loop != recall->loop) {
        int is_its = PySet_Contains(recall->self->loops, loop);
        if (is_its < 0) {
            Py_DECREF(loop);
            return -1;
        }
        recall->loop = is_its ? loop : NULL; /* `loops` holds it */
    }
    int is_its = loop == recall->loop;
    Py_DECREF(loop);
    return is_its;
}

static int
is_done(Recall *recall, PyObject *task)
{
    PyObject *done = PyObject_CallMethodNoArgs(task, recall->self->str_done);
    int is_true = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    return is_true;
}

/* Adds a task that has to be looked at to the fresh ones; -1: an error is set. */
static int
add_fresh(Recall *recall, Py_ssize_t at, PyObject *task, PyObject *future)
{
    int is_over = is_done(recall, task);
    if (is_over != 0) {
        if (is_over > 0) {
            SET(recall->self->all[at].standing, Py_NewRef(recall->self->settled));
        }
        return is_over < 0 ? -1 : 0;
    }
    int is_one = is_sought(recall, task);
    if (is_one <= 0) {
        return is_one;
    }
    PyObject *key = PyLong_FromVoidPtr(task);
    PyObject *both = key == NULL ? NULL : Py_BuildValue("(nO)", at, future);
    int failed = both == NULL || PyDict_SetItem(recall->self->waited, key, both) < 0
                 || PyList_Append(recall->fresh, task) < 0;
    Py_XDECREF(both);
    Py_XDECREF(key);
    return failed ? -1 : 0;
}

/* Returns standing, tasks and directions of those who stand so, borrowed; NULL: an error is set. */
static PyObject *
part_of(Recall *recall, PyObject *standing)
{
    if (recall->last != NULL && PyTuple_GET_ITEM(recall->last, 0) == standing) {
        return recall->last;
    }
    PyObject *key = PyLong_FromVoidPtr(standing);
    PyObject *part = key == NULL ? NULL : PyDict_GetItemWithError(recall->found, key);
    if (part == NULL && key != NULL && !PyErr_Occurred()) {
        part = Py_BuildValue("(O[][])", standing);
        if (part != NULL && PyDict_SetItem(recall->found, key, part) < 0) {
            Py_CLEAR(part);
        }
        Py_XDECREF(part); /* the table has it */
    }
    Py_XDECREF(key);
    recall->last = part;
    return part;
}

/* Adds a task that has not gone on, and is in a direction or NULL, to its part; -1: an error is set. */
static int
add_known(Recall *recall, PyObject *standing, PyObject *task, PyObject *direction)
{
    PyObject *part = part_of(recall, standing);
    if (part == NULL || PyList_Append(PyTuple_GET_ITEM(part, 1), task) < 0) {
        return -1;
    }
    return direction == NULL ? 0 : PyList_Append(PyTuple_GET_ITEM(part, 2), direction);
}

/* Recalls a task, or adds it to the fresh ones; -1: an error is set. */
static int
look_at(Recall *recall, Py_ssize_t at, PyObject *task)
{
    Recalled *one = &recall->self->all[at];
    PyObject *future = grpc_guard_waiter_of(recall->self, task), *direction = NULL;
    if (future == NULL) {
        return -1;
    }
    int is_known = one->standing != NULL && one->future != NULL && future != Py_None
                   && ((PyWeakReference *)one->future)->wr_object == future;
    if (is_known && one->direction != NULL) {
        direction = grpc_guard_led_to(one->direction);
        is_known = direction == NULL ? -1 : direction != Py_None; /* else it has gone on just now */
    }
    int failed = is_known;
    if (is_known > 0) {
        failed = one->standing == recall->self->nowhere
                     ? 0
                     : add_known(recall, one->standing, task, direction);
    }
    else if (is_known == 0) {
        Py_CLEAR(one->standing); /* of the rest later: see leave() */
        failed = add_fresh(recall, at, task, future);
    }
    Py_XDECREF(direction);
    Py_DECREF(future);
    return failed;
}

/* Has what is needed of the tasks that follow fetched, each from where the last step leads. */
static void
fetch_ahead(const Recollection *self, Py_ssize_t at, Py_ssize_t end)
{
    if (at + 24 < end) {
        const Recalled *one = &self->all[self->todo[at + 24]];
        FETCH(one->reference);
        FETCH(one->future);
        FETCH(one->direction);
    }
    if (at + 12 < end) {
        const Recalled *one = &self->all[self->todo[at + 12]];
        FETCH_TASK(((PyWeakReference *)one->reference)->wr_object);
        if (one->future != NULL) {
            FETCH(((PyWeakReference *)one->future)->wr_object);
        }
        if (one->direction != NULL) {
            FETCH_LINES(((PyWeakReference *)one->direction)->wr_object, sizeof(AioFields));
        }
    }
}

PyObject *
grpc_guard_recalled(Recollection *self, Py_ssize_t begin, Py_ssize_t count, PyObject *fresh)
{
    Recall recall = {.self = self, .fresh = fresh, .found = PyDict_New()};
    Py_ssize_t end = count > self->todo_count - begin ? self->todo_count : begin + count;
    int failed = recall.found == NULL;
    for (Py_ssize_t i = begin; !failed && i < end; i++) {
        fetch_ahead(self, i, end);
        PyObject *task = grpc_guard_led_to(self->all[self->todo[i]].reference);
        if (task != Py_None) {
            failed = task == NULL || look_at(&recall, self->todo[i], task) < 0;
        }
        Py_XDECREF(task);
    }
    PyObject *parts = failed ? NULL : PyDict_Values(recall.found);
    Py_XDECREF(recall.found);
    return parts;
}
