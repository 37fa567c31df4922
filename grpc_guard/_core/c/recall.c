/* What one look remembers of tasks for the next: the same as Memory of _inspect/remembered.py.
 *
 * It is handed from look to look: no two have it at the same time.
 */

#include "recalls.h"

/* Begins a call; -1: an error is set. */
static int
begin(Recollection *self)
{
    if (self->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "two looks have the same memory");
        return -1;
    }
    self->is_busy = 1;
    return 0;
}

/* take(): False if another look has it. */
static PyObject *
recollection_take(Recollection *self, PyObject *unused)
{
    int is_free = !self->is_taken && !self->is_busy;
    self->is_taken = 1;
    return PyBool_FromLong(is_free);
}

/* meet(tables, loops, streams): the tasks of this look, as asyncio has them; those of `loops` are sought. The
 * caller holds all `streams` that there are in a list up to the end of the look, or has None. Returns how many
 * tasks have to be looked at. */
static PyObject *
recollection_meet(Recollection *self, PyObject *args)
{
    PyObject *tables, *loops, *streams = Py_None;
    if (!PyArg_ParseTuple(args, "O!O!|O:meet", &PyTuple_Type, &tables, &PySet_Type, &loops, &streams)) {
        return NULL;
    }
    if (streams != Py_None && !PyList_Check(streams)) {
        return PyErr_Format(PyExc_TypeError, "streams are in a list, not in %R", streams);
    }
    if (begin(self) < 0) {
        return NULL;
    }
    grpc_guard_list_streams(self, streams);
    SET(self->loops, Py_NewRef(loops));
    SET(self->waited, PyDict_New());
    int failed = self->waited == NULL || grpc_guard_meet(self, tables) < 0;
    self->is_busy = 0;
    return failed ? NULL : PyLong_FromSsize_t(self->todo_count);
}

/* recalled(begin, count, fresh, crowd, time), the last two may be missing: see grpc_guard_recalled(). */
static PyObject *
recollection_recalled(Recollection *self, PyObject *args)
{
    Py_ssize_t first, count;
    PyObject *fresh;
    Crowd *crowd = NULL;
    double time = 0.0;
    if (!PyArg_ParseTuple(args, "nnO!|O!d:recalled", &first, &count, &PyList_Type, &fresh,
                          self->state->crowd, &crowd, &time)) {
        return NULL;
    }
    if (self->waited == NULL || first < 0 || first > self->todo_count || count < 0) {
        PyErr_SetString(PyExc_ValueError, "no such tasks have been met");
        return NULL;
    }
    if (begin(self) < 0) {
        return NULL;
    }
    PyObject *parts = grpc_guard_recalled(self, first, count, fresh, crowd, time);
    self->is_busy = 0;
    return parts;
}

/* Notes for which future a task waits, and in which direction, if any; -1: an error is set. */
static int
note_future(Recollection *self, Recalled *known, PyObject *task, PyObject *future, PyObject *direction)
{
    int is_inside = direction == NULL ? 0 : grpc_guard_note_inside(self, known, task, direction, future);
    if (is_inside != 0) {
        return is_inside < 0 ? -1 : 0;
    }
    known->future = PyWeakref_NewRef(future, NULL);
    known->direction = direction == NULL ? NULL : PyWeakref_NewRef(direction, NULL);
    return known->future == NULL || (direction != NULL && known->direction == NULL) ? -1 : 0;
}

/* Notes how a task stands that waits still for what it waited for; -1: an error is set. */
static int
note_one(Recollection *self, PyObject *task, PyObject *standing, PyObject *direction)
{
    PyObject *key = PyLong_FromVoidPtr(task);
    PyObject *both = key == NULL ? NULL : PyDict_GetItemWithError(self->waited, key);
    if (both == NULL) {
        if (key != NULL && !PyErr_Occurred()) {
            PyErr_SetObject(PyExc_KeyError, key);
        }
        Py_XDECREF(key);
        return -1;
    }
    Py_DECREF(key);
    Recalled known = {.standing = Py_NewRef(standing)};
    Recalled *one = &self->all[PyLong_AsSsize_t(PyTuple_GET_ITEM(both, 0))];
    PyObject *before = PyTuple_GET_ITEM(both, 1); /* `waited` holds it */
    int is_one = standing == self->settled ? 1 : 0, failed = 0;
    if (!is_one) {
        PyObject *now = grpc_guard_waiter_of(self, task);
        is_one = now == before && (PyObject *)Py_TYPE(before) == self->plain;
        failed = now == NULL || (is_one && note_future(self, &known, task, before, direction) < 0);
        Py_XDECREF(now);
    }
    if (is_one && !failed) {
        grpc_guard_unlearn(one);
        known.reference = one->reference;
        *one = known;
        return 0;
    }
    grpc_guard_unlearn(&known);
    return failed ? -1 : 0;
}

