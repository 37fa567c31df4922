/* Tasks that were seen in directions, thousands of them: see crowd.c. */

#ifndef GRPC_GUARD_CROWDS_H
#define GRPC_GUARD_CROWDS_H

#include "table.h"

/* Tells whether an object is a direction of asyncio: mostly of the class that all are of. */
#define IS_AIO_DIRECTION(state, object) \
    ((PyObject *)Py_TYPE(object) == (state)->aio_direction || PyObject_TypeCheck(object, (state)->aio_fields))

/* What is the same for many of them. */
typedef struct {
    PyObject *operation, *stack;
} Said;

typedef struct Noted {
    PyObject *direction, *task; /* no task: it was forgotten */
    PyObject *name; /* that the task had, to be compared alone; NULL: it has to be asked */
    double held; /* seconds */
    int said;
    char is_listed; /* the list of the look has its stream, which knows the direction */
} Noted;

typedef struct Crowd {
    PyObject_HEAD
    RecordMaker *new_owner;
    PyObject *name_of; /* of a task, to be shown: a function in Python */
    PyObject *names;   /* that were shown, by the name that a task has, if it may not be that one */
    PyObject *kind, *relation;
    State *state;
    unsigned int serial; /* no crowd in this process has come later, if this is how many have been made */
    Table noted; /* by their directions; see crowd.c */
    Said *said;
    Py_ssize_t said_count;
    Py_ssize_t saying; /* which of them is said of those who are noted next */
} Crowd;

/* Notes a task, in place of who was noted before; NULL: an error is set. */
Noted *grpc_guard_note_one(Crowd *crowd, PyObject *direction, PyObject *task, double held);

/* Finds when the operation in a direction began; -1: an error is set. */
int grpc_guard_find_since(State *state, PyObject *direction, double *since);

/* Adds what is the same for those who are noted next; -1: an error is set. */
int grpc_guard_say(Crowd *crowd, PyObject *operation, PyObject *stack);

/* Tells whether directions say where they are noted, if they are: they say it of the crowd that came last, and
 * those of threads say nothing. Else there is an index, as soon as somebody looks for one. */
static inline int
grpc_guard_is_said(const Crowd *crowd)
{
#ifdef Py_GIL_DISABLED
    return 0;
#else
    return crowd->noted.index == NULL && crowd->serial == crowd->state->crowds_made;
#endif
}

/* Finds the row of a direction; NULL: there is none, or somebody was forgotten there. */
const Noted *grpc_guard_find_noted(const Crowd *crowd, PyObject *direction);

/* Finds who was seen in a direction, borrowed; NULL: nobody. */
static inline const Noted *
grpc_guard_seen_in(const Crowd *crowd, PyObject *direction)
{
    if ((PyObject *)Py_TYPE(direction) != crowd->state->aio_direction || !grpc_guard_is_said(crowd)) {
        return grpc_guard_find_noted(crowd, direction);
    }
    unsigned int row = ((AioFields *)direction)->row;
    const Noted *noted = row < crowd->noted.count ? (const Noted *)crowd->noted.all + row : NULL;
    return noted != NULL && noted->direction == direction && noted->task != NULL ? noted : NULL;
}

/* Has what is needed to find them fetched, in two steps. */
static inline void
grpc_guard_fetch_seen(const Crowd *crowd, PyObject *direction, int step)
{
    if (direction == NULL || step == 0) {
        FETCH(direction);
    }
    else if ((PyObject *)Py_TYPE(direction) == crowd->state->aio_direction
             && ((AioFields *)direction)->row < crowd->noted.count) {
        FETCH((Noted *)crowd->noted.all + ((AioFields *)direction)->row);
    }
}

/* Returns all who were noted, those who were forgotten too. */
static inline Noted *
grpc_guard_all_noted(const Crowd *crowd)
{
    return crowd->noted.all;
}

/* Returns the name of a task; NULL: an error is set. */
PyObject *grpc_guard_name_of(Crowd *crowd, PyObject *task);

/* Tells whether somebody who was noted has this very name, which is held; -1: an error is set. */
int grpc_guard_is_named(Crowd *crowd, const Noted *noted, PyObject *name);

/* Returns the name of a task as it is shown; NULL: an error is set. */
PyObject *grpc_guard_shown_name(Crowd *crowd, PyObject *task);

/* Returns the record of somebody who was noted. */
PyObject *grpc_guard_noted_owner(Crowd *crowd, const Noted *noted);

#endif
