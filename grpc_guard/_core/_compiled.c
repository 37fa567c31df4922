/* What happens once for each stream, in C: the same as fields.py, name by name.
 *
 * Heap types and multi-phase init; nothing of CPython's that is not public. Each type is the base
 * of a class in Python, which adds what is no part of a start: see stream.py, steps.py and
 * _proxies/faithful.py.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stddef.h>

#ifndef CHECKSUM
#define CHECKSUM 0u /* of this file, by zlib.crc32(): see hatch_build.py and which.py */
#endif

typedef struct {
    PyTypeObject *stream_fields;
    PyTypeObject *sync_fields;
    PyTypeObject *aio_fields;
    PyTypeObject *constructing_type;
    PyObject *switches;   /* the namespace of fields.py: counting, watch, created */
    PyObject *serialize;  /* Mode.SERIALIZE */
    PyObject *become;     /* the descriptor object.__class__ */
    PyObject *loop_thread_of; /* of loops.py */
    PyObject *str_created, *str_counting, *str_watch, *str_equip;
    PyObject *str_twins, *str_make_twin, *str_thread_id, *str_is_instrumented, *str_loop;
    PyObject *zero;       /* 0.0 */
} State;

static struct PyModuleDef module_definition;

static State *
state_of(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &module_definition);
    if (module == NULL) {
        return NULL;
    }
    State *state = PyModule_GetState(module);
    if (state->switches == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure() of the module comes first");
        return NULL;
    }
    return state;
}

/* Assigns a new reference to a field, and lets go of what was there. */
#define SET(field, value) Py_XSETREF(field, value)

/* StreamFields */

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    PyObject *call, *context, *has_ended, *read, *write;
    PyObject *api, *channel, *ended, *handler, *in_done_callback, *is_instrumented, *loop;
    PyObject *mode, *origin, *rpc, *side;
} StreamFields;

/* Every field that may hold an object, for those who go through them all. */
#define EACH_OF_STREAM(DO) \
    DO(call) DO(context) DO(has_ended) DO(read) DO(write) DO(api) DO(channel) DO(ended) \
    DO(handler) DO(in_done_callback) DO(is_instrumented) DO(loop) DO(mode) DO(origin) DO(rpc) \
    DO(side)

/* Returns what fields.py has under a name, borrowed. */
static PyObject *
switch_of(State *state, PyObject *name)
{
    PyObject *value = PyDict_GetItemWithError(state->switches, name);
    if (value == NULL && !PyErr_Occurred()) {
        PyErr_SetObject(PyExc_NameError, name);
    }
    return value;
}

/* Tells whether the directions of a new stream count, wait or are watched; -1: an error is set. */
static int
instruments(State *state, PyObject *mode)
{
    PyObject *counting = switch_of(state, state->str_counting);
    int is_counting = counting == NULL ? -1 : PyObject_IsTrue(counting);
    if (is_counting != 0) {
        return is_counting;
    }
    PyObject *watch = switch_of(state, state->str_watch);
    if (watch == NULL) {
        return -1;
    }
    return watch != Py_None || mode == state->serialize;
}

/* Counts a new stream: next(created). */
static int
count_one(State *state)
{
    PyObject *created = switch_of(state, state->str_created);
    if (created == NULL) {
        return -1;
    }
    Py_INCREF(created);
    PyObject *number = PyIter_Check(created) ? PyIter_Next(created) : NULL;
    Py_DECREF(created);
    if (number == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "created is not an iterator that goes on");
        }
        return -1;
    }
    Py_DECREF(number);
    return 0;
}

static int
stream_init(StreamFields *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"rpc", "side", "api", "mode", "loop", NULL};
    PyObject *rpc, *side, *api, *mode, *loop = Py_None;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOOO|O:Stream", names, &rpc, &side, &api, &mode, &loop)) {
        return -1;
    }
    State *state = state_of(Py_TYPE(self));
    if (state == NULL) {
        return -1;
    }
    int instrumented = count_one(state) < 0 ? -1 : instruments(state, mode);
    if (instrumented < 0) {
        return -1;
    }
    SET(self->rpc, Py_NewRef(rpc));
    SET(self->side, Py_NewRef(side));
    SET(self->api, Py_NewRef(api));
    SET(self->mode, Py_NewRef(mode));
    SET(self->loop, Py_NewRef(loop));
    SET(self->ended, Py_NewRef(Py_False));
    SET(self->in_done_callback, Py_NewRef(Py_False));
    SET(self->read, Py_NewRef(Py_None));
    SET(self->write, Py_NewRef(Py_None));
    SET(self->origin, Py_NewRef(Py_None));
    SET(self->channel, Py_NewRef(Py_None));
    SET(self->handler, Py_NewRef(Py_None));
    SET(self->call, Py_NewRef(Py_None));
    SET(self->context, Py_NewRef(Py_None));
    SET(self->is_instrumented, Py_NewRef(instrumented ? Py_True : Py_False));
    return 0;
}

