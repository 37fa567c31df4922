/* What a compiled core could do at best: claim, notes, step and release in one C call.
 *
 * For measuring, no guard to use: what it makes is no proxy, a refusal says neither who nor
 * where, there is one mode, and nothing of the lives of streams is noted. What is measured is
 * there: the claim is atomic with and without the interpreter's lock, owner, thread and time
 * are noted inside it, and every way out of the step gives the direction back.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

typedef struct {
    atomic_bool owned;
    unsigned long owner;
    struct timespec since;
} Claim;

static int
claim(Claim *self)
{
    if (atomic_exchange(&self->owned, true)) {
        PyErr_SetString(PyExc_RuntimeError, "another operation is in progress");
        return -1;
    }
    self->owner = PyThread_get_thread_ident();
    clock_gettime(CLOCK_MONOTONIC, &self->since);
    return 0;
}

static void
give_back(Claim *self)
{
    atomic_store(&self->owned, false);
}

/* Iterator(iterator): the direction that a sync next() advances. */

typedef struct {
    PyObject_HEAD
    PyObject *iterator;
    Claim claim;
} Iterator;

static PyObject *
iterator_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *iterator;
    if (!PyArg_ParseTuple(args, "O", &iterator)) {
        return NULL;
    }
    if (!PyIter_Check(iterator)) {
        PyErr_SetString(PyExc_TypeError, "no iterator");
        return NULL;
    }
    Iterator *self = (Iterator *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->iterator = Py_NewRef(iterator);
    }
    return (PyObject *)self;
}

static PyObject *
iterator_next(Iterator *self)
{
    if (claim(&self->claim) < 0) {
        return NULL;
    }
    PyObject *message = Py_TYPE(self->iterator)->tp_iternext(self->iterator);
    give_back(&self->claim);
    return message;
}

static int
iterator_traverse(Iterator *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->iterator);
    return 0;
}

static int
iterator_clear(Iterator *self)
{
    Py_CLEAR(self->iterator);
    return 0;
}

static void
dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    type->tp_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Direction(step, loop): calling it, or __anext__(), makes an Operation. */

typedef struct {
    PyObject_HEAD
    PyObject *step;
    PyObject *loop;
    Claim claim;
} Direction;

/* What is awaited: it claims when it is first driven, and not when it is made. */

typedef struct {
    PyObject_HEAD
    Direction *direction;
    PyObject *args;
    PyObject *inner; /* what the step returned; NULL before and after */
} Operation;

static PyTypeObject *operation_type;
static PyObject *thread_id; /* "_thread_id" */

static PyObject *
direction_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *step, *loop;
    if (!PyArg_ParseTuple(args, "OO", &step, &loop)) {
        return NULL;
    }
    Direction *self = (Direction *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->step = Py_NewRef(step);
        self->loop = Py_NewRef(loop);
    }
    return (PyObject *)self;
}

static PyObject *
direction_call(Direction *self, PyObject *args, PyObject *kwargs)
{
    Operation *operation = PyObject_GC_New(Operation, operation_type);
    if (operation != NULL) {
        operation->direction = (Direction *)Py_NewRef(self);
        operation->args = Py_XNewRef(args);
        operation->inner = NULL;
        PyObject_GC_Track(operation);
    }
    return (PyObject *)operation;
}

static PyObject *
direction_anext(PyObject *self)
{
    return direction_call((Direction *)self, NULL, NULL);
}

static int
direction_traverse(Direction *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->step);
    Py_VISIT(self->loop);
    return 0;
}

static int
direction_clear(Direction *self)
{
    Py_CLEAR(self->step);
    Py_CLEAR(self->loop);
    return 0;
}

static int
check_thread(Direction *self)
{
    PyObject *home = PyObject_GetAttr(self->loop, thread_id);
    if (home == NULL) {
        return -1;
    }
    unsigned long thread = PyLong_AsUnsignedLong(home);
    Py_DECREF(home);
    if (thread != PyThread_get_thread_ident()) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "the wrong loop");
        }
        return -1;
    }
    return 0;
}

/* Set `inner` to what drives the step; the direction is owned by then. */
static int
start(Operation *self)
{
    Direction *direction = self->direction;
    if (self->args == NULL) {
        self->inner = PyObject_CallNoArgs(direction->step);
    }
    else {
        self->inner = PyObject_CallObject(direction->step, self->args);
    }
    if (self->inner == NULL || PyCoro_CheckExact(self->inner)) {
        return self->inner == NULL ? -1 : 0;
    }
    PyAsyncMethods *methods = Py_TYPE(self->inner)->tp_as_async;
    if (methods == NULL || methods->am_await == NULL) {
        PyErr_SetString(PyExc_TypeError, "the step is not awaitable");
        Py_CLEAR(self->inner);
        return -1;
    }
    Py_SETREF(self->inner, methods->am_await(self->inner));
    return self->inner == NULL ? -1 : 0;
}

