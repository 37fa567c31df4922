/* The type of crowds: see crowd.c. */

#include "crowds.h"
#include "directions.h"

int
grpc_guard_find_since(State *state, PyObject *direction, double *since)
{
    if (IS_AIO_DIRECTION(state, direction)) {
        *since = grpc_guard_since_of((AioFields *)direction);
        return 0;
    }
    PyObject *noted = PyObject_GetAttrString(direction, "since");
    *since = noted == NULL ? -1.0 : PyFloat_AsDouble(noted);
    Py_XDECREF(noted);
    return *since == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* note(tasks, directions, operation, stack, is_timed, time) */
static PyObject *
crowd_note(Crowd *self, PyObject *args)
{
    PyObject *tasks, *directions, *operation, *stack;
    int is_timed;
    double time;
    State *state = state_of(Py_TYPE(self));
    if (state == NULL
        || !PyArg_ParseTuple(args, "O!O!UO!pd:note", &PyList_Type, &tasks, &PyList_Type,
                             &directions, &operation, &PyTuple_Type, &stack, &is_timed, &time)
        || grpc_guard_say(self, operation, stack) < 0) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(directions); i++) {
        double since = time;
        PyObject *direction = PyList_GET_ITEM(directions, i);
        if (i + 8 < PyList_GET_SIZE(directions)) {
            FETCH_LINES(PyList_GET_ITEM(directions, i + 8), sizeof(AioFields));
        }
        if (i >= PyList_GET_SIZE(tasks)) {
            PyErr_SetString(PyExc_ValueError, "fewer tasks than directions");
            return NULL;
        }
        if ((is_timed && grpc_guard_find_since(state, direction, &since) < 0)
            || grpc_guard_note_one(self, direction, PyList_GET_ITEM(tasks, i),
                        since < time ? time - since : 0.0) == NULL) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
crowd_owner(Crowd *self, PyObject *direction)
{
    const Noted *noted = grpc_guard_seen_in(self, direction);
    return noted == NULL ? Py_NewRef(Py_None) : grpc_guard_noted_owner(self, noted);
}

static PyObject *
crowd_holder(Crowd *self, PyObject *direction)
{
    const Noted *noted = grpc_guard_seen_in(self, direction);
    return Py_NewRef(noted == NULL ? Py_None : noted->task);
}

static PyObject *
crowd_forget(Crowd *self, PyObject *direction)
{
    const Noted *noted = grpc_guard_seen_in(self, direction);
    if (noted != NULL) {
        Py_CLEAR(grpc_guard_all_noted(self)[noted - grpc_guard_all_noted(self)].task);
    }
    Py_RETURN_NONE;
}

/* held_by(tasks): the directions that tasks with these identities are in, in a list. */
static PyObject *
crowd_held_by(Crowd *self, PyObject *tasks)
{
    PyObject *found = PyAnySet_Check(tasks) ? PyList_New(0) : NULL;
    if (found == NULL) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "%R is no set", tasks);
    }
    for (Py_ssize_t i = 0; i < self->noted.count; i++) {
        Noted *noted = &grpc_guard_all_noted(self)[i];
        PyObject *key = noted->task == NULL ? Py_NewRef(Py_None) : PyLong_FromVoidPtr(noted->task);
        int is_one = key == NULL ? -1 : PySet_Contains(tasks, key);
        Py_XDECREF(key);
        if (is_one < 0 || (is_one > 0 && PyList_Append(found, noted->direction) < 0)) {
            Py_DECREF(found);
            return NULL;
        }
    }
    return found;
}

static PyObject *
crowd_directions(Crowd *self, PyObject *unused)
{
    PyObject *found = PyList_New(0);
    for (Py_ssize_t i = 0; found != NULL && i < self->noted.count; i++) {
        const Noted *noted = &grpc_guard_all_noted(self)[i];
        if (noted->task != NULL && PyList_Append(found, noted->direction) < 0) {
            Py_CLEAR(found);
        }
    }
    return found;
}

