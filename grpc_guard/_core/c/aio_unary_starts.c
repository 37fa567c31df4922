/* A unary RPC of asyncio is started: where all is as it was at the last one, as unary_starts.c does it for the
 * sync api. Else starts.c does it.
 */

#include "unary_starts.h"

#if HAS_LOOP_IN_DICT
#define CLASSES_KNOWN 4

/* What is known of a class of proxies. What is borrowed is held by a class of that version. */
typedef struct {
    unsigned int version, of_wrapped; /* of_wrapped: of the class of what they wrap; 0: not known */
    int wrapped_at, choose_at;        /* in a proxy */
    int loop_at;                      /* among the values of what it wraps */
    unsigned int of_call;             /* the version of a class of calls without interceptors; 0: not known */
    PyObject *function;               /* `__call__` of the class of what they wrap, borrowed */
    PyObject *forks;                  /* the namespace that has generation, borrowed */
    uint64_t no_forks;                /* its version, if that was 0 */
    uint64_t of_loop; /* the version of the dict of the thread on which this loop ran, or */
    PyObject *loop;   /* None; borrowed from that dict */
    PyObject **mode;  /* of the process, where that is written */
    PyObject *off;    /* borrowed; what is there as long as all is as usual */
    PyObject *choose; /* what chooses the modes of proxies, and always another one than off; held */
    UnaryStart *start; /* borrowed */
} Usually;

static Usually usually[CLASSES_KNOWN] __attribute__((aligned(64)));

/* Finds the loop that runs on this thread anew; -1: an error is set. */
static UNUSUAL int
find_loop(Usually *known)
{
    known->of_loop = 0;
    PyObject *loop = grpc_guard_loop_here(known->start->state, known->start->running_loop);
    if (loop == NULL) {
        return -1;
    }
    known->loop = loop;
    known->of_loop = grpc_guard_version_of(PyThreadState_Get()->dict);
    Py_DECREF(loop); /* only compared, as long as that dict has it */
    return 0;
}

/* Tells whether a proxy of a known class starts its RPC as usual; -1: an error is set. */
static inline int
is_as_usual(Usually *known, PyObject *proxy)
{
    PyObject *dict = PyThreadState_Get()->dict;
    if (!USUALLY(dict != NULL)) {
        return 0; /* no loop: and to make the dict may run the collector, and what starts another RPC */
    }
    if (!USUALLY(known->of_loop == grpc_guard_version_of(dict)) && find_loop(known) < 0) {
        return -1;
    }
    PyObject *wrapped = *(PyObject **)((char *)proxy + known->wrapped_at);
    if (!USUALLY(wrapped != NULL && known->of_wrapped == Py_TYPE(wrapped)->tp_version_tag
                 && known->of_loop != 0)) {
        return 0;
    }
    PyObject **values = grpc_guard_values_of(wrapped);
    return values != NULL && values[known->loop_at] == known->loop && *known->mode == known->off
           && *(PyObject **)((char *)proxy + known->choose_at) == known->choose;
}

/* Returns where the objects of a class have a slot that was found in them; 0: it is not known. */
static int
spot_of(const Spots *spots, PyObject *object)
{
    for (int at = 0; at < SPOTS; at++) {
        if (spots->version[at] == Py_TYPE(object)->tp_version_tag) {
            return spots->version[at] == 0 ? 0 : (int)spots->offset[at];
        }
    }
    return 0;
}

/* Returns what chooses the mode of a proxy, a new reference, if that is one mode for good; or NULL. */
static PyObject *
choose_of(State *state, PyObject *proxy, int choose_at)
{
    PyObject *choose = *(PyObject **)((char *)proxy + choose_at);
    for (int at = 0; choose != NULL && at < SPOTS; at++) {
        if (state->chosen.choose[at] == choose) {
            return Py_NewRef(choose);
        }
    }
    return NULL;
}

/* Notes how a proxy has just been found to start its RPC. */
static UNUSUAL void
note(UnaryStart *start, PyObject *proxy, PyObject *wrapped)
{
    State *state = start->state;
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    int mode_at = spot_of(&state->of_mode, start->in_force), choose_at = spot_of(&state->of_choose, proxy);
    if (start->running_loop != state->loop_of_thread || version == 0
        || state->wrapped_at <= 0 || *(PyObject **)((char *)proxy + state->wrapped_at) != wrapped
        || mode_at == 0 || choose_at == 0 || start->of_loop.index < 0
        || start->of_loop.version != Py_TYPE(wrapped)->tp_version_tag) {
        return;
    }
    PyObject *function = _PyType_Lookup(Py_TYPE(wrapped), state->starts.str___call__);
    PyObject *choose = choose_of(state, proxy, choose_at);
    if (function == NULL || !Py_IS_TYPE(function, &PyFunction_Type) || choose == NULL) {
        Py_XDECREF(choose);
        return;
    }
    Usually *known = &usually[version % CLASSES_KNOWN];
    PyObject *before = known->choose;
    *known = (Usually){
        .version = version,
        .of_wrapped = Py_TYPE(wrapped)->tp_version_tag,
        .wrapped_at = (int)state->wrapped_at,
        .choose_at = choose_at,
        .loop_at = (int)start->of_loop.index,
        .function = function,
        .forks = start->forks,
        .no_forks = grpc_guard_version_of(start->forks),
        .mode = (PyObject **)((char *)start->in_force + mode_at),
        .off = start->off,
        .choose = choose,
        .start = start,
    };
    Py_XDECREF(before);
}

/* Looks at a call, whose class is not known; its reference is taken. */
static UNUSUAL PyObject *
look_at_call(UnaryStart *start, PyObject *proxy, PyObject *call)
{
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    Usually *known = &usually[version % CLASSES_KNOWN];
    if (call != NULL && known->version == version && grpc_guard_is_plain_call(start->state, call)) {
        known->of_call = Py_TYPE(call)->tp_version_tag;
    }
    return grpc_guard_look_at_start(start, proxy, call);
}

static const Noting noting = {note, look_at_call};

/* The same, by what the class of a proxy has as `__call__` now. */
static UNUSUAL PyObject *
look_at_strange_call(PyObject *proxy, PyObject *call)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(proxy), "__call__");
    if (method == NULL) {
        Py_CLEAR(call);
    }
    else if (PyVectorcall_Function(method) == grpc_guard_start_vectorcall) {
        call = look_at_call((UnaryStart *)method, proxy, call);
    }
    Py_XDECREF(method);
    return call;
}

USUAL PyObject *
grpc_guard_call_aio_unary(PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    unsigned int version = Py_TYPE(proxy)->tp_version_tag;
    Usually *known = &usually[version % CLASSES_KNOWN];
    int usual = version != 0 && known->version == version
                && known->no_forks == grpc_guard_version_of(known->forks);
    if (USUALLY(usual)) {
        usual = is_as_usual(known, proxy);
    }
    if (!USUALLY(usual > 0)) {
        return usual < 0 ? NULL : grpc_guard_start_noting(proxy, args, kwargs, &noting);
    }
    PyObject *wrapped = Py_NewRef(*(PyObject **)((char *)proxy + known->wrapped_at));
    PyObject *call = grpc_guard_call_wrapped(known->function, known->of_wrapped, wrapped, args, kwargs);
    Py_DECREF(wrapped);
    if (!USUALLY(call != NULL)) {
        grpc_guard_look_at_unary_error(proxy);
    }
    else if (!USUALLY(known->of_call != 0 && known->of_call == Py_TYPE(call)->tp_version_tag)) {
        call = look_at_strange_call(proxy, call);
    }
    return call;
}
#endif
