/* What is kept of objects that have ended, to be used anew. */

#ifndef GRPC_GUARD_KEPT_H
#define GRPC_GUARD_KEPT_H

#include "layouts.h"

/* An operation is made for each message: so many are kept when they have ended. */
#if defined(__SANITIZE_ADDRESS__)
#define KEPT_OPERATIONS 1 /* what is freed is to be seen */
#else
#define KEPT_OPERATIONS 32
#endif

/* Objects that have ended, all of whose fields are clear, to be used anew. Each has the next one in place of the
 * count of its references. */
typedef struct {
    PyObject *first;
    int count;
} Kept;

static inline PyObject *
grpc_guard_next_kept(PyObject *kept)
{
    return *(PyObject **)kept;
}

/* Returns the object that was kept last, untracked, with one reference; NULL, without an error, if there is none. */
static inline PyObject *
grpc_guard_take_kept(Kept *kept)
{
    PyObject *self = kept->first;
    if (self != NULL) {
        kept->first = grpc_guard_next_kept(self);
        kept->count--;
        *(PyObject **)self = NULL;
        Py_SET_REFCNT(self, 1);
    }
    return self;
}

/* Keeps an object that is of no use any more: 1, else 0. */
static inline int
grpc_guard_put_kept(Kept *kept, PyObject *self)
{
#if defined(Py_GIL_DISABLED) || defined(Py_TRACE_REFS)
    return 0;
#else
    if (kept->count >= KEPT_OPERATIONS || grpc_guard_is_finalized(self)) {
        return 0; /* one that was finalized would not be again */
    }
    *(PyObject **)self = kept->first;
    kept->first = self;
    kept->count++;
    return 1;
#endif
}

/* Returns a new object of a type that the collector knows, one that was kept, with its reference to the type, if
 * there is one. */
static inline PyObject *
grpc_guard_alloc(Kept *kept, PyTypeObject *type)
{
    PyObject *self = grpc_guard_take_kept(kept);
    if (self == NULL) {
        return type->tp_alloc(type, 0);
    }
    PyObject_GC_Track(self);
    return self;
}

/* Keeps an object of exactly this type, with its reference to that, or frees it. */
static inline void
grpc_guard_keep(Kept *kept, PyTypeObject *type, PyObject *object)
{
    PyTypeObject *own = Py_TYPE(object);
    if (own != type || !grpc_guard_put_kept(kept, object)) {
        own->tp_free(object);
        Py_DECREF(own);
    }
}

/* Frees such objects; and visits what they refer to, for those who have them. */
void grpc_guard_free_kept(Kept *kept);
int grpc_guard_visit_kept(Kept *kept, visitproc visit, void *arg);

/* What is kept of objects whose classes are in Python: memory of one size, all zero, which is of no class
 * and untracked until it is used anew. That of a proxy has an empty dict, and there is one kind for each
 * number of slots. */
#define MOST_SLOTS 6
enum {
    KEPT_STREAMS, KEPT_SYNC_DIRECTIONS, KEPT_SYNC_OPERATIONS, KEPT_AIO_DIRECTIONS, KEPT_PROXIES,
    KEPT_KINDS = KEPT_PROXIES + MOST_SLOTS + 1
};

/* Returns a new object of a type, of memory that was kept; NULL, without an error, if there is none. */
PyObject *grpc_guard_memory_kept(int kind, PyTypeObject *type);

/* Keeps the memory of an object, which is of no type then, whose reference is not taken: 1, else 0. */
int grpc_guard_keep_memory(int kind, PyObject *object);

/* Returns a new object of a class, all zero, of memory that was kept if there is some: `base` is the type in C that
 * it extends, as whose objects those of the class end from now on, if it adds nothing to them. */
PyObject *grpc_guard_new_of(int kind, PyTypeObject *type, PyTypeObject *base);

/* Keeps the memory of such an object, whose fields are clear, or frees it; `dealloc` is that of the type in C. */
void grpc_guard_free_of(int kind, PyObject *object, size_t size, destructor dealloc);

/* Called by each module of this library, from when on and until when memory is kept. */
void grpc_guard_begin_keeping(void);
void grpc_guard_end_keeping(void);

#endif
