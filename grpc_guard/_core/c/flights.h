/* What the tasks of a server handle: a part of what runs the handler. See flights.c. */

#ifndef GRPC_GUARD_FLIGHTS_H
#define GRPC_GUARD_FLIGHTS_H

#include "core.h"

/* One handler in flight. It is in the list of its server from its begin to its end, and not moved. */
typedef struct {
    Links links;       /* next is NULL: it is in none */
    PyObject *running; /* the task, until it first waits: up to there it runs */
    PyObject *task;    /* from then on, a weak reference to it */
    PyObject *what;    /* a stream, or the name of a unary RPC; borrowed from what it is part of */
    double since;
} Flight;

/* Returns the running task of a loop, a new reference, or None; NULL with an exception set. */
PyObject *grpc_guard_task_of(State *state, PyObject *loop);

/* Notes that the running task of a loop handles something from now on, if one runs; -1 with an exception
 * set. `in_flight` has the records of the server. When the handler waits, it is to be told before anything
 * else runs: -1 with an exception set, and then it has ended. */
int grpc_guard_begin_flight(State *state, PyObject *in_flight, Flight *flight, PyObject *what,
                            PyObject *loop);
int grpc_guard_flight_waits(Flight *flight);

static inline void
grpc_guard_leave_flights(Links *links)
{
    links->next->previous = links->previous;
    links->previous->next = links->next;
    links->next = NULL;
}

/* Puts a flight, of a task whose reference is taken, last in a list. */
static inline void
grpc_guard_join_flights(Links *flights, Flight *flight, PyObject *task, PyObject *what)
{
    flight->running = task;
    flight->what = what;
    flight->links = (Links){flights, flights->previous};
    flights->previous->next = &flight->links;
    flights->previous = &flight->links;
}

static inline void
grpc_guard_end_flight(Flight *flight)
{
    if (flight->links.next != NULL) {
        grpc_guard_leave_flights(&flight->links);
    }
    Py_CLEAR(flight->running);
    Py_CLEAR(flight->task);
}

/* A list of flights: makes an empty one, and has those in it be in none. */
void grpc_guard_forget_flights(Links *flights);

/* What is known of a flight, held: the list changes while objects are made. */
typedef struct {
    PyObject *task, *what; /* the task, if it is running, or a weak reference to it */
    double since;
    int is_running;
} InFlightNow;

/* Returns those in a list, `count` of them; NULL: an error is set. And lets go of them. */
InFlightNow *grpc_guard_in_flight_now(Links *flights, Py_ssize_t *count);
void grpc_guard_forget_flown(InFlightNow *all, Py_ssize_t count);

/* Where flights were when somebody went through a list of them last. Nothing is there any more, perhaps: it is
 * fetched, and not looked at. */
typedef struct {
    const void *flight, *task, *what;
} Hint;

typedef struct Hints {
    Py_ssize_t count, room;
    Hint all[1];
} Hints;

/* Has what is needed of the flights after the one with this number fetched, and notes where that one is. */
void grpc_guard_hint(State *state, Py_ssize_t number, const Flight *flight);

/* Returns their entries, in a new list. */
PyObject *grpc_guard_entries_of_tasks(State *state, Links *flights);

/* Returns a new entry that has begun, or None where no task runs. */
PyObject *grpc_guard_enter_task(State *state, PyObject *in_flight, PyObject *what, PyObject *loop);

/* Returns the list of the records of a server; NULL with an exception set. */
Links *grpc_guard_flights_of(PyObject *in_flight);

#endif
