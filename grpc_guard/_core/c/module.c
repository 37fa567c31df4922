/* The module of the compiled core: what is in it, and what it was told. */

#include "aio_handlers.h"

static struct PyModuleDef module_definition;

State *
grpc_guard_state_of(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &module_definition);
    if (module == NULL) {
        return NULL;
    }
    State *state = PyModule_GetState(module);
    if (state->switches == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure() of the module comes first");
        return NULL;
    }
    return state;
}

/* Returns the dict whose get() a function is, a new reference; or NULL, without an error. */
static PyObject *
dict_of_get(PyObject *function)
{
    PyObject *dict = PyCFunction_Check(function) ? PyCFunction_GET_SELF(function) : NULL;
    int is_get = dict != NULL && PyDict_CheckExact(dict)
                 && strcmp(((PyCFunctionObject *)function)->m_ml->ml_name, "get") == 0;
    return is_get ? Py_NewRef(dict) : NULL;
}

static PyObject *
configure(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    State *state = PyModule_GetState(module);
    if (count != 6 || !PyDict_Check(args[0]) || !PyDict_Check(args[5])) {
        PyErr_SetString(PyExc_TypeError,
                        "configure() takes a namespace, a mode, three functions, a namespace");
        return NULL;
    }
    SET(state->switches, Py_NewRef(args[0]));
    SET(state->serialize, Py_NewRef(args[1]));
    SET(state->loop_thread_of, Py_NewRef(args[2]));
    SET(state->monotonic, Py_NewRef(args[3]));
    SET(state->current_task, Py_NewRef(args[4]));
    SET(state->tasks_by_loop, dict_of_get(args[4]));
    SET(state->of_entries, Py_NewRef(args[5]));
    Py_RETURN_NONE;
}

static PyObject *
configure_aio(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    State *state = PyModule_GetState(module);
    if (count != 4 || !PyType_Check(args[0]) || !PyType_IsSubtype((PyTypeObject *)args[0], state->aio_fields)) {
        PyErr_SetString(PyExc_TypeError, "configure_aio() takes a class of directions, one of errors, "
                                         "and two functions");
        return NULL;
    }
    SET(state->aio_direction, Py_NewRef(args[0]));
    SET(state->cancelled_error, Py_NewRef(args[1]));
    SET(state->awaiting, Py_NewRef(args[2]));
    SET(state->origin_depth, Py_NewRef(args[3]));
    Py_RETURN_NONE;
}

static PyObject *
tell_of_cancels(PyObject *module, PyObject *function)
{
    State *state = PyModule_GetState(module);
    SET(state->after_cancel, Py_NewRef(function));
    Py_RETURN_NONE;
}

static PyObject *
tell_of_cancelled_handlers(PyObject *module, PyObject *function)
{
    State *state = PyModule_GetState(module);
    SET(state->handler_cancelled, Py_NewRef(function));
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"configure", (PyCFunction)(void (*)(void))configure, METH_FASTCALL,
     "Take the namespace that has the switches, the mode in which all streams are equipped, what "
     "tells the thread of a loop, the time, the running task, and the namespace of entries.py."},
    {"configure_aio", (PyCFunction)(void (*)(void))configure_aio, METH_FASTCALL,
     "Take the class whose directions operations claim, the error that is a cancellation, what awaits "
     "any object, and what tells how far origins are tracked."},
    {"tell_of_cancels", tell_of_cancels, METH_O,
     "Have a function called after each operation that a cancellation ended: with stream, operation, "
     "error, direction and proxy."},
    {"tell_of_cancelled_handlers", tell_of_cancelled_handlers, METH_O,
     "Have a function called after each handler that a cancellation ended: with its stream, or the "
     "name of its RPC, and the error."},
    {NULL},
};

