/* The directions of a stream: the same as SyncFields and AioFields of fields.py, name by name. */

#include "core.h"

/* Returns a new reference to a field of a stream, without a lookup if it is one of ours. */
static PyObject *
of_stream(State *state, PyObject *stream, Py_ssize_t offset, PyObject *name)
{
    if (PyObject_TypeCheck(stream, state->stream_fields)) {
        PyObject *value = *(PyObject **)((char *)stream + offset);
        if (value != NULL) {
            return Py_NewRef(value);
        }
    }
    return PyObject_GetAttr(stream, name);
}

#define OF_STREAM(state, stream, name) \
    of_stream(state, stream, offsetof(StreamFields, name), (state)->str_##name)

/* Has the direction equipped with what its stream asks for; nothing for nearly all. */
static int
equip(PyObject *self, State *state, PyObject *stream)
{
    PyObject *value = OF_STREAM(state, stream, is_instrumented);
    int instrumented = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    if (instrumented <= 0) {
        return instrumented;
    }
    PyObject *nothing = PyObject_CallMethodNoArgs(self, state->str_equip);
    Py_XDECREF(nothing);
    return nothing == NULL ? -1 : 0;
}

static int
takes_no_names(PyObject *kwargs)
{
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "a direction takes no keyword arguments");
        return 0;
    }
    return 1;
}

static int
fill(State *state, SyncFields *self, PyObject *stream, PyObject *iterator)
{
    self->free = 1;
    self->has_owner = 0;
    self->since = 0.0;
    self->is_of_fields = (char)PyObject_TypeCheck(stream, state->stream_fields);
    if (self->links.next == NULL) { /* not filled before */
        Links *head = &state->steps.live;
        self->links = (Links){head->next, head};
        head->next->previous = &self->links;
        head->next = &self->links;
    }
    SET(self->stream, Py_NewRef(stream));
    SET(self->extra, Py_NewRef(Py_None));
    SET(self->iterator, Py_NewRef(iterator));
    return equip((PyObject *)self, state, stream);
}

PyObject *
grpc_guard_make_direction(State *state, PyTypeObject *type, PyObject *stream, PyObject *iterator)
{
    SyncFields *self = (SyncFields *)type->tp_alloc(type, 0);
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

/* Returns what tells which thread runs the loop of a stream: mostly the loop. See loops.py. */
static PyObject *
loop_thread_of(State *state, PyObject *stream)
{
    PyObject *loop = OF_STREAM(state, stream, loop);
    if (loop == NULL) {
        return NULL;
    }
    PyObject *thread = PyObject_GetAttr(loop, state->str_thread_id);
    if (thread != NULL) {
        Py_DECREF(thread);
        return loop;
    }
    PyObject *teller = NULL;
    if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        teller = PyObject_CallOneArg(state->loop_thread_of, loop);
    }
    Py_DECREF(loop);
    return teller;
}

static int
fill_aio(State *state, AioFields *self, PyObject *stream, PyObject *way, PyObject *step)
{
    PyObject *loop_thread = loop_thread_of(state, stream);
    if (loop_thread == NULL) {
        return -1;
    }
    SET(self->stream, Py_NewRef(stream));
    SET(self->way, Py_NewRef(way));
    SET(self->owner, Py_NewRef(Py_None));
    SET(self->extra, Py_NewRef(Py_None));
    SET(self->step, Py_XNewRef(step));
    self->since = 0.0;
    self->taken = 0;
    self->is_of_fields = (char)PyObject_TypeCheck(stream, state->stream_fields);
    SET(self->loop_thread, loop_thread);
    return equip((PyObject *)self, state, stream);
}

/* Tells whether all objects of a type have a method of this name, which need not be bound before it
 * is called; an object may have another one in its place. */
