/* Recipe: what the constructor of a proxy does, in a form that C can follow. See ../recipes.py. */

#include "guarded.h"
#include "recipes.h"

/* Makes a direction of the stream, which notes it. */
static PyObject *
direction_of(State *state, Part *part, PyObject *wrapped, StreamFields *stream)
{
    PyObject *direction = grpc_guard_make_aio_direction(state, (PyObject *)stream, part, wrapped);
    if (direction == NULL) {
        return NULL;
    }
    if (part->is_write) {
        SET(stream->write, Py_NewRef(Py_True));
        stream->writer = direction;
    }
    else {
        SET(stream->read, Py_NewRef(Py_True));
        stream->reader = direction;
    }
    return direction;
}

/* Returns the step of a direction that has others: what its method makes of what is wrapped, None if it
 * has no part in it. */
static PyObject *
prepared(State *state, Part *part, PyObject *wrapped, PyObject *direction)
{
    if (grpc_guard_is_plain(state, direction)) {
        Py_RETURN_NONE;
    }
    return PyObject_CallMethodOneArg(direction, part->name, wrapped);
}

static PyObject *
value_of(State *state, Part *part, PyObject *const *args, Py_ssize_t count)
{
    switch (part->how) {
    case ARGUMENT:
        return Py_NewRef(part->index < count ? args[part->index] : Py_None);
    case STEP:
        return prepared(state, part, args[0], args[part->index]);
    default:
        return direction_of(state, part, args[0], (StreamFields *)args[1]);
    }
}

USUAL PyObject *
grpc_guard_follow_recipe(State *state, Recipe *recipe, PyTypeObject *cls, PyObject *const *args,
                         Py_ssize_t count)
{
    PyObject *proxy = grpc_guard_new_proxy(cls);
    if (proxy == NULL) {
        return NULL;
    }
    int failed = 0;
    PyObject **wrapped = state->wrapped_at > 0 ? (PyObject **)((char *)proxy + state->wrapped_at) : NULL;
    if (USUALLY(wrapped != NULL && *wrapped == NULL)) {
        *wrapped = Py_NewRef(args[0]);
    }
    else {
        failed = grpc_guard_wrap_in(state, recipe->wrapped, proxy, args[0]);
    }
    if (failed == 0 && recipe->has_ended != Py_None) {
        failed = grpc_guard_track_call((StreamFields *)args[1], args[0], recipe->has_ended);
    }
    for (Py_ssize_t i = 0; failed == 0 && i < Py_SIZE(recipe); i++) {
        PyObject *value = value_of(state, &recipe->parts[i], args, count);
        failed = value == NULL ? -1 : 0;
        PyObject **slot = (PyObject **)((char *)proxy + recipe->parts[i].offset);
        SET(*slot, value);
    }
    if (failed != 0) {
        Py_CLEAR(proxy);
    }
    return proxy;
}

static PyObject *
settable(PyObject *cls, PyObject *name, int is_slot)
{
    PyObject *descriptor = PyObject_GetAttr(cls, name);
    int is_right = descriptor != NULL && Py_TYPE(descriptor)->tp_descr_set != NULL;
    if (is_right && is_slot) {
        is_right = Py_IS_TYPE(descriptor, &PyMemberDescr_Type)
                   && ((PyMemberDescrObject *)descriptor)->d_member->type == T_OBJECT_EX
                   && PyType_IsSubtype((PyTypeObject *)cls, PyDescr_TYPE(descriptor));
    }
    if (descriptor != NULL && !is_right) {
        PyErr_Format(PyExc_TypeError, "%R of %R is no slot", name, cls);
        Py_CLEAR(descriptor);
    }
    return descriptor;
}

/* Reads one part: the name of a slot, how its value comes about, and with what. */
static int
read_part(Part *part, PyObject *cls, Py_ssize_t fewest, PyObject *told)
{
    PyObject *slot, *name, *way;
    int how;
    Py_ssize_t index;
    if (!PyTuple_Check(told)) {
        PyErr_SetString(PyExc_TypeError, "a part is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(told, "UinUU;a part is a slot, how, an index, a name, a way", &slot, &how,
                          &index, &name, &way)) {
        return -1;
    }
    if (how < ARGUMENT || how > DIRECTION_IF_THERE || index < 0 || (how == STEP && index >= fewest)) {
        PyErr_SetString(PyExc_ValueError, "no such part");
        return -1;
    }
    part->how = how;
    part->index = index;
    part->name = PyUnicode_FromObject(name); /* no Way: to look for one makes the __dict__ of an object */
    if (part->name == NULL) {
        return -1;
    }
    PyUnicode_InternInPlace(&part->name);
    part->way = Py_NewRef(way);
    part->is_write = PyUnicode_CompareWithASCIIString(way, "write") == 0;
    part->descriptor = settable(cls, slot, 1);
    if (part->descriptor == NULL) {
        return -1;
    }
    part->offset = ((PyMemberDescrObject *)part->descriptor)->d_member->offset;
    return 0;
}

static PyObject *
recipe_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *cls, *has_ended, *parts;
    Py_ssize_t fewest, most;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Recipe() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!nnOO!:Recipe", &PyType_Type, &cls, &fewest, &most, &has_ended,
                          &PyTuple_Type, &parts)) {
        return NULL;
    }
    State *state = PyType_GetModuleState(type);
    if (state->aio_direction == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure_aio() of the module comes first");
        return NULL;
    }
    if (fewest < 2 || most > MOST_ARGUMENTS) {
        PyErr_SetString(PyExc_ValueError, "a recipe is for an object, a stream, and two more");
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(parts);
    Recipe *self = (Recipe *)type->tp_alloc(type, count);
    if (self == NULL) {
        return NULL;
    }
    self->fewest = fewest;
    self->most = most;
    self->has_ended = Py_NewRef(has_ended);
    for (Py_ssize_t i = 0; i < count; i++) {
        Part *part = &self->parts[i];
        if (read_part(part, cls, fewest, PyTuple_GET_ITEM(parts, i)) < 0) {
            Py_DECREF(self);
            return NULL;
        }
    }
    self->wrapped = settable(cls, state->str_wrapped, 0);
    if (self->wrapped == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
recipe_traverse(Recipe *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->wrapped);
    Py_VISIT(self->has_ended);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        Py_VISIT(self->parts[i].descriptor);
    }
    return 0;
}

/* No tp_clear: what is in a cycle with it, its class, can be cleared. */

static void
recipe_dealloc(Recipe *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->wrapped);
    Py_CLEAR(self->has_ended);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        Py_CLEAR(self->parts[i].descriptor);
        Py_CLEAR(self->parts[i].name);
        Py_CLEAR(self->parts[i].way);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot recipe_slots[] = {
    {Py_tp_doc, "How a proxy is made without its constructor: see recipes.py."},
    {Py_tp_new, recipe_new},
    {Py_tp_traverse, recipe_traverse},
    {Py_tp_dealloc, recipe_dealloc},
    {0, NULL},
};

static PyType_Spec recipe_spec = {
    .name = "grpc_guard._core._compiled.Recipe",
    .basicsize = offsetof(Recipe, parts),
    .itemsize = sizeof(Part),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = recipe_slots,
};

int
grpc_guard_add_recipes(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->recipe, &recipe_spec, NULL);
}
