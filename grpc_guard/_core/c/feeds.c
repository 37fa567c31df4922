/* Which RPC a generator feeds, noted: the same as bind() of _guard/generators.py. */

#include "guarded.h"

USUAL int
grpc_guard_bind(State *state, PyObject *iterator, PyObject *stream, PyObject *operation)
{
    Starts *starts = &state->starts;
    if (!PyGen_CheckExact(iterator) && !PyAsyncGen_CheckExact(iterator)) {
        return 0;
    }
    PyObject *generator = PyWeakref_NewRef(iterator, starts->forget);
    PyObject *held = generator == NULL ? NULL : PyWeakref_NewRef(stream, NULL);
    PyObject *known = held == NULL ? NULL : PyDict_SetDefault(starts->feeds, generator, held);
    int failed = known == NULL ? -1 : 0, is_first = known == held;
    Py_XDECREF(generator); /* nobody forgets it twice: only the first one is held by the table */
    Py_XDECREF(held);
    if (known != NULL && !is_first) {
        PyObject *nothing =
            PyObject_CallFunctionObjArgs(starts->bind, iterator, stream, operation, NULL);
        failed = nothing == NULL ? -1 : 0;
        Py_XDECREF(nothing);
    }
    return failed;
}
