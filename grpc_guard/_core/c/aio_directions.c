/* The directions of asyncio streams: the same as AioFields of fields.py, name by name. */

#include "directions.h"
#include "recipes.h"

/* Returns what tells which thread runs the loop of a stream: mostly the loop. See loops.py. */
static USUAL PyObject *
loop_thread_of(State *state, PyObject *stream)
{
    PyObject *loop = OF_STREAM(state, stream, loop);
    if (loop == NULL) {
        return NULL;
    }
    PyObject *thread = grpc_guard_own(&state->of_thread_id, loop, state->str_thread_id);
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

/* Nobody but its stream knows it: see LIFE_OF. */
#define aio_leave(self)

static int
fill_aio(State *state, AioFields *self, PyObject *stream, PyObject *way, PyObject *step)
{
    PyObject *loop_thread = loop_thread_of(state, stream);
    if (loop_thread == NULL) {
        return -1;
    }
    leave_stream(self->stream, self->is_of_fields, (PyObject *)self);
    self->is_of_fields = (char)IS_STREAM(state, stream);
    SET(self->stream, Py_NewRef(stream));
    SET(self->way, Py_NewRef(way));
    SET(self->owner, Py_NewRef(Py_None));
    SET(self->extra, Py_NewRef(Py_None));
    SET(self->step, Py_XNewRef(step));
    self->since = 0.0;
    self->taken = 0;
    SET(self->loop_thread, loop_thread);
    return equip((PyObject *)self, state, stream);
}

/* The same for a new direction, all of whose fields are clear, of a stream of ours. */
static int
fill_new(State *state, AioFields *self, PyObject *of, Part *part, PyObject *step)
{
    StreamFields *stream = (StreamFields *)of;
    PyObject *other = part->is_write ? stream->reader : stream->writer;
    if (other != NULL && (PyObject *)Py_TYPE(other) == state->aio_direction && ((AioFields *)other)->loop_thread != NULL) {
        self->loop_thread = Py_NewRef(((AioFields *)other)->loop_thread);
    }
    else {
        self->loop_thread = loop_thread_of(state, of);
        if (self->loop_thread == NULL) {
            return -1;
        }
    }
    self->is_of_fields = 1;
    self->stream = Py_NewRef(of);
    self->way = Py_NewRef(part->way);
    self->owner = Py_NewRef(Py_None);
    self->extra = Py_NewRef(Py_None);
    self->step = Py_XNewRef(step);
    return USUALLY(stream->is_instrumented == Py_False) ? 0 : equip((PyObject *)self, state, of);
}

/* Tells whether all objects of a type have the method of a part, which need not be bound before it is
 * called; an object may have another one in its place. */
static int
has_method(PyTypeObject *type, Part *part)
{
    if (type->tp_version_tag != 0 && type->tp_version_tag == part->of_method) {
        return 1;
    }
    PyObject *method = PyObject_GetAttr((PyObject *)type, part->name);
    if (method == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    int is_method = PyType_HasFeature(Py_TYPE(method), Py_TPFLAGS_METHOD_DESCRIPTOR) != 0;
    Py_DECREF(method);
    if (is_method) {
        part->of_method = type->tp_version_tag;
    }
    return is_method;
}

USUAL PyObject *
grpc_guard_make_aio_direction(State *state, PyObject *stream, Part *part, PyObject *wrapped)
{
    int is_method = has_method(Py_TYPE(wrapped), part);
    PyObject *step = is_method == 0 ? PyObject_GetAttr(wrapped, part->name) : NULL;
    if (step == NULL && is_method <= 0) {
        if (is_method < 0 || part->how != DIRECTION_IF_THERE
            || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
        PyErr_Clear();
        step = Py_NewRef(Py_None);
    }
    PyTypeObject *type = (PyTypeObject *)state->aio_direction;
    AioFields *self = (AioFields *)grpc_guard_new_of(KEPT_AIO_DIRECTIONS, type, state->aio_fields);
    if (self != NULL && step == NULL) {
        self->wrapped = Py_NewRef(wrapped);
        self->name = Py_NewRef(part->name);
    }
    if (self != NULL && fill_new(state, self, stream, part, step) < 0) {
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

LIFE_OF(aio, AioFields, EACH_OF_AIO, KEPT_AIO_DIRECTIONS)

static int
aio_collect(AioFields *self)
{
    aio_leave(self);
    return aio_clear(self);
}

static PyMemberDef aio_members[] = {
    WEAK(AioFields),
    OBJECT(AioFields, extra, "_extra"),
    {"stream", T_OBJECT_EX, offsetof(AioFields, stream), READONLY, NULL},
    OBJECT(AioFields, owner, "owner"),
    OBJECT(AioFields, loop_thread, "loop_thread"),
    {"taken", T_BOOL, offsetof(AioFields, taken), 0, NULL},
    OBJECT(AioFields, way, "way"),
    {NULL},
};

static PyObject *
aio_get_since(AioFields *self, void *closure)
{
    return PyFloat_FromDouble(grpc_guard_since_of(self));
}

static int
aio_set_since(AioFields *self, PyObject *value, void *closure)
{
    double since = value == NULL ? -1.0 : PyFloat_AsDouble(value);
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "since is a number");
    }
    if (since == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    self->since = since;
    self->is_untimed = 0;
    return 0;
}

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
    {"since", (getter)aio_get_since, (setter)aio_set_since, "When the last operation began.", NULL},
    {"inside", (getter)aio_inside, NULL, "The operation in C that owns it, or None.", NULL},
    {NULL},
};

static PyType_Slot aio_slots[] = {
    {Py_tp_doc, "A direction of an aio stream: see fields.py."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, aio_init},
    {Py_tp_traverse, aio_traverse},
    {Py_tp_clear, aio_collect},
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
grpc_guard_add_aio_directions(PyObject *module, State *state)
{
    if (grpc_guard_add_type(module, &state->aio_fields, &aio_spec, NULL) < 0) {
        return -1;
    }
    return PyObject_SetAttrString((PyObject *)state->aio_fields, "shows_frames", Py_True);
}
