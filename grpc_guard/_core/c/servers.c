/* service() of a guarded generic handler: the twin of a method handler that has one already, with no
 * frame. All else is left to _guarded() in Python.
 */

#include "guarded.h"

/* Returns what a method handler has as the twin for a generic handler and an RPC, a new reference;
 * NULL, without an error, if it has none. */
static PyObject *
twin_in(Starts *starts, PyObject *plain, PyObject *key, PyObject *rpc)
{
    if (Py_TYPE(plain)->tp_getattro != PyObject_GenericGetAttr || Py_TYPE(plain)->tp_dictoffset == 0) {
        return NULL; /* a proxy, for one */
    }
    PyObject *dict = PyObject_GenericGetDict(plain, NULL), *pair = NULL, *twin = NULL;
    PyObject *twins = dict == NULL ? NULL : PyDict_GetItemWithError(dict, starts->str__grpc_guard);
    if (twins != NULL && PyDict_CheckExact(twins)) {
        Py_INCREF(twins);
        pair = PyTuple_Pack(2, key, rpc);
        twin = pair == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(twins, pair));
        Py_DECREF(twins);
        Py_XDECREF(pair);
    }
    Py_XDECREF(dict);
    if (twin != NULL && PyWeakref_CheckRef(twin)) {
        Py_SETREF(twin, PyObject_CallNoArgs(twin));
    }
    if (twin == Py_None) {
        Py_CLEAR(twin);
    }
    return twin;
}

PyObject *
grpc_guard_service(State *state, Method *method, PyObject *const *args, Py_ssize_t count,
                   PyObject *names)
{
    Starts *starts = &state->starts;
    if (count != 2 || names != NULL) {
        return IN_PYTHON(method, args, count, names);
    }
    PyObject *wrapped = grpc_guard_is_proxy(args[0]) ? grpc_guard_wrapped(state, args[0])
                                                     : PyObject_GetAttr(args[0], state->str_wrapped);
    PyObject *of_wrapped[] = {wrapped, args[1]};
    PyObject *plain =
        wrapped == NULL ? NULL : PyObject_VectorcallMethod(starts->str_service, of_wrapped, 2, NULL);
    Py_XDECREF(wrapped);
    if (plain == NULL || plain == Py_None) {
        return plain;
    }
    PyObject *key = grpc_guard_in_slot(&state->of_key, args[0], starts->str__self_key);
    PyObject *rpc = key == NULL ? NULL : PyObject_GetAttr(args[1], starts->str_method);
    PyObject *twin = rpc == NULL ? NULL : twin_in(starts, plain, key, rpc);
    Py_XDECREF(key);
    Py_XDECREF(rpc);
    if (twin == NULL && !PyErr_Occurred()) {
        PyObject *again[] = {args[0], plain, args[1]};
        twin = PyObject_VectorcallMethod(starts->str__guarded, again, 3, NULL);
    }
    Py_DECREF(plain);
    return twin;
}
