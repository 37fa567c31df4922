/* The starts of streams in C: what the layers above say of themselves, by name. */

#ifndef GRPC_GUARD_STARTS_H
#define GRPC_GUARD_STARTS_H

#include <Python.h>

static inline int
grpc_guard_is_anything(PyObject *object)
{
    return object != NULL;
}

static inline int
grpc_guard_is_field(PyObject *object) /* a descriptor of a class, that can assign to the field */
{
    return Py_TYPE(object)->tp_descr_set != NULL;
}

#define TOLD_ANY grpc_guard_is_anything
#define TOLD_FIELD grpc_guard_is_field

/* Every name, and what is of that kind. Who tells: */
#define EACH_TOLD(DO) \
    /* _lifecycle/starts.py */ \
    DO(names, PyDict_Check) DO(note_origin, TOLD_ANY) DO(starting, TOLD_ANY) \
    DO(start_failed, TOLD_ANY) DO(Stream, PyType_Check) DO(Origin, PyType_Check) \
    DO(kinds, PyDict_Check) DO(PROGRAM, TOLD_ANY) DO(LOOP, TOLD_ANY) DO(ledger, TOLD_ANY) \
    DO(monotonic, TOLD_ANY) DO(running_loop, TOLD_ANY) DO(current_task, TOLD_ANY) \
    DO(get_ident, TOLD_ANY) DO(threads_by_ident, PyDict_Check) DO(name_of_thread, TOLD_ANY) DO(name_of_threads, TOLD_ANY) \
    DO(name_in_task, TOLD_ANY) \
    DO(lives, PyDict_Check) DO(forks, TOLD_ANY) DO(in_force, TOLD_ANY) DO(OFF, TOLD_ANY) \
    DO(CLIENT, TOLD_ANY) DO(SERVER, TOLD_ANY) DO(SYNC, TOLD_ANY) DO(set_kind, TOLD_FIELD) DO(set_name, TOLD_FIELD) \
    DO(set_on_loop, TOLD_FIELD) DO(set_operation, TOLD_FIELD) DO(set_place, TOLD_FIELD) \
    DO(set_since, TOLD_FIELD) DO(set_test_attempt, TOLD_FIELD) \
    /* _guard/generators.py */ \
    DO(feeds, PyDict_Check) DO(forget, TOLD_ANY) DO(bind, TOLD_ANY) \
    /* _proxies/proxy.py */ \
    DO(wrapped, TOLD_FIELD) DO(stream, TOLD_FIELD) DO(next, TOLD_FIELD) \
    /* _proxies/sync/channel.py */ \
    DO(sends, TOLD_ANY) DO(request_twins, PyDict_Check) DO(ClientRequests, PyType_Check) \
    DO(guard_requests, TOLD_ANY) DO(callbacks_running, PyDict_Check) DO(usual_call, TOLD_ANY) \
    DO(call_twins, PyDict_Check) DO(Responses, PyType_Check) DO(call_has_ended, TOLD_ANY) \
    DO(guard_call, TOLD_ANY) DO(failed_to_start, TOLD_ANY) DO(handed, PyContextVar_CheckExact) \
    DO(join, TOLD_ANY) \
    /* _proxies/multicallables.py */ \
    DO(fixed_mode, TOLD_ANY) \
    /* _proxies/sync/handlers.py */ \
    DO(received_twins, PyDict_Check) \
    DO(Requests, PyType_Check) DO(RequestIterator, TOLD_ANY) DO(context_twins, PyDict_Check) \
    DO(Context, TOLD_ANY) DO(context_has_ended, TOLD_ANY) DO(response_twins, PyDict_Check) \
    DO(HandlerResponses, PyType_Check) DO(respond, TOLD_ANY) DO(returns, TOLD_ANY) \
    /* _proxies/aio/channel.py */ \
    DO(AIO, TOLD_ANY) DO(StreamProxy, PyType_Check) DO(guard_started, TOLD_ANY) \
    DO(plain_aio_calls, PyTuple_Check) \
    DO(ReadingCall, PyType_Check) DO(DuplexCall, PyType_Check) DO(WritingCall, PyType_Check) \
    /* _proxies/aio/calls.py, given.py, handlers.py */ \
    DO(report_conflict, TOLD_ANY) DO(is_taken_at_yield, TOLD_ANY) \
    DO(Messages, PyType_Check) DO(messages_of_call, TOLD_FIELD) DO(messages_of_requests, TOLD_FIELD)

#define EACH_NAME_OF_STARTS(DO) \
    DO(start) DO(note_origin) DO(_channel) DO(generation) DO(streams) DO(next_report_at) \
    DO(append) DO(popleft) DO(request_iterator) DO(co_filename) DO(test_attempt) DO(get_name) DO(name) DO(_name) \
    DO(thread) DO(task) DO(mode) DO(_self_choose) DO(_self_rpc) DO(on_loop) DO(__call__) DO(ended) \
    DO(_interceptors_task) DO(__aiter__) DO(_self_stream) DO(_self_write) \
    DO(service) DO(method) DO(_self_key) DO(_grpc_guard) DO(_guarded)

typedef struct {
#define FIELD(name, is_right) PyObject *name;
    EACH_TOLD(FIELD)
#undef FIELD
#define FIELD(name) PyObject *str_##name;
    EACH_NAME_OF_STARTS(FIELD)
#undef FIELD
} Starts;

int grpc_guard_starts_traverse(Starts *starts, visitproc visit, void *arg);
void grpc_guard_starts_clear(Starts *starts);

#endif
