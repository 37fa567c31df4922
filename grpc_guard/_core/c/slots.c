/* What type() fills into a class of proxies, written for them: the same, with no look at the type.
 *
 * For a class in Python it fills tp_call with a function that looks `__call__` up, and copies the
 * arguments with the object before them; tp_iternext with a function that looks `__next__` up, finds a slot,
 * and calls what is in it; and tp_getattro with one that looks `__getattr__` and `__getattribute__`
 * up before each attribute. Whoever sets one of these of the class has type() fill it anew.
 */

#include "callers.h"
#include "guarded.h"
#include "layouts.h"
#include "unary_starts.h"

static Py_ssize_t slot; /* where: the same in all of them */
static PyTypeObject *operations; /* the type of what is in there */

static UNUSUAL PyObject *
next_by_another(PyObject *advance)
{
    if (advance == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__next__");
        return NULL;
    }
    Py_INCREF(advance);
    PyObject *result = PyObject_CallNoArgs(advance);
    Py_DECREF(advance);
    return result;
}

static USUAL PyObject *
next_by_slot(PyObject *object)
{
    PyObject *advance = *(PyObject **)((char *)object + slot);
    if (!USUALLY(advance != NULL && Py_IS_TYPE(advance, operations))) {
        return next_by_another(advance);
    }
    Py_INCREF(advance);
    PyObject *result = grpc_guard_advance((SyncOperation *)advance);
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
        operations = ((State *)PyModule_GetState(module))->steps.type;
        cls->tp_iternext = next_by_slot;
    }
    return PyBool_FromLong(is_usual);
}

/* What does the same as __getattr__ of a proxy, which has its answer from what is wrapped. */
static PyObject *otherwise; /* in all of them */

/* What __getattribute__ finds, which is that of object; then what __getattr__ does. */
static USUAL PyObject *
attribute(PyObject *object, PyObject *name)
{
    PyObject *found = grpc_guard_bound(object, name);
    if (found != NULL || PyErr_Occurred()) {
        return found;
    }
    found = grpc_guard_own_attribute(object, name);
    if (found != NULL || PyErr_Occurred()) {
        return found;
    }
    PyObject *args[] = {object, name};
    return PyObject_Vectorcall(otherwise, args, 2, NULL);
}

int
grpc_guard_is_proxy(PyObject *object)
{
    return Py_TYPE(object)->tp_getattro == attribute;
}

/* Tells whether a class finds an attribute by something. */
static int
finds_by(PyObject *cls, const char *name, PyObject *expected)
{
    PyObject *found = PyObject_GetAttrString(cls, name);
    Py_XDECREF(found);
    return found == NULL ? -1 : found == expected;
}

PyObject *
grpc_guard_attributes_by_slot(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyType_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError,
                        "attributes_by_slot() takes a class, __getattribute__ and __getattr__");
        return NULL;
    }
    int is_usual = finds_by(args[0], "__getattribute__", args[1]);
    if (is_usual > 0) {
        is_usual = finds_by(args[0], "__getattr__", args[2]);
    }
    if (is_usual < 0) {
        return NULL;
    }
    is_usual = is_usual && (otherwise == NULL || otherwise == args[2]);
    if (is_usual) {
        if (otherwise == NULL) {
            otherwise = Py_NewRef(args[2]);
        }
        ((PyTypeObject *)args[0])->tp_getattro = attribute;
    }
    return PyBool_FromLong(is_usual);
}

typedef PyObject *(*CallWith)(PyObject *, PyObject *, PyObject *, PyObject *);

/* What classes have as `__call__`, by the version of the class; borrowed from it. */
#define CALLED 8

static struct {
    unsigned int version;
    PyObject *method;
    CallWith call;
} called[CALLED];
static int newest;

/* Returns how what a class has as `__call__` is called; NULL if it is none of those in C. */
static CallWith
call_of(PyObject *method)
{
    vectorcallfunc function = PyVectorcall_Function(method);
    return function == grpc_guard_start_vectorcall    ? grpc_guard_start_unary
           : function == grpc_guard_method_vectorcall ? grpc_guard_call_method
                                                      : NULL;
}

static USUAL PyObject *
call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    unsigned int version = Py_TYPE(self)->tp_version_tag;
    for (int i = 0; version != 0 && i < CALLED; i++) {
        if (called[i].version == version) {
            PyObject *known = Py_NewRef(called[i].method);
            PyObject *result = called[i].call(known, self, args, kwargs);
            Py_DECREF(known);
            return result;
        }
    }
    PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__call__");
    if (method == NULL) {
        return NULL;
    }
    CallWith call_with = call_of(method);
    version = Py_TYPE(self)->tp_version_tag;
    if (call_with != NULL) {
        called[newest].version = version;
        called[newest].method = method;
        called[newest].call = call_with;
        newest = (newest + 1) % CALLED;
    }
    PyObject *result = (call_with == NULL ? grpc_guard_call_with : call_with)(method, self, args, kwargs);
    Py_DECREF(method);
    return result;
}

PyObject *
grpc_guard_calls_by_slot(PyObject *module, PyObject *cls)
{
    PyObject *wrapped = ((State *)PyModule_GetState(module))->starts.wrapped;
    if (!PyType_Check(cls)) {
        PyErr_SetString(PyExc_TypeError, "calls_by_slot() takes a class");
        return NULL;
    }
    if (wrapped == NULL || !PyType_IsSubtype((PyTypeObject *)cls, PyDescr_TYPE(wrapped))) {
        Py_RETURN_FALSE; /* no class of proxies */
    }
    PyObject *method = PyObject_GetAttrString(cls, "__call__");
    if (method == NULL) {
        return NULL;
    }
    int is_usual = call_of(method) != NULL && ((PyTypeObject *)cls)->tp_call != NULL;
    if (is_usual) {
        ternaryfunc as_usual = call;
#if HAS_LOOP_IN_DICT
        if (call_of(method) == grpc_guard_start_unary) {
            int is_sync = ((UnaryStart *)method)->late == Py_None;
            as_usual = is_sync ? grpc_guard_call_unary : grpc_guard_call_aio_unary;
        }
#endif
        ((PyTypeObject *)cls)->tp_call = as_usual;
    }
    Py_DECREF(method);
    return PyBool_FromLong(is_usual);
}

void
grpc_guard_die_as(PyTypeObject *type, PyTypeObject *base)
{
    if (type->tp_dealloc != base->tp_dealloc && type->tp_basicsize == base->tp_basicsize
        && type->tp_dictoffset == base->tp_dictoffset
        && type->tp_weaklistoffset == base->tp_weaklistoffset && type->tp_finalize == NULL
        && type->tp_del == NULL) {
        type->tp_dealloc = base->tp_dealloc;
    }
}
