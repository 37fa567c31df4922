/* `async for` and its steps, from the interpreter to the methods in C with nothing between: as slots.c does
 * it for calls and attributes.
 */

#include "guarded.h"
#include "aio.h"

#define KNOWN 16

/* The methods of a few classes, borrowed: a class has one for as long as it has the version. That of a class is in
 * one of two places. */
typedef struct {
    unsigned int version; /* 0: not known yet */
    PyObject *method;
    vectorcallfunc call; /* of that */
} Known;

typedef struct {
    Known known[KNOWN];
} Methods;

static Methods iterations, steps; /* of the one interpreter that has grpcio: a second one is refused that */

/* Calls the method of this name that the class of an object has, and notes it. */
static UNUSUAL PyObject *
look_up_method(Methods *methods, PyObject *object, const char *name)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(object), name);
    if (method == NULL) {
        return NULL;
    }
    vectorcallfunc call = PyVectorcall_Function(method);
    if (call != NULL) {
        unsigned int version = Py_TYPE(object)->tp_version_tag;
        Known *known = &methods->known[version % KNOWN];
        if (known->version != 0) {
            known = &methods->known[(version ^ 1) % KNOWN];
        }
        *known = (Known){version, method, call};
    }
    PyObject *result = PyObject_CallOneArg(method, object);
    Py_DECREF(method);
    return result;
}

/* Calls the method of this name that the class of an object has. */
static inline PyObject *
call_method(Methods *methods, PyObject *object, const char *name)
{
    unsigned int version = Py_TYPE(object)->tp_version_tag;
    Known *known = &methods->known[version % KNOWN];
    if (!USUALLY(known->version == version && version != 0)) {
        known = &methods->known[(version ^ 1) % KNOWN];
        if (!USUALLY(known->version == version && version != 0)) {
            return look_up_method(methods, object, name);
        }
    }
    PyObject *method = Py_NewRef(known->method);
    PyObject *result = known->call(method, &object, 1, NULL);
    Py_DECREF(method);
    return result;
}

static USUAL PyObject *
iterate(PyObject *object)
{
    return call_method(&iterations, object, "__aiter__");
}

static USUAL PyObject *
step(PyObject *object)
{
    return call_method(&steps, object, "__anext__");
}

/* Tells whether a class has a method of this type. */
static int
has(PyObject *cls, const char *name, PyTypeObject *type)
{
    PyObject *method = PyObject_GetAttrString(cls, name);
    if (method == NULL) {
        PyErr_Clear();
        return 0;
    }
    int has_it = Py_IS_TYPE(method, type);
    Py_DECREF(method);
    return has_it;
}

/* iterates_by_slot(cls): fills what a class of proxies has in C; returns whether there is any. */
static PyObject *
iterates_by_slot(PyObject *module, PyObject *cls)
{
    State *state = PyModule_GetState(module);
    PyTypeObject *type = (PyTypeObject *)cls;
    if (!PyType_Check(cls) || !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        PyErr_SetString(PyExc_TypeError, "iterates_by_slot() takes a class in Python");
        return NULL;
    }
    int iterates = type->tp_as_async->am_aiter != NULL && has(cls, "__aiter__", state->method);
    int advances = type->tp_as_async->am_anext != NULL && has(cls, "__anext__", state->aio_method);
    if (iterates) {
        type->tp_as_async->am_aiter = iterate;
    }
    if (advances) {
        type->tp_as_async->am_anext = step;
    }
    return PyBool_FromLong(iterates || advances);
}

static PyMethodDef module_methods[] = {
    {"iterates_by_slot", iterates_by_slot, METH_O,
     "Have `async for` over objects of a class call the methods that it has in C without a lookup."},
    {NULL},
};

int
grpc_guard_add_specials(PyObject *module)
{
    return PyModule_AddFunctions(module, module_methods);
}
