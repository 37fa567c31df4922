/* AioOperation: its attributes, those of a coroutine and those that the guard reads. */

#include "aio.h"

/* Returns an attribute of something, by a name of the module. All are interned: the cache of types
 * would keep each new one. */
static PyObject *
attribute(AioOperation *self, PyObject *object, Py_ssize_t name)
{
    State *state = PyType_GetModuleState(Py_TYPE(self));
    PyObject *interned = state == NULL ? NULL : *(PyObject **)((char *)state + name);
    if (interned == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the interpreter is shutting down");
        return NULL;
    }
    return PyObject_GetAttr(object, interned);
}

#define ATTRIBUTE(object, name) attribute(self, object, offsetof(State, str_##name))

/* Returns an attribute of the function. */
#define OF_FUNCTION(name) ATTRIBUTE(((AioMethod *)self->method)->function, name)

/* Tells whether it drives a coroutine that a handler has made, and is called as that is. */
static int
is_named_after_inner(AioOperation *self)
{
    return self->subject != NULL && self->inner != NULL && PyCoro_CheckExact(self->inner);
}

/* Returns a name that nobody has set. */
#define NAME(name) (is_named_after_inner(self) ? ATTRIBUTE(self->inner, name) : OF_FUNCTION(name))

static PyObject *
get_name(AioOperation *self, void *unused)
{
    return self->name != NULL ? Py_NewRef(self->name) : NAME(name);
}

PyObject *
grpc_guard_operation_qualname(AioOperation *self, void *unused)
{
    return self->qualname != NULL ? Py_NewRef(self->qualname) : NAME(qualname);
}

static int
set_text(PyObject **field, PyObject *value, const char *name)
{
    if (value == NULL || !PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be set to a string object", name);
        return -1;
    }
    SET(*field, Py_NewRef(value));
    return 0;
}

static int
set_name(AioOperation *self, PyObject *value, void *unused)
{
    return set_text(&self->name, value, "__name__");
}

static int
set_qualname(AioOperation *self, PyObject *value, void *unused)
{
    return set_text(&self->qualname, value, "__qualname__");
}

static PyObject *
get_class(AioOperation *self, void *unused)
{
    return Py_NewRef((PyObject *)&PyCoro_Type);
}

static PyObject *
get_code(AioOperation *self, void *unused)
{
    return OF_FUNCTION(code);
}

/* Returns an attribute of the coroutine that it drives; NULL without an exception if there is none. */
#define OF_INNER(name) \
    (self->inner == NULL || !PyCoro_CheckExact(self->inner) ? NULL : ATTRIBUTE(self->inner, name))

static PyObject *
get_cr_code(AioOperation *self, void *unused)
{
    PyObject *code = OF_INNER(cr_code);
    return code != NULL || PyErr_Occurred() ? code : get_code(self, NULL);
}

/* One that was not driven yet has the frame of the coroutine of the function, which it drives then. */
static PyObject *
get_cr_frame(AioOperation *self, void *unused)
{
    if (self->progress == CREATED && self->inner == NULL && grpc_guard_hand_over(self) < 0) {
        return NULL;
    }
    PyObject *frame = OF_INNER(cr_frame);
    return frame != NULL || PyErr_Occurred() ? frame : Py_NewRef(Py_None);
}

static PyObject *
get_cr_await(AioOperation *self, void *unused)
{
    int has_begun = self->progress == RUNNING || self->progress == SUSPENDED;
    return Py_NewRef(has_begun && self->inner != NULL ? self->inner : Py_None);
}

static PyObject *
get_cr_running(AioOperation *self, void *unused)
{
    return PyBool_FromLong(self->progress == RUNNING);
}

static PyObject *
get_cr_suspended(AioOperation *self, void *unused)
{
    return PyBool_FromLong(self->progress == SUSPENDED);
}

static PyObject *
get_cr_origin(AioOperation *self, void *unused)
{
    Py_RETURN_NONE; /* where origins are noted, the function makes the coroutine */
}

static PyObject *
get_direction(AioOperation *self, void *unused)
{
    return Py_NewRef(self->direction != NULL ? self->direction : Py_None);
}

static PyObject *
get_proxy(AioOperation *self, void *unused)
{
    return Py_NewRef(self->proxy != NULL ? self->proxy : Py_None);
}

static PyObject *
get_operation(AioOperation *self, void *unused)
{
    return Py_NewRef(((AioMethod *)self->method)->operation);
}

static PyObject *
get_owns(AioOperation *self, void *unused)
{
    return PyBool_FromLong(self->owns);
}

static PyObject *
get_place(AioOperation *self, void *unused)
{
    return self->code == NULL ? Py_NewRef(Py_None) : Py_BuildValue("(Oi)", self->code, self->offset);
}

/* Returns that as cr_origin has it: a tuple of (file, line, function). */
static PyObject *
get_asked_at(AioOperation *self, void *unused)
{
    if (self->code == NULL) {
        return PyTuple_New(0);
    }
    PyObject *file = ATTRIBUTE(self->code, co_filename);
    PyObject *name = file == NULL ? NULL : ATTRIBUTE(self->code, co_name);
    if (name == NULL) {
        Py_XDECREF(file);
        return NULL;
    }
    int line = PyCode_Addr2Line((PyCodeObject *)self->code, self->offset);
    return Py_BuildValue("((NiN))", file, line, name);
}

#define GETTER(name, doc) {#name, (getter)get_##name, NULL, doc, NULL}

PyGetSetDef grpc_guard_operation_properties[] = {
    {"__name__", (getter)get_name, (setter)set_name, "name of the coroutine", NULL},
    {"__qualname__", (getter)grpc_guard_operation_qualname, (setter)set_qualname, "qualified name of the coroutine", NULL},
    {"__class__", (getter)get_class, NULL, "types.CoroutineType, as type() does not say", NULL},
    GETTER(cr_await, "What it drives, or None."),
    GETTER(cr_code, "The code of the coroutine that it drives, or would drive."),
    GETTER(cr_frame, "The frame of that, or None."),
    GETTER(cr_origin, "None."),
    GETTER(cr_running, "Whether it runs."),
    GETTER(cr_suspended, "Whether it waits."),
    {"_grpc_guard_asked_at", (getter)get_asked_at, NULL, "The same line as cr_origin would have.", NULL},
    GETTER(code, "The marked code of the function that it stands for."),
    GETTER(direction, "The direction that it claims, or None when it has ended."),
    GETTER(operation, "Its name, as findings have it."),
    GETTER(owns, "Whether it is inside the direction."),
    GETTER(place, "Where it was made: code, and index of an instruction; or None."),
    GETTER(proxy, "The object whose method it is, or None when it has ended."),
    {NULL},
};
