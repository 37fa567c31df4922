/* The starts of streams in C: what they are told by the layers above, by name, and what they share. */

#ifndef GRPC_GUARD_STARTS_H
#define GRPC_GUARD_STARTS_H

#include <Python.h>

/* configure_starts(): see _lifecycle/starts.py */
#define EACH_TOLD_OF_STARTS(DO) \
    DO(names) DO(note_origin) DO(starting) DO(start_failed) DO(Stream) DO(Origin) DO(kinds) \
    DO(PROGRAM) DO(LOOP) DO(ledger) DO(monotonic) DO(running_loop) DO(asyncio) DO(get_ident) \
    DO(threads_by_ident) DO(name_of_thread) DO(lives) DO(forks)

/* The fields of an Origin, each by its descriptor. */
#define EACH_OF_ORIGIN(DO) \
    DO(kind) DO(name) DO(on_loop) DO(operation) DO(place) DO(since) DO(test_attempt)

#define EACH_NAME_OF_STARTS(DO) \
    DO(start) DO(note_origin) DO(_channel) DO(generation) DO(streams) DO(next_report_at) \
    DO(append) DO(co_filename) DO(test_attempt) DO(current_task) DO(get_name) DO(name) \
    DO(thread) DO(task)

typedef struct {
#define FIELD(name) PyObject *name;
    EACH_TOLD_OF_STARTS(FIELD)
#undef FIELD
#define FIELD(name) PyObject *set_##name;
    EACH_OF_ORIGIN(FIELD)
#undef FIELD
#define FIELD(name) PyObject *str_##name;
    EACH_NAME_OF_STARTS(FIELD)
#undef FIELD
} Starts;

int grpc_guard_starts_traverse(Starts *starts, visitproc visit, void *arg);
void grpc_guard_starts_clear(Starts *starts);

#endif
