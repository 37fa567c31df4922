/* What each file adds to the module: its types and functions; -1 with an exception set. */

#ifndef GRPC_GUARD_TYPES_H
#define GRPC_GUARD_TYPES_H

/* Returns a new type whose objects pass for another's: CPython's own errors call it by its bare name. */
static inline PyTypeObject *
grpc_guard_type_in_disguise(PyObject *module, PyType_Spec *spec)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type != NULL) {
        type->tp_name = strrchr(spec->name, '.') + 1;
    }
    return type;
}

int grpc_guard_add_streams(PyObject *module, State *state);
int grpc_guard_add_directions(PyObject *module, State *state);
int grpc_guard_add_aio_directions(PyObject *module, State *state);
int grpc_guard_add_entries(PyObject *module, State *state);
int grpc_guard_add_in_flight(PyObject *module, State *state);
int grpc_guard_add_starts(PyObject *module, State *state);
int grpc_guard_add_proxies(PyObject *module, State *state);
int grpc_guard_add_counting(PyObject *module, State *state);
int grpc_guard_add_recipes(PyObject *module, State *state);
int grpc_guard_add_aio_methods(PyObject *module, State *state);
int grpc_guard_add_aio_operations(PyObject *module, State *state);
int grpc_guard_add_flights(PyObject *module, State *state);
int grpc_guard_add_aio_generators(PyObject *module, State *state);
int grpc_guard_add_aio_steps(PyObject *module, State *state);
int grpc_guard_add_aio_handlers(PyObject *module, State *state);
int grpc_guard_add_steps(PyObject *module, State *state);
int grpc_guard_add_told(PyObject *module, State *state);
int grpc_guard_add_guarded(PyObject *module, State *state);
int grpc_guard_add_handling(PyObject *module, State *state);
int grpc_guard_add_specials(PyObject *module);
int grpc_guard_add_absent(PyObject *module);
int grpc_guard_add_new_proxies(PyObject *module);
int grpc_guard_add_records(PyObject *module, State *state);
int grpc_guard_add_encoding(PyObject *module, State *state);
int grpc_guard_add_telling(PyObject *module, State *state);
int grpc_guard_add_answering(PyObject *module, State *state);
int grpc_guard_add_chains(PyObject *module, State *state);
int grpc_guard_add_recall(PyObject *module, State *state);
int grpc_guard_add_listing(PyObject *module, State *state);
int grpc_guard_add_copies(PyObject *module, State *state);
int grpc_guard_add_oldest(PyObject *module, State *state);
int grpc_guard_add_scratch(PyObject *module, State *state);
int grpc_guard_add_handled_type(PyObject *module, State *state);
int grpc_guard_add_handled(PyObject *module, State *state);
int grpc_guard_add_serving(PyObject *module, State *state);
int grpc_guard_add_ordering(PyObject *module, State *state);
int grpc_guard_add_crowd(PyObject *module, State *state);
int grpc_guard_add_threads(PyObject *module, State *state);

#endif
