/* Attributes that nearly all objects of a class have of their own, found again by its version. */

#include "callers.h"
#include "core.h"

#if HAS_INNER
/* Notes where the objects of a class have an attribute, or that it has to be looked for. */
static void
learn(Places *places, PyObject *object, PyObject *name, PyObject *value)
{
    PyObject **values = grpc_guard_inner_values(object);
    if (values == NULL) {
        return; /* this object has a __dict__ */
    }
    int at = places->newest = (places->newest + 1) % SPOTS;
    int is_inner = grpc_guard_is_inner(Py_TYPE(object), name);
    places->index[at] = is_inner ? grpc_guard_inner_index(values, value) : -1;
    places->version[at] = Py_TYPE(object)->tp_version_tag;
}
#endif

PyObject *
grpc_guard_own(Places *places, PyObject *object, PyObject *name)
{
#if HAS_INNER
    unsigned int version = Py_TYPE(object)->tp_version_tag;
    for (int at = 0; version != 0 && at < SPOTS; at++) {
        if (places->version[at] == version) {
            PyObject **values = places->index[at] < 0 ? NULL : ((PyObject ***)object)[-4];
            PyObject *value = values == NULL ? NULL : values[places->index[at]];
            return value == NULL ? PyObject_GetAttr(object, name) : Py_NewRef(value);
        }
    }
    PyObject *value = PyObject_GetAttr(object, name);
    if (value != NULL) {
        learn(places, object, name, value);
    }
    return value;
#else
    return PyObject_GetAttr(object, name);
#endif
}
