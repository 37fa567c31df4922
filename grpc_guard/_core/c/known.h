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

/* A method of a class, which its objects have nothing in place of. */
typedef struct {
    unsigned int version; /* of the class; 0: not known yet */
    Py_ssize_t count;     /* of the attributes that its objects may have of their own, where that is */
    const Py_ssize_t *counted; /* counted; or NULL */
    PyObject *name;       /* which whoever calls it holds for good */
    PyObject *method;     /* borrowed; NULL: it has to be looked for */
    unaryfunc slot;       /* in place of that, of a type in C whose objects have no attributes: what it calls */
} Unbound;

/* The same as PyObject_VectorcallMethod() with names of no keywords. */
PyObject *grpc_guard_call_unbound(Unbound *known, PyObject *name, PyObject *const *args, size_t count);

/* A method of a class, if it is one in C that nothing but an attribute of an object can replace; NULL: it has to be
 * looked for. */
typedef struct {
    unsigned int version; /* of the class; 0: not known yet */
    PyCFunction call;
    Py_ssize_t dict; /* where its objects have their attributes; 0: they have none */
} MethodInC;

/* Calls it, with an argument or NULL for none. */
PyObject *grpc_guard_call_in_c(MethodInC *known, PyObject *object, PyObject *name, PyObject *argument);

/* The event loops that ran on threads when they were asked last, by the versions of the dicts in which
 * asyncio keeps them. A child of a fork, where asyncio takes none of them to run, forgets them. */
#define LOOPS 4

typedef struct {
    uint64_t version[LOOPS];
    PyObject *loop[LOOPS]; /* or None; borrowed from the dict */
    int newest;
} LoopsHere;

/* How proxies of a class are made around objects of a type, both known by their versions. */
#define MADE_SO 32

typedef struct {
    unsigned int of_class, of_type; /* 0: not known yet */
    PyObject *recipe, *twin;        /* of the class, borrowed; a weak reference */
} MadeSo;

#endif
