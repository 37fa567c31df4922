/* What is kept of objects that have ended, to be used anew. */

#ifndef GRPC_GUARD_KEPT_H
#define GRPC_GUARD_KEPT_H

#include <Python.h>

/* An operation is made for each message: so many are kept when they have ended. */
#if defined(__SANITIZE_ADDRESS__)
#define KEPT_OPERATIONS 1 /* what is freed is to be seen */
#else
#define KEPT_OPERATIONS 32
#endif

/* Objects that have ended, all of whose fields are clear, to be used anew. */
typedef struct {
    PyObject *objects[KEPT_OPERATIONS];
    int count;
} Kept;

/* Returns a new object of a type that the collector knows, one that was kept if there is one. */
PyObject *grpc_guard_alloc(Kept *kept, PyTypeObject *type);

/* Keeps an object of exactly this type, or frees it. */
void grpc_guard_keep(Kept *kept, PyTypeObject *type, PyObject *object);

/* What is kept of objects whose classes are in Python: memory of one size, all zero, which is of no class
 * and untracked until it is used anew. That of a proxy has an empty dict, and there is one kind for each
 * number of slots. */
#define MOST_SLOTS 6
enum { KEPT_STREAMS, KEPT_AIO_DIRECTIONS, KEPT_PROXIES, KEPT_KINDS = KEPT_PROXIES + MOST_SLOTS + 1 };

/* Returns a new object of a type, of memory that was kept; NULL, without an error, if there is none. */
PyObject *grpc_guard_memory_kept(int kind, PyTypeObject *type);

/* Keeps the memory of an object, which is of no type then, whose reference is not taken: 1, else 0. */
int grpc_guard_keep_memory(int kind, PyObject *object);

/* Called by each module of this library, from when on and until when memory is kept. */
void grpc_guard_begin_keeping(void);
void grpc_guard_end_keeping(void);

void grpc_guard_free_kept(Kept *kept);

#endif