static PyObject *
crowd_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    State *state = state_of(type);
    PyObject *new_owner, *name_of;
    if (state == NULL
        || !PyArg_ParseTuple(args, "O!O:Crowd", state->maker, &new_owner, &name_of)) {
        return NULL;
    }
    if (Py_SIZE(new_owner) != 7) {
        PyErr_SetString(PyExc_TypeError, "an owner has seven fields");
        return NULL;
    }
    Crowd *self = (Crowd *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->new_owner = (RecordMaker *)Py_NewRef(new_owner);
        self->name_of = Py_NewRef(name_of);
        self->names = PyDict_New();
        self->kind = PyUnicode_InternFromString("task");
        self->relation = PyUnicode_InternFromString("inside");
        self->state = state;
        self->serial = ++state->crowds_made;
        self->noted.likely = state->noted_last;
        if (self->names == NULL || self->kind == NULL || self->relation == NULL) {
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static int
crowd_traverse(Crowd *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)self->new_owner);
    Py_VISIT(self->name_of);
    Py_VISIT(self->names);
    for (Py_ssize_t i = 0; i < self->noted.count; i++) {
        Py_VISIT(grpc_guard_all_noted(self)[i].direction);
        Py_VISIT(grpc_guard_all_noted(self)[i].task);
    }
    for (Py_ssize_t i = 0; i < self->said_count; i++) {
        Py_VISIT(self->said[i].stack);
    }
    return 0;
}

static int
crowd_clear(Crowd *self)
{
    Py_CLEAR(self->new_owner);
    Py_CLEAR(self->name_of);
    Py_CLEAR(self->names);
    Py_CLEAR(self->kind);
    Py_CLEAR(self->relation);
    while (self->noted.count > 0) {
        const Noted *all = grpc_guard_all_noted(self);
        Noted noted = all[--self->noted.count];
        if (self->noted.count > 8) {
            FETCH(all[self->noted.count - 8].direction);
            FETCH(all[self->noted.count - 8].task);
        }
        Py_DECREF(noted.direction);
        Py_XDECREF(noted.task);
    }
    while (self->said_count > 0) {
        Said said = self->said[--self->said_count];
        Py_DECREF(said.operation);
        Py_DECREF(said.stack);
    }
    return 0;
}

static void
crowd_dealloc(Crowd *self)
{
    PyTypeObject *type = Py_TYPE(self);
    State *state = grpc_guard_state_left(type);
    PyObject_GC_UnTrack(self);
    if (state != NULL) {
        state->noted_last = self->noted.count;
    }
    crowd_clear(self);
    grpc_guard_end_table(&self->noted);
    PyMem_Free(self->said);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef crowd_methods[] = {
    {"note", (PyCFunction)(void (*)(void))crowd_note, METH_VARARGS, "Note tasks in directions."},
    {"owner", (PyCFunction)(void (*)(void))crowd_owner, METH_O, "Return who is in a direction."},
    {"holder", (PyCFunction)(void (*)(void))crowd_holder, METH_O, "Return its task."},
    {"forget", (PyCFunction)(void (*)(void))crowd_forget, METH_O, "Note nobody in a direction."},
    {"held_by", (PyCFunction)(void (*)(void))crowd_held_by, METH_O, "Return the directions of tasks."},
    {"directions", (PyCFunction)(void (*)(void))crowd_directions, METH_NOARGS, "Return all directions."},
    {NULL},
};

static PyType_Slot crowd_slots[] = {
    {Py_tp_doc, "Tasks that were seen in directions: see _inspect/noting.py."},
    {Py_tp_new, crowd_new},
    {Py_tp_traverse, crowd_traverse},
    {Py_tp_clear, crowd_clear},
    {Py_tp_dealloc, crowd_dealloc},
    {Py_tp_methods, crowd_methods},
    {0, NULL},
};

static PyType_Spec crowd_spec = {
    .name = "grpc_guard._core._compiled.Crowd",
    .basicsize = sizeof(Crowd),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = crowd_slots,
};

int
grpc_guard_add_crowd(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->crowd, &crowd_spec, NULL);
}
