/* Objects of which one is made for each message or RPC: their memory is kept when they have ended. */

#include "guarded.h"

void
grpc_guard_free_kept(Kept *kept)
{
    PyObject *self;
    while ((self = grpc_guard_take_kept(kept)) != NULL) {
        PyTypeObject *type = Py_TYPE(self);
        PyObject_GC_Del(self);
        Py_DECREF(type);
    }
}

int
grpc_guard_visit_kept(Kept *kept, visitproc visit, void *arg)
{
    for (PyObject *self = kept->first; self != NULL; self = grpc_guard_next_kept(self)) {
        Py_VISIT(Py_TYPE(self));
    }
    return 0;
}

/* Of objects whose classes are in Python, and may go. */

static Kept memory[KEPT_KINDS];
static int modules; /* of this library, that are there */

USUAL PyObject *
grpc_guard_memory_kept(int kind, PyTypeObject *type)
{
    PyObject *self = grpc_guard_take_kept(&memory[kind]);
    if (self != NULL) {
        (void)PyObject_Init(self, type);
        PyObject_GC_Track(self);
    }
    return self;
}

USUAL int
grpc_guard_keep_memory(int kind, PyObject *object)
{
    if (modules == 0 || !grpc_guard_put_kept(&memory[kind], object)) {
        return 0;
    }
    Py_SET_TYPE(object, &PyDict_Type); /* which the collector knows, too, and which stays */
    return 1;
}

USUAL PyObject *
grpc_guard_new_of(int kind, PyTypeObject *type, PyTypeObject *base)
{
    PyObject *self = NULL;
    if (USUALLY(type->tp_dealloc == base->tp_dealloc)) {
        self = grpc_guard_memory_kept(kind, type);
    }
    if (!USUALLY(self != NULL)) {
        self = type->tp_alloc(type, 0);
        grpc_guard_die_as(type, base);
    }
    return self;
}

USUAL void
grpc_guard_free_of(int kind, PyObject *self, size_t size, destructor dealloc)
{
    PyTypeObject *type = Py_TYPE(self);
    memset(self + 1, 0, size - sizeof(PyObject));
    if (!USUALLY(type->tp_dealloc == dealloc && grpc_guard_keep_memory(kind, self))) {
        type->tp_free(self);
    }
    Py_DECREF(type);
}

void
grpc_guard_begin_keeping(void)
{
    modules++;
}

void
grpc_guard_end_keeping(void)
{
    if (--modules > 0) {
        return;
    }
    for (int kind = 0; kind < KEPT_KINDS; kind++) {
        PyObject *self;
        while ((self = grpc_guard_take_kept(&memory[kind])) != NULL) {
            if (kind >= KEPT_PROXIES) {
                grpc_guard_clear_kept_proxy(self);
            }
            PyObject_GC_Del(self);
        }
    }
}

State *
grpc_guard_state_left(PyTypeObject *type)
{
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module; /* NULL of a type that was cleared */
    return module == NULL ? NULL : PyModule_GetState(module);
}
