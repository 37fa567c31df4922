/* What has been looked up before: see known.h. It is borrowed, for whoever takes it away changes the version. */

#include "core.h"
#include "layouts.h"

USUAL PyObject *
grpc_guard_look_up(LookedUp *known, PyObject *dict, PyObject *name)
{
    uint64_t version = grpc_guard_version_of(dict);
    if (version != 0 && version == known->version) {
        return known->value;
    }
    known->version = 0;
    known->value = PyDict_GetItemWithError(dict, name);
    if (known->value != NULL) {
        known->version = version;
    }
    return known->value;
}

USUAL PyObject *
grpc_guard_look_up_number(Numbered *known, PyObject *dict, uintptr_t number)
{
    uint64_t version = grpc_guard_version_of(dict);
    if (version != 0 && version == known->version && number == known->number) {
        return known->value;
    }
    PyObject *key = PyLong_FromVoidPtr((void *)number);
    known->version = 0;
    known->value = key == NULL ? NULL : PyDict_GetItemWithError(dict, key);
    if (known->value != NULL) {
        *known = (Numbered){version, number, known->value};
    }
    Py_XDECREF(key);
    return known->value;
}

/* Returns where the objects of a class have a slot of this name; 0 if it is none. */
static Py_ssize_t
slot_of(PyTypeObject *type, PyObject *name)
{
    PyObject *found = PyObject_GetAttr((PyObject *)type, name);
    Py_ssize_t offset = 0;
    if (found == NULL) {
        PyErr_Clear();
    }
    else if (type->tp_getattro == PyObject_GenericGetAttr && Py_IS_TYPE(found, &PyMemberDescr_Type)
             && PyType_IsSubtype(type, PyDescr_TYPE(found))
             && ((PyMemberDescrObject *)found)->d_member->type == T_OBJECT_EX) {
        offset = ((PyMemberDescrObject *)found)->d_member->offset;
    }
    Py_XDECREF(found);
    return offset;
}

USUAL PyObject *
grpc_guard_own(Own *own, PyObject *object, PyObject *name)
{
    unsigned int version = Py_TYPE(object)->tp_version_tag;
    if (version != 0 && version == own->version) {
        PyObject *value = NULL;
        if (own->offset > 0) {
            value = *(PyObject **)((char *)object + own->offset);
        }
        else if (own->index >= 0) {
            PyObject **values = grpc_guard_values_of(object);
            value = values == NULL ? NULL : values[own->index];
        }
        if (value != NULL) {
            return Py_NewRef(value);
        }
        return PyObject_GetAttr(object, name);
    }
    PyObject *value = PyObject_GetAttr(object, name);
    if (value != NULL) {
        own->index = grpc_guard_index_of(Py_TYPE(object), name);
        own->offset = own->index < 0 ? slot_of(Py_TYPE(object), name) : 0;
        own->version = Py_TYPE(object)->tp_version_tag;
    }
    return value;
}

/* Returns what the `__aiter__` or `__anext__` of a type in C is, if its objects can have nothing else by that
 * name; or NULL. */
static unaryfunc
slot_of_type(PyTypeObject *type, PyObject *name)
{
    PyAsyncMethods *methods = type->tp_as_async;
    int is_step = PyUnicode_CompareWithASCIIString(name, "__anext__") == 0;
    int is_known = is_step || PyUnicode_CompareWithASCIIString(name, "__aiter__") == 0;
    unaryfunc slot = methods == NULL || !is_known ? NULL : is_step ? methods->am_anext : methods->am_aiter;
    PyObject *own = PyUnicode_InternFromString("__getattribute__");
    if (own == NULL) {
        PyErr_Clear();
        return NULL;
    }
    int is_plain = type->tp_dictoffset == 0
                   && _PyType_Lookup(type, own) == _PyType_Lookup(&PyBaseObject_Type, own);
    Py_DECREF(own);
    PyObject *method = is_plain && slot != NULL ? _PyType_Lookup(type, name) : NULL;
    int is_its = method != NULL && Py_IS_TYPE(method, &PyWrapperDescr_Type)
                 && ((PyWrapperDescrObject *)method)->d_wrapped == (void *)slot;
    return is_its ? slot : NULL;
}

static UNUSUAL void
learn(Unbound *known, PyTypeObject *type, PyObject *name)
{
    known->method = grpc_guard_method_of(type, name);
    known->counted = grpc_guard_counted_of(type);
    known->count = known->counted == NULL ? -1 : *known->counted;
    known->name = name;
    known->slot = known->method == NULL ? slot_of_type(type, name) : NULL;
    known->version = type->tp_version_tag;
}

