/* Objects of which one is made for each message or RPC: their memory is kept when they have ended. */

#include "core.h"

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

State *
grpc_guard_state_left(PyTypeObject *type)
{
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module; /* NULL of a type that was cleared */
    return module == NULL ? NULL : PyModule_GetState(module);
}
