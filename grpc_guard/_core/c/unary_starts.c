/* A unary RPC of the sync api is started: where all is as it was at the last one, with a look at few lines
 * of memory, and by the function that type() would have found. Else starts.c does it.
 */

#include "unary_starts.h"

#if HAS_LOOP_IN_DICT
#define THREADS_KNOWN 3
#define CLASSES_KNOWN 4

/* What is known of a class of proxies, in one line of memory. What is borrowed is held by a class of that
 * version. */
typedef struct {
    unsigned int version, of_wrapped; /* of_wrapped: of the class of what they wrap; 0: not known */
    Py_ssize_t wrapped_at;
    PyObject *function; /* `__call__` of that class, borrowed */
    PyObject *forks;    /* the namespace that has generation, borrowed */
    uint64_t no_forks;  /* its version, if that was 0 */
    uint64_t no_loop[THREADS_KNOWN]; /* the versions of the dicts of threads on which no loop ran */
} Usually;

static Usually usually[CLASSES_KNOWN] __attribute__((aligned(64)));

/* Tells whether it is known that no loop runs on this thread. */
static inline int
is_off_loop(const Usually *known)
{
    PyObject *dict = PyThreadState_Get()->dict;
    if (dict == NULL) {
        return 1;
    }
    uint64_t version = grpc_guard_version_of(dict);
    for (int i = 0; i < THREADS_KNOWN; i++) {
        if (known->no_loop[i] == version) {
            return version != 0;
        }
    }
    return 0;
}

static void
note_no_loop(Usually *known)
{
    PyObject *dict = PyThreadState_Get()->dict;
    if (dict != NULL && !is_off_loop(known)) {
        memmove(known->no_loop + 1, known->no_loop, sizeof(known->no_loop) - sizeof(known->no_loop[0]));
        known->no_loop[0] = grpc_guard_version_of(dict);
    }
}

/* Notes how a proxy has just been found to start its RPC. */
static UNUSUAL void
note(UnaryStart *start, PyObject *proxy, PyObject *wrapped)
{
    State *state = start->state;
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    Usually *known = &usually[version % CLASSES_KNOWN];
    if (start->running_loop != state->loop_of_thread || version == 0
        || state->wrapped_at <= 0 || *(PyObject **)((char *)proxy + state->wrapped_at) != wrapped) {
        return;
    }
    if (known->version != version) {
        *known = (Usually){.version = version, .wrapped_at = state->wrapped_at, .forks = start->forks};
    }
    known->no_forks = grpc_guard_version_of(start->forks);
    PyObject *function = _PyType_Lookup(Py_TYPE(wrapped), state->starts.str___call__);
    known->of_wrapped = 0;
    if (function != NULL && Py_IS_TYPE(function, &PyFunction_Type)) {
        known->function = function;
        known->of_wrapped = Py_TYPE(wrapped)->tp_version_tag;
    }
    note_no_loop(known);
}

UNUSUAL void
grpc_guard_look_at_unary_error(PyObject *proxy)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *start = PyObject_GetAttrString((PyObject *)Py_TYPE(proxy), "__call__");
    PyErr_Restore(type, value, trace); /* in place of what that may have set */
    if (start != NULL && PyVectorcall_Function(start) == grpc_guard_start_vectorcall) {
        grpc_guard_look_at_refusal((UnaryStart *)start, proxy);
    }
    Py_XDECREF(start);
}

static const Noting noting = {note, grpc_guard_look_at_start};

USUAL PyObject *
grpc_guard_call_unary(PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    const Usually *known = &usually[version % CLASSES_KNOWN];
    if (!USUALLY(version != 0 && known->version == version
                 && known->no_forks == grpc_guard_version_of(known->forks) && is_off_loop(known))) {
        return grpc_guard_start_noting(proxy, args, kwargs, &noting);
    }
    PyObject *wrapped = *(PyObject **)((char *)proxy + known->wrapped_at);
    if (!USUALLY(wrapped != NULL)) {
        return grpc_guard_start_noting(proxy, args, kwargs, &noting);
    }
    Py_INCREF(wrapped);
    PyObject *call = grpc_guard_call_wrapped(known->function, known->of_wrapped, wrapped, args, kwargs);
    Py_DECREF(wrapped);
    if (!USUALLY(call != NULL)) {
        grpc_guard_look_at_unary_error(proxy);
    }
    return call;
}
#endif