USUAL PyObject *
grpc_guard_call_unbound(Unbound *known, PyObject *name, PyObject *const *args, size_t count)
{
    unsigned int version = Py_TYPE(args[0])->tp_version_tag;
    if (!USUALLY(version != 0 && version == known->version && name == known->name
                 && (known->counted == NULL || *known->counted == known->count))) {
        learn(known, Py_TYPE(args[0]), name);
    }
    if (!USUALLY(known->method != NULL && known->version != 0 && grpc_guard_values_of(args[0]) != NULL)) {
        return known->slot != NULL && known->version != 0 && count == 1
                   ? known->slot(args[0])
                   : PyObject_VectorcallMethod(name, args, count, NULL);
    }
    PyObject *method = Py_NewRef(known->method), *result;
    if (USUALLY(Py_IS_TYPE(method, &PyFunction_Type))) {
        result = ((PyFunctionObject *)method)->vectorcall(method, args, count, NULL);
    }
    else {
        result = PyObject_Vectorcall(method, args, count, NULL);
    }
    Py_DECREF(method);
    return result;
}

USUAL PyObject *
grpc_guard_loop_here(State *state, PyObject *running_loop)
{
    if (!HAS_LOOP_IN_DICT || running_loop != state->loop_of_thread) {
        return PyObject_CallNoArgs(running_loop);
    }
    LoopsHere *loops = &state->loops;
    PyObject *dict = PyThreadState_GetDict();
    uint64_t version = dict == NULL ? 0 : grpc_guard_version_of(dict);
    for (int at = 0; version != 0 && at < LOOPS; at++) {
        if (loops->version[at] == version) {
            state->here_version = version;
            state->here = loops->loop[at];
            return Py_NewRef(loops->loop[at]);
        }
    }
    PyObject *loop = PyObject_CallNoArgs(running_loop);
    if (loop != NULL) {
        int at = loops->newest = (loops->newest + 1) % LOOPS;
        loops->version[at] = version;
        loops->loop[at] = loop;
        state->here_version = version;
        state->here = loop;
    }
    return loop;
}

/* Returns the function in C that a method of an object is, if it takes these arguments; else NULL. */
static inline PyCFunction
in_c(MethodInC *known, PyObject *object, PyObject *name, int takes)
{
    PyTypeObject *type = Py_TYPE(object);
    if (!USUALLY(type->tp_version_tag == known->version && known->version != 0)) {
        PyObject *method = _PyType_Lookup(type, name); /* borrowed */
        int is_c = method != NULL && Py_IS_TYPE(method, &PyMethodDescr_Type)
                   && PyType_IsSubtype(type, PyDescr_TYPE(method)) /* else Python refuses to call it */
                   && ((PyMethodDescrObject *)method)->d_method->ml_flags == takes
                   && type->tp_dictoffset >= 0 && type->tp_getattro == PyObject_GenericGetAttr;
        known->call = is_c ? ((PyMethodDescrObject *)method)->d_method->ml_meth : NULL;
        known->dict = type->tp_dictoffset;
        known->version = type->tp_version_tag;
    }
    if (USUALLY(known->call != NULL
                && (known->dict == 0 || *(PyObject **)((char *)object + known->dict) == NULL))) {
        return known->call;
    }
    return NULL;
}

USUAL PyObject *
grpc_guard_call_in_c(MethodInC *known, PyObject *object, PyObject *name, PyObject *argument)
{
    PyCFunction call = in_c(known, object, name, argument == NULL ? METH_NOARGS : METH_O);
    if (USUALLY(call != NULL)) {
        return call(object, argument);
    }
    PyObject *args[] = {object, argument};
    return PyObject_VectorcallMethod(name, args, argument == NULL ? 1 : 2, NULL);
}

PyObject *
grpc_guard_name_in_task(State *state, PyObject *task)
{
    Starts *starts = &state->starts;
    PyCFunction call = in_c(&state->of_task_name, task, starts->str_get_name, METH_NOARGS);
    if (USUALLY(call != NULL)) {
        return call(task, NULL);
    }
    return starts->name_in_task == NULL ? PyObject_CallMethodNoArgs(task, starts->str_get_name)
                                        : PyObject_CallOneArg(starts->name_in_task, task);
}
