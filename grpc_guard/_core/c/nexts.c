/* next() of a class whose objects have an operation in the slot `__next__`: without a lookup.
 *
 * For such a class type() fills tp_iternext with a function that looks `__next__` up on the type,
 * finds the slot, and calls what is in it. What is here does the same with no look at the type.
 * Whoever sets `__next__` of the class replaces it: type() fills tp_iternext anew.
 */

#include "core.h"

static Py_ssize_t slot; /* where: the same in all of them */

static PyObject *
next_by_slot(PyObject *object)
{
    PyObject *advance = *(PyObject **)((char *)object + slot);
    if (advance == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__next__");
        return NULL;
    }
    Py_INCREF(advance);
    PyObject *result = PyVectorcall_Function(advance) == grpc_guard_operate
                           ? grpc_guard_advance((SyncOperation *)advance)
                           : PyObject_CallNoArgs(advance);
    Py_DECREF(advance);
    return result;
}

PyObject *
grpc_guard_next_by_slot(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyType_Check(args[0]) || !Py_IS_TYPE(args[1], &PyMemberDescr_Type)) {
        PyErr_SetString(PyExc_TypeError, "next_by_slot() takes a class and its slot");
        return NULL;
    }
    PyTypeObject *cls = (PyTypeObject *)args[0];
    Py_ssize_t offset = ((PyMemberDescrObject *)args[1])->d_member->offset;
    PyObject *found = PyObject_GetAttrString((PyObject *)cls, "__next__");
    if (found == NULL) {
        return NULL;
    }
    int is_usual = found == args[1] && cls->tp_iternext != NULL && (slot == 0 || slot == offset);
    Py_DECREF(found);
    if (is_usual) {
        slot = offset;
        cls->tp_iternext = next_by_slot;
    }
    return PyBool_FromLong(is_usual);
}