int
grpc_guard_add_type(PyObject *module, PyTypeObject **type, PyType_Spec *spec, PyObject *bases)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, bases);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    grpc_guard_begin_keeping();
#define INTERN(field, text) \
    if ((state->field = PyUnicode_InternFromString(text)) == NULL) { \
        return -1; \
    }
    INTERN(str_created, "created")
    INTERN(str_counting, "counting")
    INTERN(str_watch, "watch")
    INTERN(str_equip, "_equip")
    INTERN(str_thread_id, "_thread_id")
    INTERN(str_is_instrumented, "is_instrumented")
    INTERN(str_loop, "loop")
    INTERN(str_generation, "generation")
    INTERN(str_mode, "mode")
    INTERN(str_wrapped, "__wrapped__")
    INTERN(str_own_loop, "_loop")
    INTERN(str_follows, "_follow_other")
    INTERN(str_callbacks, "callbacks")
    INTERN(str_state, "_state")
    INTERN(str_server_context, "SERVER_CONTEXT")
    INTERN(str_ended, "ended")
    INTERN(str_rpc_ended, "_rpc_ended")
    INTERN(str_watches, "_watch")
    INTERN(str_twins, "_self_twins")
    INTERN(str_make_twin, "_make_twin")
    INTERN(str_recipe, "_self_recipe")
    INTERN(str_prepared, "prepared")
    INTERN(str_self_read, "_self_read")
    INTERN(str_turns, "turns")
    INTERN(str_throw, "throw")
    INTERN(str_close, "close")
    INTERN(str_await, "__await__")
    INTERN(str_code, "__code__")
    INTERN(str_name, "__name__")
    INTERN(str_qualname, "__qualname__")
    INTERN(str_asend, "asend")
    INTERN(str_athrow, "athrow")
    INTERN(str_aclose, "aclose")
    INTERN(str_ag_frame, "ag_frame")
    INTERN(str_yield, "yield")
    INTERN(str_cr_code, "cr_code")
    INTERN(str_cr_frame, "cr_frame")
    INTERN(str_co_filename, "co_filename")
    INTERN(str_co_name, "co_name")
#undef INTERN
    PyObject *checksum = PyLong_FromUnsignedLong(CHECKSUM);
    if (checksum == NULL || PyModule_AddObjectRef(module, "CHECKSUM", checksum) < 0) {
        Py_XDECREF(checksum);
        return -1;
    }
    Py_DECREF(checksum);
    PyObject *of_object = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__dict__");
    if (of_object == NULL) {
        return -1;
    }
    state->become = PyMapping_GetItemString(of_object, "__class__");
    Py_DECREF(of_object);
    if (state->become == NULL) {
        return -1;
    }
    if (grpc_guard_add_streams(module, state) < 0 || grpc_guard_add_directions(module, state) < 0
        || grpc_guard_add_proxies(module, state) < 0 || grpc_guard_add_steps(module, state) < 0
        || grpc_guard_add_entries(module, state) < 0 || grpc_guard_add_in_flight(module, state) < 0
        || grpc_guard_add_flights(module, state) < 0 || grpc_guard_add_starts(module, state) < 0
        || grpc_guard_add_told(module, state) < 0 || grpc_guard_add_guarded(module, state) < 0
        || grpc_guard_add_handling(module, state) < 0
        || grpc_guard_add_specials(module) < 0 || grpc_guard_add_absent(module) < 0
        || grpc_guard_add_new_proxies(module) < 0
        || grpc_guard_add_counting(module, state) < 0
        || grpc_guard_add_recipes(module, state) < 0
        || grpc_guard_add_records(module, state) < 0
        || grpc_guard_add_encoding(module, state) < 0
        || grpc_guard_add_telling(module, state) < 0
        || grpc_guard_add_answering(module, state) < 0
        || grpc_guard_add_crowd(module, state) < 0
        || grpc_guard_add_serving(module, state) < 0
        || grpc_guard_add_handled(module, state) < 0
        || grpc_guard_add_chains(module, state) < 0
        || grpc_guard_add_recall(module, state) < 0
        || grpc_guard_add_listing(module, state) < 0
        || grpc_guard_add_threads(module, state) < 0
        || grpc_guard_add_aio_methods(module, state) < 0
        || grpc_guard_add_aio_operations(module, state) < 0
        || grpc_guard_add_aio_generators(module, state) < 0
        || grpc_guard_add_aio_steps(module, state) < 0
        || grpc_guard_add_aio_handlers(module, state) < 0) {
        return -1;
    }
    return 0;
}

