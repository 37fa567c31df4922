/* ConstructingType of fields.py: the type of the classes of proxies, as far as it makes proxies. */

#include "core.h"


static PyObject *
constructing_call(PyTypeObject *cls, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) < 1 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_Format(PyExc_TypeError, "%.100s() takes what it wraps, by position", cls->tp_name);
        return NULL;
    }
    State *state = state_of(Py_TYPE(cls));
    if (state == NULL) {
        return NULL;
    }
    PyObject *proxy = PyType_Type.tp_call((PyObject *)cls, args, kwargs);
    if (proxy == NULL) {
        return NULL;
    }
    PyObject *plain = Py_NewRef((PyObject *)Py_TYPE(PyTuple_GET_ITEM(args, 0)));
    PyObject *twin = NULL, *key = NULL;
    PyObject *twins = PyObject_GetAttr((PyObject *)cls, state->str_twins);
    if (twins == NULL) {
        goto failed;
    }
    key = PyLong_FromVoidPtr(plain);
    if (key == NULL) {
        goto failed;
    }
    twin = PyDict_GetItemWithError(twins, key);
    if (twin != NULL) {
        Py_INCREF(twin);
    }
    else if (PyErr_Occurred()) {
        goto failed;
    }
    else {
        twin = PyObject_CallMethodOneArg((PyObject *)cls, state->str_make_twin, plain);
        if (twin == NULL) {
            goto failed;
        }
    }
    if (Py_TYPE(state->become)->tp_descr_set(state->become, proxy, twin) < 0) {
        goto failed;
    }
    Py_DECREF(twin);
    Py_DECREF(key);
    Py_DECREF(twins);
    Py_DECREF(plain);
    return proxy;

failed:
    Py_XDECREF(twin);
    Py_XDECREF(key);
    Py_XDECREF(twins);
    Py_DECREF(plain);
    Py_DECREF(proxy);
    return NULL;
}

static PyType_Slot constructing_slots[] = {
    {Py_tp_doc, "Makes proxies, and gives each the class that belongs to what it wraps."},
    {Py_tp_call, constructing_call},
    {0, NULL},
};

static PyType_Spec constructing_spec = {
    .name = "grpc_guard._core._compiled.ConstructingType",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = constructing_slots,
};

int
grpc_guard_add_proxies(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->constructing_type, &constructing_spec,
                               (PyObject *)&PyType_Type);
}
