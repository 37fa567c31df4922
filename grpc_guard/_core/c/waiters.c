/* What a task of asyncio waits for: by what its class says, and where its objects have it.
 *
 * Their attribute hands out a new reference, which takes the memory of the future. So it is looked for once
 * where in the memory of a task that is, beside the name, which no other two words of a task are.
 */

#include "recalls.h"

/* Learns how objects of the type of `task` say what they wait for: by what nobody can replace, or not
 * at all; -1: an error is set. */
static int
learn(Recollection *self, PyObject *task)
{
    PyTypeObject *type = Py_TYPE(task);
    PyObject *read = NULL;
    if ((type->tp_flags & Py_TPFLAGS_IMMUTABLETYPE) && type->tp_getattro == PyObject_GenericGetAttr) {
        read = PyObject_GetAttr((PyObject *)type, self->str_fut_waiter);
        if (read == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
    }
    if (read != NULL && !Py_IS_TYPE(read, &PyGetSetDescr_Type) && !Py_IS_TYPE(read, &PyMemberDescr_Type)) {
        Py_CLEAR(read);
    }
    SET(self->task_type, (PyTypeObject *)Py_NewRef((PyObject *)type));
    SET(self->read_waiter, read);
    self->waiter_at = self->times_seen = 0;
    return 0;
}

PyObject *
grpc_guard_waiter_of(Recollection *self, PyObject *task)
{
    if (!Py_IS_TYPE(task, self->task_type) && learn(self, task) < 0) {
        return NULL;
    }
    PyObject *read = self->read_waiter;
    if (read != NULL) {
        return Py_TYPE(read)->tp_descr_get(read, task, (PyObject *)Py_TYPE(task));
    }
    PyObject *future = PyObject_GetAttr(task, self->str_fut_waiter);
    if (future == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        future = Py_NewRef(Py_None);
    }
    return future;
}

int
grpc_guard_learn_waiter(Recollection *self, PyObject *task, PyObject *future)
{
    if (self->times_seen >= TIMES_SEEN || self->read_waiter == NULL || !Py_IS_TYPE(task, self->task_type)
        || future == Py_None || (Py_TYPE(task)->tp_flags & Py_TPFLAGS_HEAPTYPE && Py_TYPE(task)->tp_dictoffset < 0)) {
        return 0;
    }
    PyObject *name = PyObject_CallMethodNoArgs(task, self->str_get_name);
    if (name == NULL) {
        return -1;
    }
    PyObject **words = (PyObject **)task;
    Py_ssize_t count = Py_TYPE(task)->tp_basicsize / (Py_ssize_t)sizeof(PyObject *), found = 0;
    for (Py_ssize_t i = (Py_ssize_t)(sizeof(PyObject) / sizeof(PyObject *)); i + 2 < count; i++) {
        if (words[i] == future && words[i + 2] == name) {
            found = found == 0 ? i * (Py_ssize_t)sizeof(PyObject *) : -1;
        }
    }
    Py_DECREF(name);
    if (found <= 0 || (self->times_seen > 0 && found != self->waiter_at)) {
        self->times_seen = 0;
        return 0;
    }
    self->waiter_at = found;
    self->times_seen++;
    return 0;
}