static int
stream_traverse(StreamFields *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_STREAM(VISIT)
#undef VISIT
    return 0;
}

static int
stream_clear(StreamFields *self)
{
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_STREAM(CLEAR)
#undef CLEAR
    return 0;
}

static void
stream_dealloc(StreamFields *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    stream_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
stream_track_call(StreamFields *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "track_call() takes a call and has_ended");
        return NULL;
    }
    PyObject *reference = PyWeakref_NewRef(args[0], NULL);
    if (reference == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
            return NULL;
        }
        PyErr_Clear(); /* an interceptor's own kind of call: never known to be over */
        Py_RETURN_NONE;
    }
    SET(self->call, reference);
    SET(self->has_ended, Py_NewRef(args[1]));
    Py_RETURN_NONE;
}

static PyObject *
stream_track_context(StreamFields *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "track_context() takes a context and has_ended");
        return NULL;
    }
    SET(self->has_ended, Py_NewRef(args[1]));
    SET(self->context, Py_NewRef(args[0]));
    Py_RETURN_NONE;
}

/* Returns what a weak reference in a field leads to, or None. */
static PyObject *
referent(PyObject *reference, const char *name)
{
    if (reference == NULL) {
        PyErr_SetString(PyExc_AttributeError, name);
        return NULL;
    }
    if (reference == Py_None) {
        Py_RETURN_NONE;
    }
    Py_INCREF(reference);
    PyObject *object = PyObject_CallNoArgs(reference);
    Py_DECREF(reference);
    return object;
}

static PyObject *
stream_get_read(StreamFields *self, void *closure)
{
    return referent(self->read, "_read");
}

static PyObject *
stream_get_write(StreamFields *self, void *closure)
{
    return referent(self->write, "_write");
}

static int
set_reference(PyObject **field, PyObject *direction)
{
    if (direction == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a direction stays");
        return -1;
    }
    PyObject *reference = PyWeakref_NewRef(direction, NULL);
    if (reference == NULL) {
        return -1;
    }
    SET(*field, reference);
    return 0;
}

static int
stream_set_read(StreamFields *self, PyObject *direction, void *closure)
{
    return set_reference(&self->read, direction);
}

static int
stream_set_write(StreamFields *self, PyObject *direction, void *closure)
{
    return set_reference(&self->write, direction);
}

#define OBJECT(type, field, name) {name, T_OBJECT_EX, offsetof(type, field), 0, NULL}
#define WEAK(type) {"__weaklistoffset__", T_PYSSIZET, offsetof(type, weakrefs), READONLY, NULL}

static PyMemberDef stream_members[] = {
    WEAK(StreamFields),
    OBJECT(StreamFields, call, "_call"),
    OBJECT(StreamFields, context, "_context"),
    OBJECT(StreamFields, has_ended, "_has_ended"),
    OBJECT(StreamFields, read, "_read"),
    OBJECT(StreamFields, write, "_write"),
    OBJECT(StreamFields, api, "api"),
    OBJECT(StreamFields, channel, "channel"),
    OBJECT(StreamFields, ended, "ended"),
    OBJECT(StreamFields, handler, "handler"),
    OBJECT(StreamFields, in_done_callback, "in_done_callback"),
    OBJECT(StreamFields, is_instrumented, "is_instrumented"),
    OBJECT(StreamFields, loop, "loop"),
    OBJECT(StreamFields, mode, "mode"),
    OBJECT(StreamFields, origin, "origin"),
    OBJECT(StreamFields, rpc, "rpc"),
    OBJECT(StreamFields, side, "side"),
    {NULL},
};

static PyMethodDef stream_methods[] = {
    {"track_call", (PyCFunction)(void (*)(void))stream_track_call, METH_FASTCALL,
     "Learn from a call, held weakly, whether the RPC is over."},
    {"track_context", (PyCFunction)(void (*)(void))stream_track_context, METH_FASTCALL,
     "Learn it from a server's context."},
    {NULL},
};

