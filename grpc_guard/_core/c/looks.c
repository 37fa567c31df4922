/* Pieces of the records of streams: see telling.c. */

#include "crowds.h"

static const char *const names[NAMES] = {
    "since", "place", "kind", "name", "operation", "held_seconds", "inside",
};

int
grpc_guard_take_names(Look *look)
{
    for (int i = 0; i < NAMES; i++) {
        if ((look->names[i] = PyUnicode_InternFromString(names[i])) == NULL) {
            return -1;
        }
    }
    return 0;
}

int
grpc_guard_take_look(State *state, Look *look, PyObject *said)
{
    PyTypeObject *maker = state->maker;
    if (!PyArg_ParseTuple(
            said, "OOOOO!O!O!O!O!O!O!O!O!OOUUUddppOOUUd:a look", &look->one, &look->direction_of,
            &look->stack_at, &look->text, maker, &look->new_stream, maker, &look->new_direction,
            maker, &look->new_owner, state->handled, &look->begun, &PyDict_Type, &look->others,
            &PyDict_Type, &look->owners, state->crowd,
            &look->crowd, &PyDict_Type, &look->channels, &PyType_Type, &look->plain,
            &look->server, &look->read, &look->states[0], &look->states[1], &look->states[2],
            &look->present, &look->time, &look->is_waited, &look->is_sending,
            &look->has_ended, &look->done_of_calls, &look->str_core_call, &look->str_done,
            &look->moment)) {
        return -1;
    }
    if (Py_SIZE(look->new_stream) != 11 || Py_SIZE(look->new_direction) != 7
        || Py_SIZE(look->new_owner) != 7
        || !PyType_IsSubtype((PyTypeObject *)look->plain, state->aio_fields)) {
        PyErr_SetString(PyExc_TypeError, "a look is what Teller has");
        return -1;
    }
    return grpc_guard_take_names(look);
}

void
grpc_guard_forget_look(Look *look)
{
    for (int i = 0; i < NAMES; i++) {
        Py_CLEAR(look->names[i]);
    }
    for (int i = 0; i < TEXTS; i++) {
        Py_CLEAR(look->met[i]);
        Py_CLEAR(look->texts[i]);
    }
    Py_CLEAR(look->place);
    Py_CLEAR(look->stack);
    Py_CLEAR(look->started);
}

int
grpc_guard_by_identity(PyObject *table, PyObject *object, PyObject **found)
{
    PyObject *key = PyLong_FromVoidPtr(object);
    *found = key == NULL ? NULL : PyDict_GetItemWithError(table, key);
    Py_XINCREF(*found);
    Py_XDECREF(key);
    return *found != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

PyObject *
grpc_guard_text_of(Look *look, PyObject *named)
{
    int at = 0;
    while (at < look->known && look->met[at] != named) {
        at++;
    }
    if (at == look->known) {
        PyObject *text = PyObject_CallOneArg(look->text, named);
        if (text == NULL) {
            return NULL;
        }
        at = at < TEXTS ? at : TEXTS - 1;
        SET(look->met[at], Py_NewRef(named));
        SET(look->texts[at], text);
        look->known = at + 1;
    }
    return Py_NewRef(look->texts[at]);
}

PyObject *
grpc_guard_seconds_since(Look *look, double began)
{
    return PyFloat_FromDouble(began < look->present ? look->present - began : 0.0);
}

PyObject *
grpc_guard_stack_of(Look *look, PyObject *place)
{
    if (place == Py_None) {
        return PyTuple_New(0);
    }
    int is_same = 0;
    if (look->place != NULL) {
        PyObject **met = &PyTuple_GET_ITEM(look->place, 0);
        is_same = PyTuple_CheckExact(place) && PyTuple_GET_SIZE(place) == 2
                  && PyTuple_GET_ITEM(place, 0) == met[0]
                  && PyObject_RichCompareBool(PyTuple_GET_ITEM(place, 1), met[1], Py_EQ) > 0;
    }
    if (!is_same) {
        PyObject *stack = PyObject_CallOneArg(look->stack_at, place);
        if (stack == NULL) {
            return NULL;
        }
        SET(look->place, Py_NewRef(place));
        SET(look->stack, stack);
    }
    return Py_NewRef(look->stack);
}

PyObject *
grpc_guard_starter(Look *look, PyObject *origin)
{
    if (origin == Py_None) {
        Py_RETURN_NONE;
    }
    PyObject *values[7] = {NULL}, **names = look->names;
    PyObject *since = PyObject_GetAttr(origin, names[SINCE]);
    PyObject *place = since == NULL ? NULL : PyObject_GetAttr(origin, names[PLACE]);
    double began = place == NULL ? -1.0 : PyFloat_AsDouble(since);
    int count = 0, is_whole = place != NULL && !(began == -1.0 && PyErr_Occurred());
    NEXT(PyObject_GetAttr(origin, names[KIND]));
    NEXT(PyObject_GetAttr(origin, names[NAME]));
    NEXT(PyObject_GetAttr(origin, names[OPERATION]));
    NEXT(grpc_guard_seconds_since(look, began));
    NEXT(grpc_guard_stack_of(look, place));
    NEXT(Py_NewRef(names[INSIDE]));
    NEXT(Py_NewRef(Py_None));
    Py_XDECREF(since);
    Py_XDECREF(place);
    return grpc_guard_make_record(look->new_owner, values);
}

/* Notes where origins of the class of this one have what is asked of them; -1: an error is set. */
static int
learn_origins(Look *look, PyObject *origin)
{
    PyTypeObject *type = Py_TYPE(origin);
    for (int i = 0; i < HELD; i++) {
        look->at[i] = grpc_guard_offset_of(type, look->names[i]);
        if (look->at[i] < 0) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)
                && !PyErr_ExceptionMatches(PyExc_TypeError)) {
                return -1;
            }
            PyErr_Clear();
            look->at[0] = -1;
            break;
        }
    }
    SET(look->started, (PyTypeObject *)Py_NewRef((PyObject *)type));
    return 0;
}

int
grpc_guard_started(Look *look, PyObject *origin, Started *started)
{
    if (!Py_IS_TYPE(origin, look->started) && learn_origins(look, origin) < 0) {
        return -1;
    }
    PyObject *found[HELD];
    int is_whole = look->at[0] >= 0;
    for (int i = 0; is_whole && i < HELD; i++) {
        found[i] = OF(origin, look->at[i]);
        is_whole = found[i] != NULL;
    }
    if (!is_whole || !PyFloat_CheckExact(found[SINCE])) {
        return 0;
    }
    *started = (Started){
        .since = PyFloat_AS_DOUBLE(found[SINCE]),
        .place = found[PLACE],
        .kind = found[KIND],
        .name = found[NAME],
        .operation = found[OPERATION],
    };
    return 1;
}