/* note(tasks, standing, directions): see Memory.note(). */
static PyObject *
recollection_note(Recollection *self, PyObject *args)
{
    PyObject *tasks, *standing, *directions;
    if (!PyArg_ParseTuple(args, "OOO:note", &tasks, &standing, &directions)) {
        return NULL;
    }
    tasks = PySequence_Tuple(tasks);
    directions = tasks == NULL ? NULL : PySequence_Tuple(directions);
    int failed = directions == NULL || begin(self) < 0;
    if (!failed && self->waited == NULL) {
        PyErr_SetString(PyExc_ValueError, "no tasks have been met");
        failed = 1;
        self->is_busy = 0;
    }
    if (!failed) {
        Py_ssize_t count = PyTuple_GET_SIZE(tasks), inside = PyTuple_GET_SIZE(directions);
        count = 0 < inside && inside < count ? inside : count;
        for (Py_ssize_t i = 0; !failed && i < count; i++) {
            PyObject *direction = inside == 0 ? NULL : PyTuple_GET_ITEM(directions, i);
            failed = note_one(self, PyTuple_GET_ITEM(tasks, i), standing, direction) < 0;
        }
        self->is_busy = 0;
    }
    Py_XDECREF(directions);
    Py_XDECREF(tasks);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* leave(): lets go of what is of this look alone, and of what was known of tasks that have gone on. Not
 * before: as many references as were made since die now, which gives the collector no reason to run. */
static PyObject *
recollection_leave(Recollection *self, PyObject *unused)
{
    if (begin(self) < 0) {
        return NULL;
    }
    Py_ssize_t left = 0;
    for (Py_ssize_t i = 0; i < self->todo_count; i++) {
        if (i + 16 < self->todo_count) {
            FETCH(&self->all[self->todo[i + 16]].standing);
        }
        Recalled *one = &self->all[self->todo[i]];
        if (one->standing == NULL) {
            grpc_guard_unlearn(one);
        }
        if (one->standing != self->settled) {
            self->todo[left++] = self->todo[i]; /* for the next look */
        }
    }
    self->todo_count = left;
    grpc_guard_unmark(self);
    Py_CLEAR(self->waited);
    Py_CLEAR(self->loops);
    self->is_busy = 0;
    self->is_taken = 0;
    Py_RETURN_NONE;
}

/* known(): the references to the tasks of which something is known, in a list. */
static PyObject *
recollection_known(Recollection *self, PyObject *unused)
{
    PyObject *found = PyList_New(0);
    for (Py_ssize_t i = 0; found != NULL && i < self->count; i++) {
        if (self->all[i].standing != NULL && PyList_Append(found, self->all[i].reference) < 0) {
            Py_CLEAR(found);
        }
    }
    return found;
}

static PyObject *
recollection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    State *state = state_of(type);
    PyObject *nowhere, *settled, *awaited, *plain;
    if (state == NULL
        || !PyArg_ParseTuple(args, "OOUO!:Recollection", &nowhere, &settled, &awaited, &PyType_Type, &plain)) {
        return NULL;
    }
    Recollection *self = (Recollection *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
        self->serial = ++state->recollections_made;
        self->nowhere = Py_NewRef(nowhere);
        self->settled = Py_NewRef(settled);
        self->str_fut_waiter = Py_NewRef(awaited);
        self->plain = Py_NewRef(plain);
        self->str_get_loop = PyUnicode_InternFromString("get_loop");
        self->str_done = PyUnicode_InternFromString("done");
        self->str_get_name = PyUnicode_InternFromString("get_name");
        self->str_get_coro = PyUnicode_InternFromString("get_coro");
        self->str_cr_await = PyUnicode_InternFromString("cr_await");
        self->str_cr_frame = PyUnicode_InternFromString("cr_frame");
        if (PyErr_Occurred()) {
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static void
recollection_dealloc(Recollection *self)
{
    PyTypeObject *type = Py_TYPE(self);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        grpc_guard_unlearn(&self->all[i]);
        Py_XDECREF(self->all[i].reference);
    }
    PyMem_Free(self->all);
    PyMem_Free(self->spare);
    PyMem_Free(self->todo);
    PyMem_Free(self->references);
    grpc_guard_end_boxes(&self->boxes);
    grpc_guard_end_lines(self);
    PyObject *held[] = {
        self->nowhere, self->settled, self->str_fut_waiter, self->plain,
        self->loops, self->waited, (PyObject *)self->task_type, self->read_waiter,
        self->str_get_loop, self->str_done, self->str_get_name, self->str_get_coro,
        self->str_cr_await, self->str_cr_frame,
    };
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
        Py_XDECREF(held[i]);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef recollection_methods[] = {
    {"take", (PyCFunction)(void (*)(void))recollection_take, METH_NOARGS, "Begin a look."},
    {"meet", (PyCFunction)(void (*)(void))recollection_meet, METH_VARARGS, "Take the tasks of a look."},
    {"recalled", (PyCFunction)(void (*)(void))recollection_recalled, METH_VARARGS,
     "Return those of them that have not gone on, by their standing."},
    {"note", (PyCFunction)(void (*)(void))recollection_note, METH_VARARGS, "Note how tasks stand."},
    {"leave", (PyCFunction)(void (*)(void))recollection_leave, METH_NOARGS, "End a look."},
    {"known", (PyCFunction)(void (*)(void))recollection_known, METH_NOARGS,
     "Return the references to those of which something is known."},
    {NULL},
};

static PyType_Slot recollection_slots[] = {
    {Py_tp_doc, "What looks remember of tasks: see _inspect/remembered.py."},
    {Py_tp_new, recollection_new},
    {Py_tp_dealloc, recollection_dealloc},
    {Py_tp_methods, recollection_methods},
    {0, NULL},
};

static PyType_Spec recollection_spec = {
    .name = "grpc_guard._core._compiled.Recollection",
    .basicsize = sizeof(Recollection),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = recollection_slots,
};

int
grpc_guard_add_recall(PyObject *module, State *state)
{
    PyTypeObject *recollection = NULL;
    int failed = grpc_guard_add_type(module, &recollection, &recollection_spec, NULL);
    Py_XDECREF(recollection); /* the module has it */
    return failed;
}
