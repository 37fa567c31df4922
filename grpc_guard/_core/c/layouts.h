/* Where dicts and ordinary objects have what is looked up in them: private in CPython, and read here alone,
 * for the versions that it was read in. On another version, everything is looked up. */

#ifndef GRPC_GUARD_LAYOUTS_H
#define GRPC_GUARD_LAYOUTS_H

#include <Python.h>

/* A dict has another version after each change, which no other dict has or had; 0: it is not known. */
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
#define HAS_VERSIONS 1
struct grpc_guard_dict { /* PyDictObject, in which the compiler warns of this field */
    PyObject_HEAD
    Py_ssize_t used;
    uint64_t version;
};

static inline uint64_t
grpc_guard_version_of(PyObject *dict)
{
    return ((struct grpc_guard_dict *)dict)->version;
}

struct grpc_guard_keys { /* struct _dictkeysobject, as far as it is read here */
    Py_ssize_t references;
    uint8_t log2_size, log2_index_bytes, kind;
    uint32_t version;
    Py_ssize_t usable, count;
    char indices[];
};
#define SPLIT_KEYS 2

struct grpc_guard_key { /* PyDictUnicodeEntry */
    PyObject *key, *value;
};

/* Tells whether the collector has had an object finalized: it has not again. */
static inline int
grpc_guard_is_finalized(PyObject *object)
{
    return (int)(((uintptr_t *)object)[-1] & 1); /* PyGC_Head._gc_prev */
}

/* Returns the values of what an ordinary object has in itself, in the order of its class's keys;
 * NULL if it has them elsewhere. The class has such keys. */
static inline PyObject **
grpc_guard_values_of(PyObject *object)
{
#if PY_VERSION_HEX < 0x030C0000
    return ((PyObject ***)object)[-4];
#elif PY_VERSION_HEX < 0x030D0000
    uintptr_t values = ((uintptr_t *)object)[-3];
    return values & 1 ? (PyObject **)(values + 1) : NULL;
#else
    struct {
        uint8_t capacity, size, is_embedded, is_valid;
        PyObject *values[1];
    } *own = (void *)((char *)object + Py_TYPE(object)->tp_basicsize);
    return own->is_valid ? own->values : NULL;
#endif
}

/* Returns the names of what the objects of a class have among these; NULL if it is no such class. */
static inline struct grpc_guard_keys *
grpc_guard_keys_of(PyTypeObject *type)
{
#if PY_VERSION_HEX < 0x030D0000
    unsigned long has_values = Py_TPFLAGS_MANAGED_DICT;
#else
    unsigned long has_values = Py_TPFLAGS_INLINE_VALUES;
#endif
    struct grpc_guard_keys *keys = NULL;
    if ((type->tp_flags & has_values) && type->tp_getattro == PyObject_GenericGetAttr) {
        keys = (struct grpc_guard_keys *)((PyHeapTypeObject *)type)->ht_cached_keys;
    }
    return keys != NULL && keys->kind == SPLIT_KEYS ? keys : NULL;
}

/* Returns where the objects of a class have an attribute among these; -1 if they do not. */
static inline Py_ssize_t
grpc_guard_index_of(PyTypeObject *type, PyObject *name)
{
    struct grpc_guard_keys *keys = grpc_guard_keys_of(type);
    if (keys == NULL) {
        return -1;
    }
    struct grpc_guard_key *all = (void *)(keys->indices + ((size_t)1 << keys->log2_index_bytes));
    for (Py_ssize_t i = 0; i < keys->count; i++) {
        if (all[i].key == name) {
            PyObject *of_class = _PyType_Lookup(type, name); /* which may come first */
            return of_class == NULL || Py_TYPE(of_class)->tp_descr_set == NULL ? i : -1;
        }
    }
    return -1;
}

/* Returns how many attributes objects of a class may have among these; -1 if not all are among them. */
static inline Py_ssize_t
grpc_guard_count_of(PyTypeObject *type)
{
    struct grpc_guard_keys *keys = grpc_guard_keys_of(type);
    return keys == NULL ? -1 : keys->count;
}

/* Returns where that is counted, for as long as the class has its version; NULL if it is not. */
static inline const Py_ssize_t *
grpc_guard_counted_of(PyTypeObject *type)
{
    struct grpc_guard_keys *keys = grpc_guard_keys_of(type);
    return keys == NULL ? NULL : &keys->count;
}

/* Returns the method of a class, borrowed; NULL if its objects may have something else in its place. */
static inline PyObject *
grpc_guard_method_of(PyTypeObject *type, PyObject *name)
{
    PyObject *method = grpc_guard_count_of(type) < 0 || grpc_guard_index_of(type, name) >= 0
                           ? NULL
                           : _PyType_Lookup(type, name);
    int is_method = method != NULL && PyType_HasFeature(Py_TYPE(method), Py_TPFLAGS_METHOD_DESCRIPTOR);
    return is_method ? method : NULL;
}

/* Returns a bound method of an object, if its class has a method of this name and it has nothing of
 * its own; NULL, without an exception, if it is not known by this alone. */
static inline PyObject *
grpc_guard_bound(PyObject *object, PyObject *name)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *method = _PyType_Lookup(type, name);
    if (method == NULL || !PyType_HasFeature(Py_TYPE(method), Py_TPFLAGS_METHOD_DESCRIPTOR)
        || type->tp_dictoffset <= 0) {
        return NULL;
    }
    PyObject *own = *(PyObject **)((char *)object + type->tp_dictoffset);
    if (own != NULL && PyDict_GET_SIZE(own) > 0) {
        return NULL;
    }
    Py_INCREF(method);
    PyObject *bound = Py_TYPE(method)->tp_descr_get(method, object, (PyObject *)type);
    Py_DECREF(method);
    return bound;
}
#else
#define HAS_VERSIONS 0
static inline int
grpc_guard_is_finalized(PyObject *object)
{
    return PyObject_GC_IsFinalized(object);
}

static inline uint64_t
grpc_guard_version_of(PyObject *dict)
{
    return 0;
}

static inline PyObject **
grpc_guard_values_of(PyObject *object)
{
    return NULL;
}

static inline Py_ssize_t
grpc_guard_index_of(PyTypeObject *type, PyObject *name)
{
    return -1;
}

static inline Py_ssize_t
grpc_guard_count_of(PyTypeObject *type)
{
    return -1;
}

static inline const Py_ssize_t *
grpc_guard_counted_of(PyTypeObject *type)
{
    return NULL;
}

static inline PyObject *
grpc_guard_method_of(PyTypeObject *type, PyObject *name)
{
    return NULL;
}

static inline PyObject *
grpc_guard_bound(PyObject *object, PyObject *name)
{
    return NULL;
}
#endif

/* CPython 3.13 keeps the loop of a thread in its state, where no version tells of a change. */
#define HAS_LOOP_IN_DICT (HAS_VERSIONS && PY_VERSION_HEX < 0x030D0000)

#endif
