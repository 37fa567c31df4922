/* The start of a healthy unary RPC: what the method of a multi-callable does, with no frame.
 *
 * A method descriptor, as a function is. All that is not usual, and whatever the program asks of
 * the method itself, is left to the method in Python that it stands for.
 */

#include "unary_starts.h"

#define EACH_OF_START(DO) \
    DO(method) DO(forks) DO(in_force) DO(off) DO(running_loop) DO(refusals) DO(refused) DO(late) \
    DO(refused_late)

/* Tells whether a mode is the one in which nothing is guarded; -1: an error is set. */
static int
is_off(UnaryStart *self, PyObject *mode)
{
    int off = mode == NULL ? -1 : mode == self->off;
    Py_XDECREF(mode);
    return off;
}

USUAL int
grpc_guard_is_on_loop(State *state, PyObject *running_loop, PyObject *multi_callable, Own *known,
                      PyObject **loop)
{
    PyObject *own = grpc_guard_own(known, multi_callable, state->str_own_loop);
    if (own == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    PyObject *running = grpc_guard_loop_here(state, running_loop);
    Py_XDECREF(running); /* only compared */
    if (running == own && own != Py_None) {
        *loop = own;
        return 1;
    }
    Py_DECREF(own);
    return running == NULL ? -1 : 0;
}

int
grpc_guard_starts_as_usual(UnaryStart *self, PyObject *proxy, PyObject *wrapped)
{
    State *state = self->state;
    PyObject *generation = grpc_guard_look_up(&state->of_generation, self->forks, state->str_generation);
    int forked = generation == NULL ? -1 : PyObject_IsTrue(generation);
    if (forked != 0) {
        return forked < 0 && PyErr_Occurred() ? -1 : 0;
    }
    if (self->in_force == Py_None) { /* sync: no loop is blocked */
        PyObject *running = grpc_guard_loop_here(state, self->running_loop);
        Py_XDECREF(running);
        return running == NULL ? -1 : running == Py_None;
    }
    PyObject *loop;
    int usual = grpc_guard_is_on_loop(state, self->running_loop, wrapped, &self->of_loop, &loop);
    if (usual > 0) {
        Py_DECREF(loop);
        usual = is_off(self, grpc_guard_in_slot(&state->of_mode, self->in_force, state->str_mode));
    }
    if (usual > 0) {
        int off = is_off(self, grpc_guard_chosen_mode(state, proxy));
        usual = off < 0 ? -1 : !off;
    }
    return usual;
}

void
grpc_guard_look_at_refusal(UnaryStart *self, PyObject *proxy)
{
    if (!PyErr_ExceptionMatches(self->refusals)) {
        return;
    }
    PyObject *error = take_exception();
    PyObject *nothing =
        error == NULL ? NULL : PyObject_CallFunctionObjArgs(self->refused, proxy, error, NULL);
    if (nothing == NULL) {
        Py_XDECREF(error);
        return;
    }
    Py_DECREF(nothing);
    set_exception(error);
}

PyObject *
grpc_guard_look_at_start(UnaryStart *self, PyObject *proxy, PyObject *call)
{
    if (call == NULL) {
        grpc_guard_look_at_refusal(self, proxy);
    }
    else if (self->late != Py_None) {
        int is_late = grpc_guard_has_interceptors(self->state, call, self->late);
        PyObject *nothing = is_late <= 0 ? NULL
                            : PyObject_CallFunctionObjArgs(self->refused_late, proxy, call, NULL);
        if (is_late != 0 && nothing == NULL) {
            Py_CLEAR(call);
        }
        Py_XDECREF(nothing);
    }
    return call;
}

PyObject *
grpc_guard_start_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *names)
{
    UnaryStart *self = (UnaryStart *)callable;
    Py_ssize_t count = PyVectorcall_NARGS(flagged);
    if (count < 1) {
        return PyObject_Vectorcall(self->method, args, (size_t)count, names);
    }
    PyObject *wrapped = PyObject_GetAttr(args[0], self->state->str_wrapped);
    int usual = wrapped == NULL ? -1 : grpc_guard_starts_as_usual(self, args[0], wrapped);
    if (usual <= 0) {
        Py_XDECREF(wrapped);
        return usual < 0 ? NULL
                         : PyObject_Vectorcall(self->method, args, (size_t)count, names);
    }
    PyObject *call = PyObject_Vectorcall(wrapped, args + 1, (size_t)(count - 1), names);
    Py_DECREF(wrapped);
    return grpc_guard_look_at_start(self, args[0], call);
}

