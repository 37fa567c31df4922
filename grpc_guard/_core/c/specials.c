/* Calls, `async for` and its steps: from the interpreter to the methods in C, with nothing between.
 *
 * For a class in Python type() fills the slots with functions that look the special method up; a call
 * makes its arguments anew, too. Here the method of a class is known by the version of the class, and
 * the arguments are handed on as they came. Whoever sets the method of the class has type() fill the
 * slot anew.
 */

#include "guarded.h"
#include "aio.h"

#define KNOWN 8

/* The methods of a few classes, borrowed: a class has one for as long as it has the version. */
typedef struct {
    unsigned int version[KNOWN];
    PyObject *method[KNOWN];
    Called called[KNOWN]; /* what does it at once; NULL: the method is called */
    int newest;
} Methods;

static Methods calls, iterations, steps;

/* Returns the method of an object, a new reference, and what does it. */
static PyObject *
method_of(Methods *methods, PyObject *object, const char *name, Called *called)
{
    unsigned int version = Py_TYPE(object)->tp_version_tag;
    for (int i = 0; version != 0 && i < KNOWN; i++) {
        if (methods->version[i] == version) {
            *called = methods->called[i];
            return Py_NewRef(methods->method[i]);
        }
    }
    PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(object), name);
    if (method == NULL) {
        return NULL;
    }
    *called = grpc_guard_called(method);
    if (*called == NULL) {
        *called = grpc_guard_called_unary(method);
    }
    version = Py_TYPE(object)->tp_version_tag;
    if (version != 0) {
        int at = methods->newest = (methods->newest + 1) % KNOWN;
        methods->version[at] = version;
        methods->method[at] = method;
        methods->called[at] = *called;
    }
    return method;
}

PyObject *
grpc_guard_call_for(PyObject *function, PyObject *first, PyObject *args, PyObject *kwargs)
{
    PyObject *all = PyTuple_New(PyTuple_GET_SIZE(args) + 1);
    if (all == NULL) {
        return NULL;
    }
    PyTuple_SET_ITEM(all, 0, Py_NewRef(first));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); i++) {
        PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    }
    PyObject *result = PyObject_Call(function, all, kwargs);
    Py_DECREF(all);
    return result;
}

static PyObject *
call(PyObject *object, PyObject *args, PyObject *kwargs)
{
    Called called;
    PyObject *method = method_of(&calls, object, "__call__", &called);
    if (method == NULL) {
        return NULL;
    }
    PyObject *result = called != NULL ? called(method, object, args, kwargs)
                                      : grpc_guard_call_for(method, object, args, kwargs);
    Py_DECREF(method);
    return result;
}

static PyObject *
call_without(Methods *methods, PyObject *object, const char *name)
{
    Called unused;
    PyObject *method = method_of(methods, object, name, &unused);
    PyObject *result = method == NULL ? NULL : PyObject_CallOneArg(method, object);
    Py_XDECREF(method);
    return result;
}

static PyObject *
iterate(PyObject *object)
{
    return call_without(&iterations, object, "__aiter__");
}

static PyObject *
step(PyObject *object)
{
    return call_without(&steps, object, "__anext__");
}

/* Tells whether a class has a method of ours of this name. */
static int
is_ours(State *state, PyTypeObject *cls, const char *name)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)cls, name);
    if (method == NULL) {
        PyErr_Clear();
        return 0;
    }
    PyTypeObject *type = Py_TYPE(method);
    Py_DECREF(method);
    return type == state->method || type == state->unary_start || type == state->aio_method;
}

static PyObject *
specials_by_slot(PyObject *module, PyObject *cls)
{
    State *state = PyModule_GetState(module);
    if (!PyType_Check(cls) || !PyType_HasFeature((PyTypeObject *)cls, Py_TPFLAGS_HEAPTYPE)) {
        PyErr_SetString(PyExc_TypeError, "specials_by_slot() takes a class in Python");
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)cls;
    int count = 0;
#define FILL(slot, name, function) \
    if (slot != NULL && is_ours(state, type, name)) { \
        slot = function; \
        count++; \
    }
    FILL(type->tp_call, "__call__", call)
    FILL(type->tp_as_async->am_aiter, "__aiter__", iterate)
    FILL(type->tp_as_async->am_anext, "__anext__", step)
#undef FILL
    return PyLong_FromLong(count);
}

static PyMethodDef module_methods[] = {
    {"specials_by_slot", specials_by_slot, METH_O,
     "Have what a class has in C called by the interpreter without a lookup; returns how many."},
    {NULL},
};

int
grpc_guard_add_specials(PyObject *module)
{
    return PyModule_AddFunctions(module, module_methods);
}
