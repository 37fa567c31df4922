/* AioOperation: what ends it before its time: throw(), close(), and that nobody has it any more. */

#include "aio.h"

/* Calls a method of what is driven; NULL without an exception if it has none of that name. */
static PyObject *
call_inner(AioOperation *self, PyObject *name, PyObject *args)
{
    PyObject *method = PyObject_GetAttr(self->inner, name);
    if (method == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        }
        return NULL;
    }
    PyObject *result = args == NULL ? PyObject_CallNoArgs(method) : PyObject_Call(method, args, NULL);
    Py_DECREF(method);
    return result;
}

/* Raises what was given to throw(): an exception, or its type and value. */
static void
raise_given(PyObject *args)
{
    PyObject *type, *value = Py_None, *trace = Py_None;
    if (PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &trace)) {
        int is_one = PyExceptionInstance_Check(type);
        PyErr_SetObject(is_one ? (PyObject *)Py_TYPE(type) : type, is_one ? type : value);
    }
}

/* Tells whether throw() can be given these; if not, nothing happens to a coroutine but an exception. */
static int
can_be_thrown(PyObject *args)
{
    PyObject *type, *value = NULL, *trace = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &trace)) {
        return 0;
    }
    int is_one = PyExceptionInstance_Check(type);
    if (trace != NULL && trace != Py_None && !PyTraceBack_Check(trace)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback object");
    }
    else if (!is_one && !PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, not %s",
                     Py_TYPE(type)->tp_name);
    }
    else if (is_one && value != NULL && value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
    }
    return !PyErr_Occurred();
}

static int
is_generator_exit(PyObject *args)
{
    return PyErr_GivenExceptionMatches(PyTuple_GET_ITEM(args, 0), PyExc_GeneratorExit);
}

/* Has it run, before anything dies: who comes back to it then is refused. A handler that has not begun
 * does not end either. */
static void
run_to_end(AioOperation *self)
{
    int is_unstarted = self->progress == CREATED && self->subject != NULL;
    self->progress = RUNNING;
    if (is_unstarted) {
        grpc_guard_end_run((AioRun *)self);
        grpc_guard_let_subject_go(self);
    }
}

PyObject *
grpc_guard_operation_throw(AioOperation *self, PyObject *args)
{
    if (!can_be_thrown(args) || !grpc_guard_can_go_on(self)) {
        return NULL;
    }
    State *state = PyType_GetModuleState(Py_TYPE(self));
    if (self->inner == NULL && grpc_guard_hand_over(self) < 0) {
        return NULL;
    }
    Py_INCREF(self);
    run_to_end(self);
    PyObject *result = NULL;
    if (self->owns && is_generator_exit(args)) {
        PyObject *closed = call_inner(self, state->str_close, NULL);
        Py_XDECREF(closed);
    }
    else {
        result = call_inner(self, state->str_throw, args);
    }
    if (result != NULL) {
        self->progress = SUSPENDED;
    }
    else {
        if (!PyErr_Occurred()) {
            raise_given(args);
        }
        grpc_guard_end(self, 1);
    }
    Py_DECREF(self);
    return result;
}

/* Closes the operation: 0, or -1 with an exception set. */
int
grpc_guard_operation_close(AioOperation *self)
{
    if (self->progress == CLOSED) {
        return 0;
    }
    if (!grpc_guard_can_go_on(self)) {
        return -1;
    }
    State *state = PyType_GetModuleState(Py_TYPE(self));
    Py_INCREF(self);
    run_to_end(self);
    if (self->inner != NULL) {
        PyObject *closed = call_inner(self, state->str_close, NULL);
        Py_XDECREF(closed);
    }
    int failed = PyErr_Occurred() != NULL;
    grpc_guard_end(self, failed);
    Py_DECREF(self);
    return failed ? -1 : 0;
}

/* Nobody has the operation any more, or the collector found it: as for a coroutine of Python. */
void
grpc_guard_operation_finalize(AioOperation *self)
{
    PyObject *error = take_exception();
    if (self->progress == SUSPENDED) {
        if (grpc_guard_operation_close(self) < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
    }
    else if (self->progress == CREATED && self->method != NULL) {
        self->progress = CLOSED;
        if (self->inner == NULL && grpc_guard_hand_over(self) < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
        Py_CLEAR(self->inner); /* it warns that it was never awaited */
    }
    set_exception(error);
}
