/* Arrays that grow, of which the owner knows how many entries have room. */

#include <Python.h>

#include "arrays.h"

void *
grpc_guard_resized(void *array, size_t room, size_t size)
{
    void *resized = PyMem_Realloc(array, room * size);
    if (resized == NULL) {
        PyErr_NoMemory();
    }
    return resized;
}
