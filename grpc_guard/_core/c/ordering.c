/* Handlers in the order of their message, the longest first: see serving.c. */

#include "looks.h"
#include "scratches.h"

typedef struct {
    double held;
    Py_ssize_t number; /* as they came: those that are alike stay in this order */
    const char *start;
    size_t size;
} Placed;

static int
is_shorter(const void *one, const void *other)
{
    const Placed *mine = one, *its = other;
    if (mine->held != its->held) {
        return mine->held > its->held ? -1 : 1;
    }
    return mine->number < its->number ? -1 : 1;
}

/* Finds where each is; -1: an error is set. */
static int
place_all(const Scratch *scratch, Placed *placed, Py_ssize_t count)
{
    const char *start = scratch->bytes.start;
    size_t left = scratch->bytes.size;
    for (Py_ssize_t i = 0; i < count; i++) {
        Key key;
        memcpy(&key, scratch->keys.start + (size_t)i * sizeof(Key), sizeof(Key));
        if (key.size > left) {
            PyErr_SetString(PyExc_ValueError, "keys of other handlers");
            return -1;
        }
        placed[i] = (Placed){key.held, i, start, key.size};
        start += key.size;
        left -= key.size;
    }
    return 0;
}

/* Returns the bytes of all, in their order. */
static PyObject *
joined(Placed *placed, Py_ssize_t count)
{
    size_t size = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        size += placed[i].size;
    }
    qsort(placed, (size_t)count, sizeof(Placed), is_shorter);
    PyObject *found = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    char *end = found == NULL ? NULL : PyBytes_AS_STRING(found);
    for (Py_ssize_t i = 0; found != NULL && i < count; i++) {
        if (i + 8 < count) {
            FETCH_LINES(placed[i + 8].start, 192);
        }
        memcpy(end, placed[i].start, placed[i].size);
        end += placed[i].size;
    }
    return found;
}

/* handlers_in_order(scratch): the bytes of the handlers that answer_handlers() has put there. */
static PyObject *
handlers_in_order(PyObject *module, PyObject *scratch)
{
    State *state = PyModule_GetState(module);
    if (!Py_IS_TYPE(scratch, state->scratch)) {
        return PyErr_Format(PyExc_TypeError, "handlers_in_order() takes a Scratch, not %R", scratch);
    }
    if (!grpc_guard_scratch_is_free((Scratch *)scratch)) {
        return NULL;
    }
    Py_ssize_t count = (Py_ssize_t)(((Scratch *)scratch)->keys.size / sizeof(Key));
    Placed *placed = PyMem_Malloc(((size_t)count + 1) * sizeof(Placed));
    if (placed == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *found =
        place_all((Scratch *)scratch, placed, count) < 0 ? NULL : joined(placed, count);
    PyMem_Free(placed);
    return found;
}

static PyMethodDef module_methods[] = {
    {"handlers_in_order", handlers_in_order, METH_O, "Return the bytes of handlers: see servers.py."},
    {NULL},
};

int
grpc_guard_add_ordering(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
