/* An exception that is set, as one object on every Python. */

#ifndef GRPC_GUARD_ERRORS_H
#define GRPC_GUARD_ERRORS_H

#include <Python.h>

/* Takes the exception that is set, and sets it again: one object on every Python. */
static inline PyObject *
take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace != NULL) {
        PyException_SetTraceback(value, trace);
    }
    Py_DECREF(type);
    Py_XDECREF(trace);
    return value;
#endif
}

static inline void
set_exception(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    if (exception != NULL) {
        PyObject *type = Py_NewRef((PyObject *)Py_TYPE(exception));
        PyErr_Restore(type, exception, PyException_GetTraceback(exception));
    }
#endif
}

#endif
