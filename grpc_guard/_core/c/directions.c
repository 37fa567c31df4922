/* The directions of sync streams: the same as SyncFields of fields.py, name by name. */

#include "directions.h"

static int
fill(State *state, SyncFields *self, PyObject *stream, PyObject *iterator)
{
    leave_stream(self->stream, self->is_of_fields, (PyObject *)self);
    self->free = 1;
    self->has_owner = 0;
    self->since = 0.0;
    self->is_of_fields = (char)IS_STREAM(state, stream);
    if (self->links.next == NULL) { /* not filled before */
        Links *head = &state->steps.live;
        self->links = (Links){head->next, head};
        head->next->previous = &self->links;
        head->next = &self->links;
    }
    SET(self->stream, Py_NewRef(stream));
    SET(self->extra, Py_NewRef(Py_None));
    SET(self->iterator, Py_NewRef(iterator));
    if (self->is_of_fields && ((StreamFields *)stream)->is_instrumented == Py_False) {
        return 0;
    }
    return equip((PyObject *)self, state, stream);
}

USUAL PyObject *
grpc_guard_make_direction(State *state, PyTypeObject *type, PyObject *stream, PyObject *iterator)
{
    SyncFields *self = (SyncFields *)grpc_guard_new_of(KEPT_SYNC_DIRECTIONS, type, state->sync_fields);
    if (self != NULL && fill(state, self, stream, iterator) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
sync_init(SyncFields *self, PyObject *args, PyObject *kwargs)
{
    PyObject *stream, *iterator;
    if (!takes_no_names(kwargs) || !PyArg_UnpackTuple(args, "direction", 2, 2, &stream, &iterator)) {
        return -1;
    }
    State *state = state_of(Py_TYPE(self));
    return state == NULL ? -1 : fill(state, self, stream, iterator);
}


static void
sync_leave(SyncFields *self)
{
    if (self->links.next != NULL) {
        self->links.next->previous = self->links.previous;
        self->links.previous->next = self->links.next;
    }
}
LIFE_OF(sync, SyncFields, EACH_OF_SYNC, KEPT_SYNC_DIRECTIONS)

static PyObject *
sync_get_free(SyncFields *self, void *closure)
{
    if (!self->free) {
        PyErr_SetString(PyExc_AttributeError, "free");
        return NULL;
    }
    Py_RETURN_TRUE;
}

static int
sync_set_free(SyncFields *self, PyObject *value, void *closure)
{
    if (value == NULL && !self->free) {
        PyErr_SetString(PyExc_AttributeError, "free");
        return -1;
    }
    self->free = value != NULL;
    return 0;
}

static PyObject *
sync_get_owner(SyncFields *self, void *closure)
{
    return self->has_owner ? PyLong_FromUnsignedLongLong(self->owner) : Py_NewRef(Py_None);
}

static int
sync_set_owner(SyncFields *self, PyObject *value, void *closure)
{
    if (value == NULL || (value != Py_None && !PyLong_Check(value))) {
        PyErr_SetString(PyExc_TypeError, "an owner is the number of a thread, or None");
        return -1;
    }
    self->has_owner = value != Py_None;
    if (self->has_owner) {
        self->owner = PyLong_AsUnsignedLongLongMask(value);
    }
    return 0;
}

static PyObject *
sync_get_operation(SyncFields *self, void *closure)
{
    if (self->operation == 0) {
        Py_RETURN_NONE;
    }
    State *state = state_of(Py_TYPE(self));
    return state == NULL ? NULL : Py_NewRef(state->steps.operations[self->operation - 1]);
}

static PyObject *
sync_get_caller(SyncFields *self, void *closure)
{
    return self->operation == 0 || self->caller == NULL ? Py_NewRef(Py_None)
                                                        : PyLong_FromVoidPtr(self->caller);
}

static PyMemberDef sync_members[] = {
    WEAK(SyncFields),
    OBJECT(SyncFields, extra, "_extra"),
    {"stream", T_OBJECT_EX, offsetof(SyncFields, stream), READONLY, NULL},
    OBJECT(SyncFields, iterator, "iterator"),
    {"since", T_DOUBLE, offsetof(SyncFields, since), 0, NULL},
    {NULL},
};

static PyGetSetDef sync_properties[] = {
    {"free", (getter)sync_get_free, (setter)sync_set_free, "The token: there or not.", NULL},
    {"owner", (getter)sync_get_owner, (setter)sync_set_owner, NULL, NULL},
    {"operation", (getter)sync_get_operation, NULL, NULL, NULL},
    {"caller", (getter)sync_get_caller, NULL, "The key of the frame that called it.", NULL},
    {NULL},
};

static PyType_Slot sync_slots[] = {
    {Py_tp_doc, "A direction of a sync iterator: see fields.py."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, sync_init},
    {Py_tp_traverse, sync_traverse},
    {Py_tp_clear, sync_clear},
    {Py_tp_dealloc, sync_dealloc},
    {Py_tp_members, sync_members},
    {Py_tp_getset, sync_properties},
    {0, NULL},
};

static PyType_Spec sync_spec = {
    .name = "grpc_guard._core._compiled.SyncFields",
    .basicsize = sizeof(SyncFields),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = sync_slots,
};

int
grpc_guard_add_directions(PyObject *module, State *state)
{
    if (grpc_guard_add_type(module, &state->sync_fields, &sync_spec, NULL) < 0
        || PyObject_SetAttrString((PyObject *)state->sync_fields, "shows_frames", Py_False) < 0) {
        return -1;
    }
    return grpc_guard_add_aio_directions(module, state);
}