static PyGetSetDef stream_properties[] = {
    {"read", (getter)stream_get_read, (setter)stream_set_read, NULL, NULL},
    {"write", (getter)stream_get_write, (setter)stream_set_write, NULL, NULL},
    {NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "What is known of one stream: see fields.py."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, stream_init},
    {Py_tp_traverse, stream_traverse},
    {Py_tp_clear, stream_clear},
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_members, stream_members},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_properties},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "grpc_guard._core._compiled.StreamFields",
    .basicsize = sizeof(StreamFields),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = stream_slots,
};

/* SyncFields and AioFields: the directions. Their first fields are the same. */

#define DIRECTION \
    PyObject_HEAD \
    PyObject *weakrefs; \
    PyObject *extra, *owner, *since, *stream;

#define EACH_OF_SYNC(DO) DO(extra) DO(owner) DO(since) DO(stream) DO(free) DO(iterator)
#define EACH_OF_AIO(DO) \
    DO(extra) DO(owner) DO(since) DO(stream) DO(loop_thread) DO(step) DO(taken) DO(way)

typedef struct {
    DIRECTION
    PyObject *free, *iterator;
} SyncFields;

typedef struct {
    DIRECTION
    PyObject *loop_thread, *step, *taken, *way;
} AioFields;

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
sync_init(SyncFields *self, PyObject *args, PyObject *kwargs)
{
    PyObject *stream, *iterator;
    if (!takes_no_names(kwargs) || !PyArg_UnpackTuple(args, "direction", 2, 2, &stream, &iterator)) {
        return -1;
    }
    State *state = state_of(Py_TYPE(self));
    if (state == NULL) {
        return -1;
    }
    SET(self->free, Py_NewRef(Py_True));
    SET(self->stream, Py_NewRef(stream));
    SET(self->owner, Py_NewRef(Py_None));
    SET(self->since, Py_NewRef(state->zero));
    SET(self->extra, Py_NewRef(Py_None));
    SET(self->iterator, Py_NewRef(iterator));
    return equip((PyObject *)self, state, stream);
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
aio_init(AioFields *self, PyObject *args, PyObject *kwargs)
{
    PyObject *stream, *way, *step = Py_None;
    if (!takes_no_names(kwargs)
        || !PyArg_UnpackTuple(args, "direction", 2, 3, &stream, &way, &step)) {
        return -1;
    }
    State *state = state_of(Py_TYPE(self));
    if (state == NULL) {
        return -1;
    }
    PyObject *loop_thread = loop_thread_of(state, stream);
    if (loop_thread == NULL) {
        return -1;
    }
    SET(self->stream, Py_NewRef(stream));
    SET(self->way, Py_NewRef(way));
    SET(self->owner, Py_NewRef(Py_None));
    SET(self->since, Py_NewRef(state->zero));
    SET(self->extra, Py_NewRef(Py_None));
    SET(self->step, Py_NewRef(step));
    SET(self->taken, Py_NewRef(Py_False));
    SET(self->loop_thread, loop_thread);
    return equip((PyObject *)self, state, stream);
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

#define DIRECTION_MEMBERS(Fields) \
    WEAK(Fields), OBJECT(Fields, extra, "_extra"), OBJECT(Fields, owner, "owner"), \
    OBJECT(Fields, since, "since"), OBJECT(Fields, stream, "stream")

static PyMemberDef sync_members[] = {
    DIRECTION_MEMBERS(SyncFields),
    OBJECT(SyncFields, free, "free"),
    OBJECT(SyncFields, iterator, "iterator"),
    {NULL},
};

static PyMemberDef aio_members[] = {
    DIRECTION_MEMBERS(AioFields),
    OBJECT(AioFields, loop_thread, "loop_thread"),
    OBJECT(AioFields, step, "step"),
    OBJECT(AioFields, taken, "taken"),
    OBJECT(AioFields, way, "way"),
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
    {0, NULL},
};

static PyType_Spec aio_spec = {
    .name = "grpc_guard._core._compiled.AioFields",
    .basicsize = sizeof(AioFields),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = aio_slots,
};

/* ConstructingType: the type of the classes of proxies, as far as it makes proxies. */

static PyObject *
constructing_call(PyTypeObject *cls, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) < 1 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_Format(PyExc_TypeError, "%.100s() takes what it wraps, by position", cls->tp_name);
        return NULL;
    }
    State *state = state_of(Py_TYPE(cls));
    if (state == NULL) {
        return NULL;
    }
    PyObject *proxy = PyType_Type.tp_call((PyObject *)cls, args, kwargs);
    if (proxy == NULL) {
        return NULL;
    }
    PyObject *plain = (PyObject *)Py_TYPE(PyTuple_GET_ITEM(args, 0));
    PyObject *twin = NULL, *key = NULL;
    PyObject *twins = PyObject_GetAttr((PyObject *)cls, state->str_twins);
    if (twins == NULL) {
        goto failed;
    }
    key = PyLong_FromVoidPtr(plain);
    if (key == NULL) {
        goto failed;
    }
    twin = PyDict_GetItemWithError(twins, key);
    if (twin != NULL) {
        Py_INCREF(twin);
    }
    else if (PyErr_Occurred()) {
        goto failed;
    }
    else {
        twin = PyObject_CallMethodOneArg((PyObject *)cls, state->str_make_twin, plain);
        if (twin == NULL) {
            goto failed;
        }
    }
    if (Py_TYPE(state->become)->tp_descr_set(state->become, proxy, twin) < 0) {
        goto failed;
    }
    Py_DECREF(twin);
    Py_DECREF(key);
    Py_DECREF(twins);
    return proxy;

failed:
    Py_XDECREF(twin);
    Py_XDECREF(key);
    Py_XDECREF(twins);
    Py_DECREF(proxy);
    return NULL;
}

