/* Pieces of the records of streams: see telling.c. */

#include "looks.h"

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

/* Returns the line at a place as a stack. */
static PyObject *
stack_of(Look *look, PyObject *place)
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
    NEXT(stack_of(look, place));
    NEXT(Py_NewRef(names[INSIDE]));
    NEXT(Py_NewRef(Py_None));
    Py_XDECREF(since);
    Py_XDECREF(place);
    return grpc_guard_make_record(look->new_owner, values);
}