/* Starts an RPC; `noting` may be NULL. */
static PyObject *
start(UnaryStart *self, PyObject *proxy, PyObject *args, PyObject *kwargs, const Noting *noting)
{
    PyObject *wrapped = grpc_guard_wrapped(self->state, proxy);
    int usual = wrapped == NULL ? -1 : grpc_guard_starts_as_usual(self, proxy, wrapped);
    if (usual <= 0) {
        Py_XDECREF(wrapped);
        return usual < 0 ? NULL : grpc_guard_call_with(self->method, proxy, args, kwargs);
    }
    if (noting != NULL) {
        noting->note(self, proxy, wrapped);
    }
    PyObject *call = PyObject_Call(wrapped, args, kwargs);
    Py_DECREF(wrapped);
    return noting != NULL ? noting->look(self, proxy, call) : grpc_guard_look_at_start(self, proxy, call);
}

PyObject *
grpc_guard_start_unary(PyObject *method, PyObject *proxy, PyObject *args, PyObject *kwargs)
{
    return start((UnaryStart *)method, proxy, args, kwargs, NULL);
}

PyObject *
grpc_guard_start_noting(PyObject *proxy, PyObject *args, PyObject *kwargs, const Noting *noting)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(proxy), "__call__");
    if (method == NULL) {
        return NULL;
    }
    PyObject *call = PyVectorcall_Function(method) == grpc_guard_start_vectorcall
                         ? start((UnaryStart *)method, proxy, args, kwargs, noting)
                         : grpc_guard_call_with(method, proxy, args, kwargs);
    Py_DECREF(method);
    return call;
}

static PyObject *
start_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *method, *forks, *in_force, *off, *running_loop, *refusals, *refused, *late,
        *refused_late;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "UnaryStart() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OO!OOOOOOO:UnaryStart", &method, &PyDict_Type, &forks, &in_force,
                          &off, &running_loop, &refusals, &refused, &late, &refused_late)) {
        return NULL;
    }
    UnaryStart *self = (UnaryStart *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = grpc_guard_start_vectorcall;
    self->module = Py_NewRef(PyType_GetModule(type));
    self->state = PyModule_GetState(self->module);
#define TAKE(name) self->name = Py_NewRef(name);
    EACH_OF_START(TAKE)
#undef TAKE
    return (PyObject *)self;
}

static int
start_traverse(UnaryStart *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
#define VISIT(name) Py_VISIT(self->name);
    EACH_OF_START(VISIT)
    VISIT(module)
#undef VISIT
    return 0;
}

/* No tp_clear: what a class of proxies needs in order to be called is there as long as the class is. */

static void
start_dealloc(UnaryStart *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
#define CLEAR(name) Py_CLEAR(self->name);
    EACH_OF_START(CLEAR)
    CLEAR(module)
#undef CLEAR
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
start_get(PyObject *self, PyObject *proxy, PyObject *owner)
{
    return proxy == NULL || proxy == Py_None ? Py_NewRef(self) : PyMethod_New(self, proxy);
}

/* Its name, text, signature and code are those of the method. */
static PyObject *
start_getattro(PyObject *self, PyObject *name)
{
    return PyObject_GetAttr(((UnaryStart *)self)->method, name);
}

static PyMemberDef start_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(UnaryStart, vectorcall), READONLY, NULL},
    {NULL},
};

static PyType_Slot start_slots[] = {
    {Py_tp_doc, "The start of a unary RPC: see _proxies/unary.py."},
    {Py_tp_new, start_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, start_get},
    {Py_tp_getattro, start_getattro},
    {Py_tp_traverse, start_traverse},
    {Py_tp_dealloc, start_dealloc},
    {Py_tp_members, start_members},
    {0, NULL},
};

static PyType_Spec start_spec = {
    .name = "grpc_guard._core._compiled.UnaryStart",
    .basicsize = sizeof(UnaryStart),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .slots = start_slots,
};

int
grpc_guard_add_starts(PyObject *module, State *state)
{
    return grpc_guard_add_type(module, &state->unary_start, &start_spec, NULL);
}