static PyType_Slot constructing_slots[] = {
    {Py_tp_doc, "Makes proxies, and gives each the class that belongs to what it wraps."},
    {Py_tp_call, constructing_call},
    {0, NULL},
};

static PyType_Spec constructing_spec = {
    .name = "grpc_guard._core._compiled.ConstructingType",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = constructing_slots,
};

/* The module */

static PyObject *
configure(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    State *state = PyModule_GetState(module);
    if (count != 3 || !PyDict_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "configure() takes the switches, a mode and a function");
        return NULL;
    }
    SET(state->switches, Py_NewRef(args[0]));
    SET(state->serialize, Py_NewRef(args[1]));
    SET(state->loop_thread_of, Py_NewRef(args[2]));
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"configure", (PyCFunction)(void (*)(void))configure, METH_FASTCALL,
     "Take the namespace that has the switches, the mode in which all streams are equipped, and "
     "what tells the thread of a loop."},
    {NULL},
};

static int
add_type(PyObject *module, PyTypeObject **type, PyType_Spec *spec, PyObject *bases)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, bases);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
#define INTERN(field, text) \
    if ((state->field = PyUnicode_InternFromString(text)) == NULL) { \
        return -1; \
    }
    INTERN(str_created, "created")
    INTERN(str_counting, "counting")
    INTERN(str_watch, "watch")
    INTERN(str_equip, "_equip")
    INTERN(str_thread_id, "_thread_id")
    INTERN(str_is_instrumented, "is_instrumented")
    INTERN(str_loop, "loop")
    INTERN(str_twins, "_self_twins")
    INTERN(str_make_twin, "_make_twin")
#undef INTERN
    PyObject *checksum = PyLong_FromUnsignedLong(CHECKSUM);
    if (checksum == NULL || PyModule_AddObjectRef(module, "CHECKSUM", checksum) < 0) {
        Py_XDECREF(checksum);
        return -1;
    }
    Py_DECREF(checksum);
    state->zero = PyFloat_FromDouble(0.0);
    PyObject *of_object = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__dict__");
    if (of_object == NULL) {
        return -1;
    }
    state->become = PyMapping_GetItemString(of_object, "__class__");
    Py_DECREF(of_object);
    if (state->zero == NULL || state->become == NULL) {
        return -1;
    }
    if (add_type(module, &state->stream_fields, &stream_spec, NULL) < 0
        || add_type(module, &state->sync_fields, &sync_spec, NULL) < 0
        || add_type(module, &state->aio_fields, &aio_spec, NULL) < 0
        || add_type(module, &state->constructing_type, &constructing_spec,
                    (PyObject *)&PyType_Type) < 0) {
        return -1;
    }
    return 0;
}

#define EACH_OF_STATE(DO) \
    DO(stream_fields) DO(sync_fields) DO(aio_fields) DO(constructing_type) DO(switches) \
    DO(serialize) DO(become) DO(str_created) DO(str_counting) DO(str_watch) DO(str_equip) \
    DO(str_twins) DO(str_make_twin) DO(str_thread_id) \
    DO(str_is_instrumented) DO(str_loop) DO(loop_thread_of) DO(zero)

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
#define VISIT(name) Py_VISIT(state->name);
    EACH_OF_STATE(VISIT)
#undef VISIT
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
#define CLEAR(name) Py_CLEAR(state->name);
    EACH_OF_STATE(CLEAR)
#undef CLEAR
    return 0;
}

static void
module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "grpc_guard._core._compiled",
    .m_doc = "What happens once for each stream, compiled: the same as fields.py.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__compiled(void)
{
    return PyModuleDef_Init(&module_definition);
}
