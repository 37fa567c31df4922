/* What is known of tasks from one look to the next: see recall.c. */

#ifndef GRPC_GUARD_RECALLS_H
#define GRPC_GUARD_RECALLS_H

#include "boxes.h"
#include "crowds.h"

/* One operation of ours in which a task is: see inside.c. Of the objects nothing but their identity. */
typedef struct {
    const void *operation, *future;
    double since;
    unsigned int number; /* one more than that of the box of its stream; 0: none */
    unsigned short made; /* when that came into it, to tell it from those that were there before */
    unsigned short is_write : 1, line : 15; /* which direction; of a KnownLine, 0: nobody knows */
} Inside;

/* A line at which coroutines await an operation, and how their tasks stand: see again.c. */
typedef struct {
    PyObject *code;     /* a weak reference; NULL: free */
    PyObject *standing;
    int line;           /* the number of an instruction */
} KnownLine;

enum { LINES_KNOWN = 64, MOST_LINES = 1 << 15 };

/* Where a task awaits an operation: both are held. */
typedef struct {
    PyObject *operation, *code;
    int line; /* as that of a KnownLine */
} Awaiting;

/* A stream with somebody inside of it, who is remembered. */
typedef struct {
    StreamFields *stream;    /* not held: it lives if it was listed in this look; NULL: free */
    unsigned int look;       /* in which it was listed last */
    unsigned int made;       /* in which it got this box */
} Marked;

/* What is known of one task. Nothing of it is kept alive. */
typedef struct {
    PyObject *reference; /* that asyncio has to it: no other task will ever have this one */
    PyObject *standing;  /* NULL: nothing is known */
    PyObject *future;    /* a weak reference to what it waits for; NULL for one that stays as it is */
    PyObject *direction; /* a weak reference to where it is inside, or NULL */
    Inside inside;       /* in place of both, if its number is not 0 */
} Recalled;

typedef struct {
    PyObject_HEAD
    State *state; /* of the module */
    PyObject *nowhere, *settled; /* standings: to be told of nobody; and never again to be looked at */
    PyObject *str_fut_waiter, *plain; /* the class of futures that is known to be as it should */
    Recalled *all;
    Py_ssize_t count, room;
    PyObject **references; /* of all, side by side, borrowed from them; NULL: nobody has put them there */
    char is_todo_known; /* what there was to do in the last look is what there is in this one, if the tasks are the same */
    Recalled *spare; /* memory for those of the next look, `spare_room` of them, or NULL */
    Py_ssize_t spare_room;
    unsigned int serial, look; /* no other one in this process has it; the number of this look */
    char is_listed;            /* the streams of this look are known */
    Boxes boxes;               /* of Marked */
    KnownLine lines[LINES_KNOWN];
    unsigned int next_line;    /* which is replaced next */
    unsigned int *todo; /* of all, those that have to be looked at, in this look */
    Py_ssize_t todo_count;
    PyObject *loops, *waited; /* of this look: whose tasks; index and future of those that are fresh */
    PyTypeObject *task_type;  /* that was met last; all its objects have `read_waiter` say what they */
    PyObject *read_waiter;    /* wait for, or it is NULL */
    Py_ssize_t waiter_at;     /* where they have that, and the name two words later: see waiters.c; 0: unknown */
    int times_seen;           /* so many of them have it there */
    PyObject *str_get_loop, *str_done, *str_get_name, *str_get_coro, *str_cr_await, *str_cr_frame;
    char is_taken; /* by a look */
    char is_busy; /* Python runs within a call: no other call may change what is here */
} Recollection;

/* Lets go of all that is known of a task, but the reference to it. */
static inline void
grpc_guard_unlearn(Recalled *one)
{
    Py_CLEAR(one->standing);
    Py_CLEAR(one->future);
    Py_CLEAR(one->direction);
    one->inside.number = 0;
}

/* Notes which streams live: `streams`, a list that holds them up to the end of the look, or None. */
void grpc_guard_list_streams(Recollection *self, PyObject *streams);

/* Forgets the streams that were not listed in this look. */
void grpc_guard_unmark(Recollection *self);

/* Notes the operation of ours that a task is inside of, and waits for this future: 1; 0 if its direction shows
 * none; -1: an error is set. */
int grpc_guard_note_inside(Recollection *self, Recalled *known, PyObject *task, PyObject *direction, PyObject *future);

/* Returns the stream that somebody was inside of, if it lives. */
const StreamFields *grpc_guard_stream_of(const Recollection *self, const Inside *inside);

/* Returns a direction of a stream, borrowed; NULL: there is none, or it has to be asked for. */
PyObject *grpc_guard_way_of(const StreamFields *stream, int is_write);

/* Tells whether an operation in C has a direction, and since when is known. */
static inline int
grpc_guard_has_inside(const AioFields *direction)
{
    return direction->inside != NULL && direction->taken && !direction->is_untimed;
}

/* Finds where a task awaits an operation of a stream, if it stands as it did: 1; 0 if that is not known; -1: an error
 * is set. What is found is to be forgotten in each case. */
int grpc_guard_find_line(const Recollection *self, PyObject *task, const StreamFields *stream, PyObject *standing,
                         Awaiting *found);
void grpc_guard_forget_line(Awaiting *found);

/* Notes how tasks stand at such a line, if that is all there is to say of them; -1: an error is set. */
int grpc_guard_learn_line(Recollection *self, const Awaiting *found, PyObject *standing);
void grpc_guard_end_lines(Recollection *self);

/* Tells whether a task that has gone on is inside of another operation of the same stream, of which is known how it
 * is told, and notes which; -1: an error is set. */
int grpc_guard_is_again(Recollection *self, Recalled *one, PyObject *task, PyObject *future);

/* Returns the direction of an operation that goes on still, borrowed; NULL: it does not, or nobody knows. */
PyObject *grpc_guard_goes_on(const Recollection *self, const Inside *inside);

/* Has what it takes to tell that fetched, in two steps. */
void grpc_guard_fetch_inside(const Recollection *self, const Inside *inside, int step);

/* Takes what asyncio knows of its tasks, sets or lists of weak references, for the tasks that are known
 * from here on; -1: an error is set. */
int grpc_guard_meet(Recollection *self, PyObject *tables);

/* Returns what a task waits for, a new reference, or None. */
PyObject *grpc_guard_waiter_of(Recollection *self, PyObject *task);

/* Notes where a task has what it waits for, and its name, if that can be seen; -1: an error is set. */
int grpc_guard_learn_waiter(Recollection *self, PyObject *task, PyObject *future);

enum { TIMES_SEEN = 4 };

/* Returns what a task waits for, or NULL, and its name, without holding or touching them; tells whether that
 * is known. */
static inline int
grpc_guard_sees_waiter(const Recollection *self, PyObject *task, PyObject **future, PyObject **name)
{
    if (self->times_seen < TIMES_SEEN || !Py_IS_TYPE(task, self->task_type)) {
        return 0;
    }
    PyObject **words = (PyObject **)((char *)task + self->waiter_at);
    *future = words[0];
    *name = words[2];
    return 1;
}

/* Looks at so many tasks, from `begin` on; returns those that have not gone on, by their standing. If there is
 * a crowd, it notes those that are in a direction, at the time of the look. */
PyObject *grpc_guard_recalled(Recollection *self, Py_ssize_t begin, Py_ssize_t count, PyObject *fresh,
                              Crowd *crowd, double time);

#endif
