/* A unary RPC of the sync api is started: where all is as it was at the last one, with a look at few lines
 * of memory, and by the function that type() would have found. Else starts.c does it.
 */

#include "guarded.h"
#include "layouts.h"
#include "unary_starts.h"

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

/* CPython 3.13 keeps the loop of a thread elsewhere. */
#define HAS_LOOP_IN_DICT (HAS_VERSIONS && PY_VERSION_HEX < 0x030D0000)

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
    if (!HAS_LOOP_IN_DICT || start->running_loop != state->loop_of_thread || version == 0
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

/* Calls what a proxy wraps. */
static inline PyObject *
call_wrapped(const Usually *known, PyObject *wrapped, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(args) + 1;
    if (!USUALLY(known->of_wrapped != 0 && known->of_wrapped == Py_TYPE(wrapped)->tp_version_tag
                 && count <= FEW)) {
        return PyObject_Call(wrapped, args, kwargs);
    }
    PyObject *few[FEW], *function = Py_NewRef(known->function);
    few[0] = wrapped;
    for (Py_ssize_t i = 1; i < count; i++) {
        few[i] = PyTuple_GET_ITEM(args, i - 1); /* the tuple holds them */
    }
    PyObject *result = kwargs == NULL ? ((PyFunctionObject *)function)->vectorcall(function, few, (size_t)count, NULL)
                                      : PyObject_VectorcallDict(function, few, (size_t)count, kwargs);
    Py_DECREF(function);
    return result;
}

/* Has an error that is set looked at; it stays set. */
static UNUSUAL void
look_at_error(PyObject *proxy)
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

/* The same as grpc_guard_start_unary(); it is noted what was usual. */
static UNUSUAL PyObject *
start_unary(PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(proxy), "__call__");
    if (method == NULL) {
        return NULL;
    }
    if (PyVectorcall_Function(method) != grpc_guard_start_vectorcall) {
        PyObject *result = grpc_guard_call_with(method, proxy, args, kwargs);
        Py_DECREF(method);
        return result;
    }
    UnaryStart *start = (UnaryStart *)method;
    PyObject *wrapped = grpc_guard_wrapped(start->state, proxy), *call = NULL;
    int usual = wrapped == NULL ? -1 : grpc_guard_starts_as_usual(start, proxy, wrapped);
    if (usual == 0) {
        call = grpc_guard_call_with(start->method, proxy, args, kwargs);
    }
    else if (usual > 0) {
        note(start, proxy, wrapped);
        call = PyObject_Call(wrapped, args, kwargs);
        if (call == NULL) {
            grpc_guard_look_at_refusal(start, proxy);
        }
    }
    Py_XDECREF(wrapped);
    Py_DECREF(method);
    return call;
}

PyObject *
grpc_guard_call_unary(PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    const Usually *known = &usually[version % CLASSES_KNOWN];
    if (!USUALLY(version != 0 && known->version == version
                 && known->no_forks == grpc_guard_version_of(known->forks) && is_off_loop(known))) {
        return start_unary(proxy, args, kwargs);
    }
    PyObject *wrapped = *(PyObject **)((char *)proxy + known->wrapped_at);
    if (!USUALLY(wrapped != NULL)) {
        return start_unary(proxy, args, kwargs);
    }
    Py_INCREF(wrapped);
    PyObject *call = call_wrapped(known, wrapped, args, kwargs);
    Py_DECREF(wrapped);
    if (!USUALLY(call != NULL)) {
        look_at_error(proxy);
    }
    return call;
}
