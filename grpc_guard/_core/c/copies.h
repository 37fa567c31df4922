/* The bytes of streams in the last answer, for the next one: see copies.c. */

#ifndef GRPC_GUARD_COPIES_H
#define GRPC_GUARD_COPIES_H

#include "boxes.h"
#include "looks.h"
#include "scratches.h"

/* The numbers in the bytes of a stream that are others in each answer: all are seconds. */
enum { ITS_AGE, STARTER_HELD, READER_HELD, READ_BEGAN, WRITER_HELD, WRITE_BEGAN, TIMES };

enum { LARGEST_COPY = 60000 }; /* bytes of a stream, or a handler, that are kept */

/* How a direction was told. */
enum { NO_WAY, NEVER_BEGAN, HAS_BEGAN, TASK_INSIDE, RECORD_INSIDE };

/* Of a direction what its bytes follow from; all is held, but not the task of which this is the name. */
typedef struct {
    PyObject *name, *operation, *stack; /* NULL where nobody is inside */
    int how;
} CopiedWay;

/* One stream. Nothing of the program is kept but the names of tasks. */
typedef struct {
    StreamFields *stream;      /* not held: it is this one as long as its mark says so; NULL: free */
    PyObject *state, *origin;  /* to be compared, not held: the stream does */
    long channel;              /* its number; -1: none */
    double began;
    unsigned int number;       /* that it had in its last answer */
    size_t at;                 /* where its bytes are, from those of its number on */
    unsigned int size;
    unsigned int look;         /* the answer in which they are */
    unsigned short times[TIMES]; /* where these numbers are; 0: they are not there */
    CopiedWay read, write;
    /* Its handler, whose name is that of who reads. */
    PyObject *handled_at;      /* the stack, held; NULL: it is not known */
    size_t handler_at;         /* where its bytes are among those of handlers */
    unsigned int handler_size, handler_look;
    unsigned short handler_held; /* where that number is */
} Copied;

typedef struct Copies {
    PyObject_HEAD
    unsigned int serial;     /* no other table in this process has it */
    unsigned int look, last; /* the number of this answer, and that of the one with these bytes */
    Bytes bytes;             /* of the last answer, from `base` on; while this one is made in its place: to spare */
    size_t base, whole;      /* so many the last answer had */
    char is_in_place;        /* so far, all bytes of this answer are where those of the last one were: see in_place.c */
    char is_used_up;         /* the bytes of the last answer are not there any more */
    Bytes handlers;          /* the same of handlers */
    Boxes boxes;             /* of Copied */
    unsigned int same, fresh; /* streams of this answer that have not changed, and those that are kept for the next */
} Copies;

/* Returns the box that a stream bears the number of, if it is one of these: another stream may be in it. */
static inline Copied *
grpc_guard_box_of(const Copies *copies, const StreamFields *stream)
{
    int is_ours = stream->copies == copies->serial && stream->copy < copies->boxes.count;
    return is_ours ? (Copied *)copies->boxes.all + stream->copy : NULL;
}

/* Finds the bytes of a stream in the last answer; NULL: it was not in it, or there is no table. */
static inline Copied *
grpc_guard_copy_of(const Copies *copies, const StreamFields *stream)
{
    Copied *one = copies == NULL ? NULL : grpc_guard_box_of(copies, stream);
    return one != NULL && one->stream == stream && one->look == copies->last ? one : NULL;
}

/* Finds a direction of a stream, borrowed, which may be none; 0: it has to be asked for. */
static inline int
grpc_guard_sees_way(PyObject *reference, PyObject *itself, PyObject **direction)
{
    *direction = itself;
    if (reference != Py_True) {
        if (reference != Py_None && !PyWeakref_CheckRefExact(reference)) {
            return 0;
        }
        *direction = reference == Py_None ? Py_None : ((PyWeakReference *)reference)->wr_object;
    }
    if (*direction == Py_None) {
        *direction = NULL;
    }
    return *direction == NULL || Py_REFCNT(*direction) > 0;
}

/* Returns the place for the bytes of a stream; NULL: an error is set. */
Copied *grpc_guard_place_for_copy(Copies *copies, StreamFields *stream);

/* Forgets what it knows of a stream. */
void grpc_guard_forget_copy(Copies *copies, Copied *one);

#endif
