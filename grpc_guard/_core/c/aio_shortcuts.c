/* A shortcut through the function in Python whose one line calls an AioHandler.
 *
 * A guarded handler has to be a real function, as gRPC and others look at it. gRPC, which is not
 * Python, calls it by its vectorcall: that goes to the AioHandler at once, with no frame, no tuple and
 * no dict. Whoever calls it from Python runs the line.
 */

#include "aio_handlers.h"

/* The type of the handlers of one module: of a process with one interpreter, all are of it. */
static PyTypeObject *usual_type;

void
grpc_guard_forget_shortcuts(PyTypeObject *type)
{
    if (usual_type == type) {
        usual_type = NULL;
    }
}

/* Returns the AioHandler that a function encloses alone, borrowed; NULL if there is none. */
static AioHandler *
enclosed_by(PyFunctionObject *function)
{
    PyObject *closure = function->func_closure;
    if (closure == NULL || PyTuple_GET_SIZE(closure) != 1) {
        return NULL;
    }
    PyObject *cell = PyTuple_GET_ITEM(closure, 0);
    PyObject *enclosed = PyCell_Check(cell) ? PyCell_GET(cell) : NULL;
    if (enclosed != NULL && Py_IS_TYPE(enclosed, usual_type)) {
        return (AioHandler *)enclosed;
    }
    if (enclosed == NULL || Py_TYPE(enclosed)->tp_call != PyVectorcall_Call
        || Py_TYPE(enclosed)->tp_vectorcall_offset != offsetof(AioHandler, vectorcall)
        || ((AioHandler *)enclosed)->vectorcall != grpc_guard_handle) {
        return NULL;
    }
    return (AioHandler *)enclosed;
}

static vectorcallfunc run_line; /* of every function: CPython's own */

static USUAL PyObject *
shortcut_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    PyFunctionObject *function = (PyFunctionObject *)callable;
    AioHandler *handler = enclosed_by(function);
    if (handler == NULL || function->func_code != handler->code) { /* somebody has replaced its code */
        return run_line(callable, args, flagged, names);
    }
    Py_INCREF(handler);
    PyObject *result = handler->is_unary ? grpc_guard_handle_aio_unary(handler, args, flagged, names)
                                         : grpc_guard_handle((PyObject *)handler, args, flagged, names);
    Py_DECREF(handler);
    return result;
}

static PyObject *
shorten(PyObject *module, PyObject *function)
{
    AioHandler *handler =
        PyFunction_Check(function) ? enclosed_by((PyFunctionObject *)function) : NULL;
    if (handler != NULL && handler->code == NULL) {
        run_line = ((PyFunctionObject *)function)->vectorcall;
        usual_type = Py_TYPE(handler);
        SET(handler->code, Py_NewRef(((PyFunctionObject *)function)->func_code));
#if PY_VERSION_HEX >= 0x030C0000
        PyFunction_SetVectorcall((PyFunctionObject *)function, shortcut_vectorcall);
#else
        ((PyFunctionObject *)function)->vectorcall = shortcut_vectorcall;
#endif
    }
    return Py_NewRef(function);
}

static PyMethodDef module_methods[] = {
    {"shorten", shorten, METH_O,
     "Have a function call the AioHandler that it encloses with no frame; returns the function."},
    {NULL},
};

int
grpc_guard_add_shortcuts(PyObject *module)
{
    return PyModule_AddFunctions(module, module_methods);
}
