/* What has been looked up before, and is the same as long as the namespace or class it was found in is. */

#ifndef GRPC_GUARD_KNOWN_H
#define GRPC_GUARD_KNOWN_H

#include <Python.h>

/* What a namespace has under a name. */
typedef struct {
    uint64_t version; /* of the namespace; 0: not known yet */
    PyObject *value;  /* borrowed from it */
} LookedUp;

/* The same as PyDict_GetItemWithError() of a dict whose keys are strings. */
PyObject *grpc_guard_look_up(LookedUp *known, PyObject *dict, PyObject *name);

/* What a dict has under a number, that of a thread or the address of an object. */
typedef struct {
    uint64_t version; /* of the dict; 0: not known yet */
    uintptr_t number;
    PyObject *value; /* borrowed from it */
} Numbered;

/* Returns what a dict has under a number; borrowed; NULL, without an error, if it has nothing. */
PyObject *grpc_guard_look_up_number(Numbered *known, PyObject *dict, uintptr_t number);

/* Where objects of a class have an attribute. */
typedef struct {
    unsigned int version; /* of the class; 0: not known yet */
    Py_ssize_t index;     /* among the values of an object; -1: it is not there */
    Py_ssize_t offset;    /* of its slot; 0: it is not in one */
} Own;

/* The same as PyObject_GetAttr(). */
PyObject *grpc_guard_own(Own *own, PyObject *object, PyObject *name);

/* The threads that have started something last, by their states in the interpreter, of which each has a
 * number of its own: weak references to what threading has of them. */
#define THREADS 4

typedef struct {
    uint64_t id[THREADS]; /* 0: not known yet */
    PyObject *thread[THREADS];
    int newest;
} Threads;

/* The threads on which no event loop ran when they were asked last, by the versions of the dicts in
 * which asyncio keeps their loops. */
#define LOOPLESS 4

typedef struct {
    uint64_t version[LOOPLESS];
    int newest;
} Loopless;

#endif
