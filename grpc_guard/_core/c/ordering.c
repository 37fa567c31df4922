/* Handlers in the order of their message, the longest first: see serving.c. */

#include "looks.h"
#include "places.h"
#include "scratches.h"

/* Where the bytes of a handler are. */
typedef struct {
    size_t at, size;
} Span;

/* Finds where each is of those that have not been placed yet; -1: an error is set. */
static int
place_all(const Scratch *scratch, Place *places, Span *spans, Py_ssize_t count)
{
    size_t at = scratch->placed;
    const char *keys = scratch->keys.start + scratch->placed_keys;
    for (Py_ssize_t i = 0; i < count; i++) {
        Key key;
        memcpy(&key, keys + (size_t)i * sizeof(Key), sizeof(Key));
        if (key.size > scratch->bytes.size - at) {
            PyErr_SetString(PyExc_ValueError, "keys of other handlers");
            return -1;
        }
        places[i] = (Place){.since = -key.held, .at = i, .before = key.number};
        spans[i] = (Span){at, key.size};
        at += key.size;
    }
    return 0;
}

/* Puts the bytes of all where others end, in their order; -1: an error is set. */
static int
put_in_order(Place *places, const Span *spans, Py_ssize_t count, const Bytes *from, Bytes *into)
{
    if (!grpc_guard_are_sorted(places, count)) {
        places = grpc_guard_sort_places(places, places + count, count);
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i + 8 < count) {
            FETCH_LINES(from->start + spans[places[i + 8].at].at, 192);
        }
        const Span *span = &spans[places[i].at];
        if (grpc_guard_put(into, from->start + span->at, span->size) < 0) {
            return -1;
        }
    }
    return 0;
}

/* handlers_in_order(scratch, into): puts the handlers that answer_handlers() has put there since the last
 * call into another Scratch; returns how many bytes that are. */
static PyObject *
handlers_in_order(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    Scratch *scratch, *into;
    if (!PyArg_ParseTuple(args, "O!O!:handlers_in_order", state->scratch, &scratch, state->scratch, &into)
        || !grpc_guard_scratch_is_free(scratch) || !grpc_guard_scratch_is_free(into)) {
        return NULL;
    }
    if (scratch == into) {
        return PyErr_Format(PyExc_ValueError, "they are put into another one");
    }
    size_t before = into->bytes.size;
    Py_ssize_t count = (Py_ssize_t)((scratch->keys.size - scratch->placed_keys) / sizeof(Key));
    Place *places = PyMem_Malloc((2 * (size_t)count + 1) * sizeof(Place)); /* to be sorted */
    Span *spans = PyMem_Malloc(((size_t)count + 1) * sizeof(Span));
    int failed = places == NULL || spans == NULL;
    if (failed) {
        PyErr_NoMemory();
    }
    failed = failed || place_all(scratch, places, spans, count) < 0
             || put_in_order(places, spans, count, &scratch->bytes, &into->bytes) < 0;
    PyMem_Free(places);
    PyMem_Free(spans);
    if (failed) {
        return NULL;
    }
    scratch->placed = scratch->bytes.size;
    scratch->placed_keys = scratch->keys.size;
    return PyLong_FromSize_t(into->bytes.size - before);
}

static PyMethodDef module_methods[] = {
    {"handlers_in_order", handlers_in_order, METH_VARARGS, "Put handlers in their order: see servers.py."},
    {NULL},
};

int
grpc_guard_add_ordering(PyObject *module, State *state)
{
    return PyModule_AddFunctions(module, module_methods);
}
