/* Directions: what those of both apis have in common. */

#ifndef GRPC_GUARD_DIRECTIONS_H
#define GRPC_GUARD_DIRECTIONS_H

#include "callers.h"
#include "core.h"

/* Returns a new reference to a field of a stream, without a lookup if it is one of ours. */
static inline PyObject *
of_stream(State *state, PyObject *stream, Py_ssize_t offset, PyObject *name)
{
    if (IS_STREAM(state, stream)) {
        PyObject *value = *(PyObject **)((char *)stream + offset);
        if (value != NULL) {
            return Py_NewRef(value);
        }
    }
    return PyObject_GetAttr(stream, name);
}

#define OF_STREAM(state, stream, name) \
    of_stream(state, stream, offsetof(StreamFields, name), (state)->str_##name)

/* Has the direction equipped with what its stream asks for; nothing for nearly all. */
static inline int
equip(PyObject *self, State *state, PyObject *stream)
{
    PyObject *value = OF_STREAM(state, stream, is_instrumented);
    int instrumented = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    if (instrumented <= 0) {
        return instrumented;
    }
    PyObject *nothing = PyObject_CallMethodNoArgs(self, state->str_equip);
    Py_XDECREF(nothing);
    return nothing == NULL ? -1 : 0;
}

/* Returns when the last operation of a direction began: now, if it has only just begun. */
static inline double
grpc_guard_since_of(AioFields *direction)
{
    if (direction->is_untimed) {
        direction->since = grpc_guard_just_now();
        direction->is_untimed = 0;
    }
    return direction->since;
}

static inline int
takes_no_names(PyObject *kwargs)
{
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "a direction takes no keyword arguments");
        return 0;
    }
    return 1;
}

/* Has the stream of a direction, which does not hold it, forget it. */
static inline void
leave_stream(PyObject *of, int is_of_fields, PyObject *direction)
{
    StreamFields *stream = (StreamFields *)of;
    if (stream == NULL || !is_of_fields) {
        return;
    }
    if (stream->reader == direction) {
        stream->reader = NULL;
    }
    if (stream->writer == direction) {
        stream->writer = NULL;
    }
}

/* What the collector asks of a type of directions; one leaves before it dies, and its memory is kept. */
#define LIFE_OF(prefix, Fields, EACH, kind) \
    static int prefix##_traverse(Fields *self, visitproc visit, void *arg) \
    { \
        Py_VISIT(Py_TYPE(self)); \
        EACH(VISIT_) \
        return 0; \
    } \
    static int prefix##_clear(Fields *self) \
    { \
        leave_stream(self->stream, self->is_of_fields, (PyObject *)self); \
        EACH(CLEAR_) \
        return 0; \
    } \
    static USUAL void prefix##_dealloc(Fields *self) \
    { \
        PyObject_GC_UnTrack(self); \
        prefix##_leave(self); \
        if (self->weakrefs != NULL) { \
            PyObject_ClearWeakRefs((PyObject *)self); \
        } \
        prefix##_clear(self); \
        grpc_guard_free_of(kind, (PyObject *)self, sizeof(Fields), (destructor)prefix##_dealloc); \
    }

#define VISIT_(name) Py_VISIT(self->name);
#define CLEAR_(name) Py_CLEAR(self->name);

#endif