#define EACH_OF_STATE(DO) \
    DO(stream_fields) DO(sync_fields) DO(aio_fields) DO(constructing_type) DO(switches) DO(serialize) DO(become) \
    DO(str_created) DO(str_counting) DO(str_watch) DO(str_equip) DO(str_twins) DO(str_make_twin) DO(str_recipe) \
    DO(recipe) DO(count) DO(maker) DO(encoding) DO(crowd) DO(handled) DO(scratch) DO(copies) \
    DO(str_prepared) DO(str_self_read) DO(str_turns) DO(str_thread_id) DO(str_is_instrumented) DO(str_loop) \
    DO(loop_thread_of) DO(entry) DO(unary_entry) DO(in_flight) DO(monotonic) DO(current_task) DO(tasks_by_loop) \
    DO(task_entry) DO(of_entries) DO(str_server_context) DO(str_follows) DO(str_callbacks) DO(str_state) \
    DO(str_ended) DO(str_rpc_ended) DO(str_watches) DO(unary_start) DO(method) DO(handling) DO(str_generation) \
    DO(str_mode) DO(str_wrapped) DO(str_own_loop) DO(aio_method) DO(aio_operation) DO(aio_run) DO(aio_handler) \
    DO(handler_cancelled) DO(aio_generated) DO(aio_step) DO(str_asend) DO(str_athrow) DO(str_aclose) DO(str_ag_frame) \
    DO(str_yield) DO(aio_direction) DO(cancelled_error) DO(awaiting) DO(origin_depth) DO(after_cancel) DO(str_throw) \
    DO(str_close) DO(str_await) DO(str_code) DO(str_name) DO(str_qualname) DO(str_cr_code) DO(str_cr_frame) \
    DO(str_co_filename) DO(str_co_name)

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
#define VISIT(name) Py_VISIT(state->name);
    EACH_OF_STATE(VISIT)
#undef VISIT
    for (int i = 0; i < MADE_SO; i++) {
        Py_VISIT(state->made_so[i].twin);
    }
    for (int i = 0; i < THREADS; i++) {
        Py_VISIT(state->threads.thread[i]);
    }
    for (int i = 0; i < SPOTS; i++) {
        Py_VISIT(state->chosen.choose[i]);
        Py_VISIT(state->chosen.mode[i]);
    }
    return grpc_guard_visit_kept(&state->kept_runs, visit, arg)
           || grpc_guard_visit_kept(&state->kept_steps, visit, arg)
           || grpc_guard_visit_kept(&state->kept_generated, visit, arg)
           || grpc_guard_starts_traverse(&state->starts, visit, arg)
           || grpc_guard_steps_traverse(&state->steps, visit, arg);
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->is_told = 0;
    grpc_guard_forget_shortcuts(state->aio_handler);
#define CLEAR(name) Py_CLEAR(state->name);
    EACH_OF_STATE(CLEAR)
#undef CLEAR
    for (int i = 0; i < MADE_SO; i++) {
        state->made_so[i].of_class = 0;
        Py_CLEAR(state->made_so[i].twin);
    }
    for (int i = 0; i < THREADS; i++) {
        state->threads.id[i] = 0;
        Py_CLEAR(state->threads.thread[i]);
    }
    for (int i = 0; i < SPOTS; i++) {
        Py_CLEAR(state->chosen.choose[i]);
        Py_CLEAR(state->chosen.mode[i]);
    }
    grpc_guard_free_kept(&state->kept_runs);
    grpc_guard_free_kept(&state->kept_steps);
    grpc_guard_free_kept(&state->kept_generated);
    grpc_guard_steps_clear(&state->steps);
    grpc_guard_starts_clear(&state->starts);
    return 0;
}

static void
module_free(void *module)
{
    State *state = PyModule_GetState(module);
    grpc_guard_leave_list(&state->steps.live);
    module_clear((PyObject *)module);
    PyMem_Free(state->hints);
    state->hints = NULL;
    grpc_guard_end_keeping();
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "grpc_guard._core._compiled",
    .m_doc = "What happens once for each RPC, compiled: the same as fields.py and entries.py.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__compiled(void)
{
    return PyModuleDef_Init(&module_definition);
}
