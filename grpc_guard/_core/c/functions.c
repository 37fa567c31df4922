/* What stands for a function of Python, and passes for it: the same answers, and no frame when it is
 * called.
 *
 * gRPC asks a handler for attributes that no handler has. So there is no tp_getattro here: a missing
 * attribute costs no exception, as with a function. What functools.wraps() would put into the namespace,
 * `__wrapped__`, is no part of it.
 */

#include "functions.h"

#define OF(self) (((Function *)(self))->function)

int
grpc_guard_stand_for(PyObject *self, PyObject *function, vectorcallfunc vectorcall)
{
    Function *made = (Function *)self;
    made->function = Py_NewRef(function);
    made->vectorcall = vectorcall;
    PyObject *all = PyObject_GetAttrString(function, "__dict__");
    PyObject *own = all == NULL ? NULL : PyDict_Copy(all);
    Py_XDECREF(all);
    if (own == NULL || (PyDict_DelItemString(own, "__wrapped__") < 0
                        && !PyErr_ExceptionMatches(PyExc_KeyError))) {
        Py_XDECREF(own);
        return -1;
    }
    PyErr_Clear();
    if (PyDict_GET_SIZE(own) > 0) { /* an empty one costs a look at it, and comes when asked for */
        made->dict = own;
        return 0;
    }
    Py_DECREF(own);
    return 0;
}

static PyObject *
get(PyObject *self, void *name)
{
    return PyObject_GetAttrString(OF(self), name);
}

static int
set(PyObject *self, PyObject *value, void *name)
{
    return PyObject_SetAttrString(OF(self), name, value);
}

static PyObject *
get_class(PyObject *self, void *closure)
{
    return Py_NewRef((PyObject *)Py_TYPE(OF(self)));
}

#define ATTRIBUTE(name) {name, get, set, NULL, name}
#define FIXED(name) {name, get, NULL, NULL, name}

PyGetSetDef grpc_guard_function_properties[] = {
    ATTRIBUTE("__name__"),
    ATTRIBUTE("__qualname__"),
    ATTRIBUTE("__doc__"),
    ATTRIBUTE("__code__"),
    ATTRIBUTE("__defaults__"),
    ATTRIBUTE("__kwdefaults__"),
    ATTRIBUTE("__annotations__"),
    ATTRIBUTE("__type_params__"),
    ATTRIBUTE("__wrapped__"),
    FIXED("__globals__"),
    FIXED("__closure__"),
    FIXED("__builtins__"),
    {"_module", get, set, NULL, "__module__"}, /* see grpc_guard_ready_function_type() */
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"__class__", get_class, NULL, NULL, NULL},
    {NULL},
};

int
grpc_guard_ready_function_type(PyTypeObject *type)
{
    PyObject *module = PyObject_GetAttrString((PyObject *)type, "_module");
    int failed = module == NULL || PyObject_SetAttrString((PyObject *)type, "__module__", module) < 0
                 || PyObject_SetAttrString((PyObject *)type, "_module", NULL) < 0;
    Py_XDECREF(module);
    type->tp_name = "function"; /* for the text of an AttributeError */
    return failed ? -1 : 0;
}

PyMemberDef grpc_guard_function_members[] = {
    WEAK(Function),
    {"__dictoffset__", T_PYSSIZET, offsetof(Function, dict), READONLY, NULL},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, vectorcall), READONLY, NULL},
    {NULL},
};

/* For copy and pickle a function is its name. */
static PyObject *
reduce(PyObject *self, PyObject *unused)
{
    return PyObject_GetAttrString(OF(self), "__qualname__");
}

PyMethodDef grpc_guard_function_methods[] = {
    {"__reduce__", reduce, METH_NOARGS, NULL},
    {NULL},
};

PyObject *
grpc_guard_function_repr(PyObject *self)
{
    return PyObject_Repr(OF(self));
}

PyObject *
grpc_guard_function_get(PyObject *self, PyObject *object, PyObject *owner)
{
    return object == NULL || object == Py_None ? Py_NewRef(self) : PyMethod_New(self, object);
}
