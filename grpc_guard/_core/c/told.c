/* What the layers above say of themselves, by the names in starts.h. */

#include "core.h"

static int
take(PyObject **field, PyObject *value, int is_right, const char *name)
{
    if (!is_right) {
        PyErr_Format(PyExc_TypeError, "tell() takes no such %s: %R", name, value);
        return -1;
    }
    SET(*field, Py_NewRef(value));
    return 0;
}

/* Tells whether a function is the one in C that asks the dict of the thread; may set an error. */
static int
is_of_asyncio(PyObject *running_loop)
{
    if (running_loop == NULL || !PyCFunction_CheckExact(running_loop)) {
        return 0;
    }
    PyObject *module = PyObject_GetAttrString(running_loop, "__module__");
    int is_so = module != NULL && PyUnicode_Check(module)
                && PyUnicode_CompareWithASCIIString(module, "_asyncio") == 0;
    Py_XDECREF(module);
    return is_so;
}

static PyObject *
tell(PyObject *module, PyObject *told)
{
    Starts *starts = &((State *)PyModule_GetState(module))->starts;
    PyObject *name, *value;
    Py_ssize_t at = 0;
    if (!PyDict_Check(told)) {
        PyErr_SetString(PyExc_TypeError, "tell() takes what it is told by name");
        return NULL;
    }
    while (PyDict_Next(told, &at, &name, &value)) {
        int failed = 1;
        if (!PyUnicode_Check(name)) {
            PyErr_SetString(PyExc_TypeError, "tell() takes what it is told by name");
            return NULL;
        }
#define TAKE(known, is_right) \
        else if (PyUnicode_CompareWithASCIIString(name, #known) == 0) { \
            failed = take(&starts->known, value, is_right(value), #known); \
        }
        EACH_TOLD(TAKE)
#undef TAKE
        else {
            PyErr_Format(PyExc_NameError, "tell() knows no %U", name);
        }
        if (failed) {
            return NULL;
        }
    }
    State *state = PyModule_GetState(module);
    state->stream_at = state->next_at = 0;
    state->of_named = 0;
    state->is_told = starts->feeds != NULL && starts->wrapped != NULL && starts->returns != NULL;
    state->loop_of_thread = is_of_asyncio(starts->running_loop) ? starts->running_loop : NULL;
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyObject *
note_origin(PyObject *module, PyObject *operation)
{
    State *state = PyModule_GetState(module);
    if (state->starts.names == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "tell() of the module comes first");
        return NULL;
    }
    return grpc_guard_note_origin(state, operation);
}

static PyMethodDef module_methods[] = {
    {"tell", tell, METH_O, "Take by name what starts.h lists, or a part of it."},
    {"note_origin", note_origin, METH_O, "Note who does an operation now, and where: see origins.py."},
    {NULL},
};

int
grpc_guard_add_told(PyObject *module, State *state)
{
    Starts *starts = &state->starts;
#define INTERN(name) \
    if ((starts->str_##name = PyUnicode_InternFromString(#name)) == NULL) { \
        return -1; \
    }
    EACH_NAME_OF_STARTS(INTERN)
#undef INTERN
    return PyModule_AddFunctions(module, module_methods);
}

int
grpc_guard_starts_traverse(Starts *starts, visitproc visit, void *arg)
{
#define VISIT(name, is_right) Py_VISIT(starts->name);
    EACH_TOLD(VISIT)
#undef VISIT
    return 0;
}

void
grpc_guard_starts_clear(Starts *starts)
{
#define CLEAR(name, is_right) Py_CLEAR(starts->name);
    EACH_TOLD(CLEAR)
#undef CLEAR
#define CLEAR(name) Py_CLEAR(starts->str_##name);
    EACH_NAME_OF_STARTS(CLEAR)
#undef CLEAR
}
