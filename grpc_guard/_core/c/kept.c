/* Objects of which one is made for each message or RPC: their memory is kept when they have ended. */

#include "guarded.h"

PyObject *
grpc_guard_alloc(Kept *kept, PyTypeObject *type)
{
    if (kept->count == 0) {
        return type->tp_alloc(type, 0);
    }
    PyObject *self = kept->objects[--kept->count];
    (void)PyObject_Init(self, type);
    PyObject_GC_Track(self);
    return self;
}

void
grpc_guard_keep(Kept *kept, PyTypeObject *type, PyObject *object)
{
    if (Py_TYPE(object) == type && kept->count < KEPT_OPERATIONS && !PyObject_GC_IsFinalized(object)) {
        kept->objects[kept->count++] = object; /* one that was finalized would not be again */
    }
    else {
        Py_TYPE(object)->tp_free(object);
    }
}

void
grpc_guard_free_kept(Kept *kept)
{
    while (kept->count > 0) {
        PyObject_GC_Del(kept->objects[--kept->count]);
    }
}

/* Of objects whose classes are in Python, and may go. */

static Kept memory[KEPT_KINDS];
static int modules; /* of this library, that are there */

PyObject *
grpc_guard_memory_kept(int kind, PyTypeObject *type)
{
    Kept *kept = &memory[kind];
    return kept->count == 0 ? NULL : grpc_guard_alloc(kept, type);
}

int
grpc_guard_keep_memory(int kind, PyObject *object)
{
    Kept *kept = &memory[kind];
    if (modules == 0 || kept->count >= KEPT_OPERATIONS || PyObject_GC_IsFinalized(object)) {
        return 0;
    }
    Py_SET_TYPE(object, &PyDict_Type); /* which the collector knows, too, and which stays */
    kept->objects[kept->count++] = object;
    return 1;
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
        for (int i = 0; kind >= KEPT_PROXIES && i < memory[kind].count; i++) {
            grpc_guard_clear_kept_proxy(memory[kind].objects[i]);
        }
        grpc_guard_free_kept(&memory[kind]);
    }
}

State *
grpc_guard_state_left(PyTypeObject *type)
{
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module; /* NULL of a type that was cleared */
    return module == NULL ? NULL : PyModule_GetState(module);
}