static int
has_method(PyTypeObject *type, PyObject *name)
{
    PyObject *method = PyObject_GetAttr((PyObject *)type, name);
    if (method == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    int is_method = PyType_HasFeature(Py_TYPE(method), Py_TPFLAGS_METHOD_DESCRIPTOR) != 0;
    Py_DECREF(method);
    return is_method;
}

PyObject *
grpc_guard_make_aio_direction(State *state, PyObject *stream, PyObject *way, PyObject *wrapped,
                              PyObject *name, int may_lack)
{
    int is_method = has_method(Py_TYPE(wrapped), name);
    PyObject *step = is_method == 0 ? PyObject_GetAttr(wrapped, name) : NULL;
    if (step == NULL && is_method <= 0) {
        if (is_method < 0 || !may_lack || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
        PyErr_Clear();
        step = Py_NewRef(Py_None);
    }
    PyTypeObject *type = (PyTypeObject *)state->aio_direction;
    AioFields *self = (AioFields *)type->tp_alloc(type, 0);
    if (self != NULL && step == NULL) {
        self->wrapped = Py_NewRef(wrapped);
        self->name = Py_NewRef(name);
    }
    if (self != NULL && fill_aio(state, self, stream, way, step) < 0) {
        Py_CLEAR(self);
    }
    Py_XDECREF(step);
    return (PyObject *)self;
}

static int
aio_init(AioFields *self, PyObject *args, PyObject *kwargs)
{
    PyObject *stream, *way, *step = Py_None;
    if (!takes_no_names(kwargs)
        || !PyArg_UnpackTuple(args, "direction", 2, 3, &stream, &way, &step)) {
        return -1;
    }
    State *state = state_of(Py_TYPE(self));
    return state == NULL ? -1 : fill_aio(state, self, stream, way, step);
}

static void
sync_leave(SyncFields *self)
{
    if (self->links.next != NULL) {
        self->links.next->previous = self->links.previous;
        self->links.previous->next = self->links.next;
    }
}

static void
aio_leave(AioFields *self)
{
}

#define LIFE_OF(prefix, Fields, EACH) \
    static int prefix##_traverse(Fields *self, visitproc visit, void *arg) \
    { \
        Py_VISIT(Py_TYPE(self)); \
        EACH(VISIT_) \
        return 0; \
    } \
    static int prefix##_clear(Fields *self) \
    { \
        EACH(CLEAR_) \
        return 0; \
    } \
    static void prefix##_dealloc(Fields *self) \
    { \
        PyTypeObject *type = Py_TYPE(self); \
        PyObject_GC_UnTrack(self); \
        prefix##_leave(self); \
        if (self->weakrefs != NULL) { \
            PyObject_ClearWeakRefs((PyObject *)self); \
        } \
        prefix##_clear(self); \
        type->tp_free(self); \
        Py_DECREF(type); \
    }

#define VISIT_(name) Py_VISIT(self->name);
#define CLEAR_(name) Py_CLEAR(self->name);
LIFE_OF(sync, SyncFields, EACH_OF_SYNC)
LIFE_OF(aio, AioFields, EACH_OF_AIO)

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

static PyMemberDef aio_members[] = {
    WEAK(AioFields),
    OBJECT(AioFields, extra, "_extra"),
    {"stream", T_OBJECT_EX, offsetof(AioFields, stream), READONLY, NULL},
    OBJECT(AioFields, owner, "owner"),
    {"since", T_DOUBLE, offsetof(AioFields, since), 0, NULL},
    OBJECT(AioFields, loop_thread, "loop_thread"),
    {"taken", T_BOOL, offsetof(AioFields, taken), 0, NULL},
    OBJECT(AioFields, way, "way"),
    {NULL},
};

static PyObject *
aio_inside(AioFields *self, void *closure)
{
    return Py_NewRef(self->inside != NULL ? self->inside : Py_None);
}

static PyObject *
aio_get_step(AioFields *self, void *closure)
{
    if (self->step != NULL) {
        return Py_NewRef(self->step);
    }
    if (self->wrapped == NULL || self->name == NULL) {
        PyErr_SetString(PyExc_AttributeError, "step");
        return NULL;
    }
    PyObject *wrapped = Py_NewRef(self->wrapped), *name = Py_NewRef(self->name);
    PyObject *step = PyObject_GetAttr(wrapped, name);
    Py_DECREF(wrapped);
    Py_DECREF(name);
    return step;
}

static int
aio_set_step(AioFields *self, PyObject *value, void *closure)
{
    if (value == NULL) {
        Py_CLEAR(self->wrapped); /* then there is none */
    }
    SET(self->step, Py_XNewRef(value));
    return 0;
}

static PyGetSetDef aio_properties[] = {
    {"step", (getter)aio_get_step, (setter)aio_set_step, "The operation itself.", NULL},
    {"inside", (getter)aio_inside, NULL, "The operation in C that owns it, or None.", NULL},
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

static PyType_Slot aio_slots[] = {
    {Py_tp_doc, "A direction of an aio stream: see fields.py."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, aio_init},
    {Py_tp_traverse, aio_traverse},
    {Py_tp_clear, aio_clear},
    {Py_tp_dealloc, aio_dealloc},
    {Py_tp_members, aio_members},
    {Py_tp_getset, aio_properties},
    {0, NULL},
};

static PyType_Spec aio_spec = {
    .name = "grpc_guard._core._compiled.AioFields",
    .basicsize = sizeof(AioFields),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = aio_slots,
};

int
grpc_guard_add_directions(PyObject *module, State *state)
{
    if (grpc_guard_add_type(module, &state->sync_fields, &sync_spec, NULL) < 0
        || grpc_guard_add_type(module, &state->aio_fields, &aio_spec, NULL) < 0) {
        return -1;
    }
    static const char name[] = "shows_frames"; /* see fields.py */
    if (PyObject_SetAttrString((PyObject *)state->sync_fields, name, Py_False) < 0) {
        return -1;
    }
    return PyObject_SetAttrString((PyObject *)state->aio_fields, name, Py_True);
}