static void
finish(Operation *self)
{
    Py_CLEAR(self->inner);
    give_back(&self->direction->claim);
}

static PySendResult
operation_send(PyObject *op, PyObject *value, PyObject **result)
{
    Operation *self = (Operation *)op;
    *result = NULL;
    if (self->inner == NULL) {
        if (check_thread(self->direction) < 0 || claim(&self->direction->claim) < 0) {
            return PYGEN_ERROR;
        }
        if (start(self) < 0) {
            finish(self);
            return PYGEN_ERROR;
        }
    }
    PySendResult status = PyIter_Send(self->inner, value, result);
    if (status != PYGEN_NEXT) {
        finish(self);
    }
    return status;
}

static PyObject *
operation_next(PyObject *self)
{
    PyObject *result;
    PySendResult status = operation_send(self, Py_None, &result);
    if (status == PYGEN_RETURN) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_SETREF(result, NULL);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
    }
    return result;
}

/* The way in of a task's cancellation. */
static PyObject *
operation_throw(Operation *self, PyObject *args)
{
    if (self->inner == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "not begun");
        return NULL;
    }
    PyObject *throw = PyObject_GetAttrString(self->inner, "throw");
    PyObject *result = throw == NULL ? NULL : PyObject_CallObject(throw, args);
    Py_XDECREF(throw);
    if (result == NULL) {
        finish(self);
    }
    return result;
}

static int
operation_traverse(Operation *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->direction);
    Py_VISIT(self->args);
    Py_VISIT(self->inner);
    return 0;
}

static int
operation_clear(Operation *self)
{
    if (self->inner != NULL) {
        finish(self);
    }
    Py_CLEAR(self->direction);
    Py_CLEAR(self->args);
    return 0;
}

static PyMethodDef operation_methods[] = {
    {"throw", (PyCFunction)operation_throw, METH_VARARGS, NULL},
    {NULL},
};

/* The types */

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC)

static PyType_Slot iterator_slots[] = {
    {Py_tp_new, iterator_new},         {Py_tp_dealloc, dealloc},
    {Py_tp_iter, PyObject_SelfIter},   {Py_tp_iternext, iterator_next},
    {Py_tp_traverse, iterator_traverse}, {Py_tp_clear, iterator_clear},
    {0, NULL},
};
static PyType_Slot direction_slots[] = {
    {Py_tp_new, direction_new},        {Py_tp_dealloc, dealloc},
    {Py_tp_call, direction_call},      {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, direction_anext},    {Py_tp_traverse, direction_traverse},
    {Py_tp_clear, direction_clear},    {0, NULL},
};
static PyType_Slot operation_slots[] = {
    {Py_tp_dealloc, dealloc},          {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, operation_next},  {Py_am_await, PyObject_SelfIter},
    {Py_am_send, operation_send},      {Py_tp_methods, operation_methods},
    {Py_tp_traverse, operation_traverse}, {Py_tp_clear, operation_clear},
    {0, NULL},
};
static PyType_Spec iterator_spec = {"_compiled.Iterator", sizeof(Iterator), 0, FLAGS, iterator_slots};
static PyType_Spec direction_spec = {"_compiled.Direction", sizeof(Direction), 0, FLAGS, direction_slots};
static PyType_Spec operation_spec = {"_compiled.Operation", sizeof(Operation), 0, FLAGS, operation_slots};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_compiled", NULL, -1, NULL};

PyMODINIT_FUNC
PyInit__compiled(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyObject *iterator = PyType_FromSpec(&iterator_spec);
    PyObject *direction = PyType_FromSpec(&direction_spec);
    operation_type = (PyTypeObject *)PyType_FromSpec(&operation_spec);
    thread_id = PyUnicode_InternFromString("_thread_id");
    if (module == NULL || iterator == NULL || direction == NULL || operation_type == NULL
        || thread_id == NULL || PyModule_AddObjectRef(module, "Iterator", iterator) < 0
        || PyModule_AddObjectRef(module, "Direction", direction) < 0) {
        return NULL;
    }
#ifdef Py_GIL_DISABLED
    PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
#endif
    return module;
}
