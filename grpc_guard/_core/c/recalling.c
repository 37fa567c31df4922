/* Which tasks have not gone on since the last look: see recall.c. */

#include "recalls.h"

typedef struct {
    Recollection *self;
    PyObject *fresh; /* borrowed */
    PyObject *loop;  /* one of them that was met last; borrowed */
    PyObject *found; /* what is recalled, by the identity of its standing */
    PyObject *last;  /* of it, the part that was added to last; borrowed */
    Crowd *crowd;    /* that notes who is in a direction, or NULL; borrowed */
    double time;
} Recall;

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

/* Has the crowd note a task that has not gone on, if its standing says what it does; -1: an error is set. */
static int
note_known(Recall *recall, const Recalled *one, PyObject *task, PyObject *direction, PyObject *name)
{
    PyObject *standing = one->standing;
    PyObject **its = &PyTuple_GET_ITEM(standing, 0);
    int is_timed = PyObject_IsTrue(its[3]);
    double since = is_timed && one->inside.number != 0 ? one->inside.since : recall->time;
    if (is_timed < 0 || grpc_guard_say(recall->crowd, its[1], its[2]) < 0
        || (is_timed && one->inside.number == 0 && grpc_guard_find_since(recall->self->state, direction, &since) < 0)) {
        return -1;
    }
    double held = since < recall->time ? recall->time - since : 0.0;
    Noted *noted = grpc_guard_note_one(recall->crowd, direction, task, held);
    if (noted == NULL) {
        return -1;
    }
    noted->name = name;
    noted->is_listed = one->inside.number != 0;
    return its[0] == Py_None ? 0 : add_known(recall, standing, task, NULL);
}

/* Recalls a task that has not gone on; 0: it has, just now; -1: an error is set. */
static int
recall_one(Recall *recall, const Recalled *one, PyObject *task, PyObject *name)
{
    PyObject *direction = NULL, *standing = one->standing;
    if (standing == recall->self->nowhere) {
        return 1;
    }
    if (one->inside.number != 0) {
        direction = Py_XNewRef(grpc_guard_goes_on(recall->self, &one->inside));
        if (direction == NULL) {
            return 0;
        }
    }
    else if (one->direction != NULL) {
        direction = grpc_guard_led_to(one->direction);
    }
    if (direction == Py_None || (one->direction != NULL && direction == NULL)) {
        Py_XDECREF(direction);
        return direction == NULL ? -1 : 0;
    }
    int is_noted = recall->crowd != NULL && direction != NULL && PyTuple_Check(standing)
                   && PyTuple_GET_SIZE(standing) == 4;
    int failed = is_noted ? note_known(recall, one, task, direction, name)
                          : add_known(recall, standing, task, direction);
    Py_XDECREF(direction);
    return failed < 0 ? -1 : 1;
}

/* Tells whether a task has been found to wait for this future; who is inside an operation, for one like it. */
static int
waits_for(const Recalled *one, const PyObject *future)
{
    return one->inside.number != 0 ? one->inside.future == future
                                   : one->future != NULL && ((PyWeakReference *)one->future)->wr_object == future;
}

/* Recalls a task, or adds it to the fresh ones; -1: an error is set. */
static int
look_at(Recall *recall, Py_ssize_t at, PyObject *task)
{
    Recollection *self = recall->self;
    Recalled *one = &self->all[at];
    PyObject *future, *name = NULL;
    int is_seen = grpc_guard_sees_waiter(self, task, &future, &name);
    PyObject *held = is_seen ? NULL : grpc_guard_waiter_of(self, task);
    if (!is_seen && held == NULL) {
        return -1;
    }
    future = is_seen ? future : held;
    int is_known = one->standing != NULL && future != Py_None && future != NULL && waits_for(one, future);
    if (!is_known && one->standing != NULL && future != NULL) {
        is_known = grpc_guard_is_again(self, one, task, future);
    }
    if (is_known > 0) {
        if (!is_seen && grpc_guard_learn_waiter(self, task, future) < 0) {
            is_known = -1;
        }
        is_known = is_known < 0 ? -1 : recall_one(recall, one, task, name);
    }
    int failed = is_known;
    if (is_known == 0) {
        held = is_seen ? grpc_guard_waiter_of(self, task) : held;
        Py_CLEAR(one->standing); /* of the rest later: see leave() */
        failed = held == NULL ? -1 : add_fresh(recall, at, task, held);
    }
    Py_XDECREF(held);
    return failed < 0 ? -1 : 0;
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
        grpc_guard_fetch_inside(self, &one->inside, 0);
    }
    if (at + 12 < end) {
        const Recalled *one = &self->all[self->todo[at + 12]];
        FETCH_TASK(((PyWeakReference *)one->reference)->wr_object);
        if (one->direction != NULL) {
            FETCH_LINES(((PyWeakReference *)one->direction)->wr_object, 64);
        }
        grpc_guard_fetch_inside(self, &one->inside, 1);
    }
}

PyObject *
grpc_guard_recalled(Recollection *self, Py_ssize_t begin, Py_ssize_t count, PyObject *fresh, Crowd *crowd,
                    double time)
{
    Recall recall = {.self = self, .fresh = fresh, .found = PyDict_New(), .crowd = crowd, .time = time};
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
