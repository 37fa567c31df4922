/* Who calls an operation, and when, found without a call through Python and without an object made;
 * an attribute that is not there, without an exception made; and what has been looked up before,
 * without another lookup.
 *
 * The one place that knows what is private in CPython, for the versions that it was read in: an
 * operation is asked for from a cold cache, and a frame object for each cost as much as the claim.
 * Another version takes the public way.
 */

#ifndef GRPC_GUARD_CALLERS_H
#define GRPC_GUARD_CALLERS_H

#include <Python.h>

#if defined(__linux__) /* where time.monotonic() is this clock */
#include <time.h>
#define HAS_CLOCK 1
static inline double
grpc_guard_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec * 1000000000LL + now.tv_nsec) / 1e9;
}

/* The same, up to a tick of the kernel ago, for a third of the time. */
static inline double
grpc_guard_moments_ago(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (double)(now.tv_sec * 1000000000LL + now.tv_nsec) / 1e9;
}
#else
#define HAS_CLOCK 0
static inline double
grpc_guard_now(void)
{
    return 0.0;
}

static inline double
grpc_guard_moments_ago(void)
{
    return 0.0;
}
#endif

/* The caller of an operation that a fork has left behind in the parent: no frame's key. */
#define LEFT_BEHIND ((void *)-1)

/* Each frame that runs has a key of its own, which a frame object can be asked for. */
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000
#if PY_VERSION_HEX < 0x030C0000
struct grpc_guard_inner { /* struct _PyInterpreterFrame, as far as it is read here */
    void *of_function[4];
    PyObject *code;
    void *frame, *previous;
    void *instruction; /* the last one */
};
#else
struct grpc_guard_inner {
    PyObject *code;
    void *previous, *of_function[4], *frame;
    void *instruction; /* the last one; from 3.13 on, the one that runs */
};
#endif

struct grpc_guard_frame { /* struct _frame of pycore_frame.h */
    PyObject_HEAD
    PyFrameObject *back;
    void *inner; /* struct _PyInterpreterFrame */
};

/* Returns the key of the frame that runs, and finds the thread. */
static inline void *
grpc_guard_caller(unsigned long long *thread)
{
    PyThreadState *state = PyThreadState_Get();
    *thread = state->thread_id;
#if PY_VERSION_HEX < 0x030D0000
    return state->cframe->current_frame;
#else
    return state->current_frame;
#endif
}

static inline void *
grpc_guard_key_of(PyObject *frame)
{
    return ((struct grpc_guard_frame *)frame)->inner;
}

/* Finds the code that runs, a new reference, and the index of its instruction; none if it is C. */
static inline void
grpc_guard_place(PyObject **code, int *offset)
{
    unsigned long long thread;
    struct grpc_guard_inner *frame = grpc_guard_caller(&thread);
    if (frame != NULL && PyCode_Check(frame->code)) {
        *code = Py_NewRef(frame->code);
        *offset = (int)((char *)frame->instruction - ((PyCodeObject *)frame->code)->co_code_adaptive);
    }
}

/* What object.__getattribute__ finds; NULL without an exception if there is no such attribute. */
static inline PyObject *
grpc_guard_own_attribute(PyObject *object, PyObject *name)
{
    return _PyObject_GenericGetAttrWithDict(object, name, NULL, 1);
}
#else
static inline PyObject *
grpc_guard_own_attribute(PyObject *object, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(object, name);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return found;
}

static inline void *
grpc_guard_caller(unsigned long long *thread)
{
    *thread = PyThread_get_thread_ident();
    return PyEval_GetFrame(); /* borrowed: it lives as long as it runs */
}

static inline void *
grpc_guard_key_of(PyObject *frame)
{
    return frame;
}

static inline void
grpc_guard_place(PyObject **code, int *offset)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    if (frame != NULL) {
        *code = (PyObject *)PyFrame_GetCode(frame);
        *offset = PyFrame_GetLasti(frame);
        Py_DECREF(frame);
    }
}
#endif

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

#endif
