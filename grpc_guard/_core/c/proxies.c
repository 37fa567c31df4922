/* ConstructingType of fields.py: the type of the classes of proxies, as far as it makes proxies. */

#include "recipes.h"

/* Returns the class that belongs to what a proxy of a class wraps. */
static PyObject *
twin_of(State *state, PyTypeObject *cls, PyTypeObject *plain)
{
    Py_INCREF(plain); /* what is wrapped may get another class meanwhile */
    PyObject *twins = PyObject_GetAttr((PyObject *)cls, state->str_twins);
    PyObject *key = twins == NULL ? NULL : PyLong_FromVoidPtr(plain);
    PyObject *twin = key == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(twins, key));
    if (twin == NULL && !PyErr_Occurred()) {
        twin = PyObject_CallMethodOneArg((PyObject *)cls, state->str_make_twin, (PyObject *)plain);
    }
    Py_XDECREF(key);
    Py_XDECREF(twins);
    Py_DECREF(plain);
    return twin;
}

/* Gives a proxy its class; takes the reference to it by an error. */
static PyObject *
become(State *state, PyTypeObject *cls, PyObject *proxy, PyTypeObject *plain)
{
    PyObject *twin = proxy == NULL ? NULL : twin_of(state, cls, plain);
    if (twin == NULL || grpc_guard_set(state->become, proxy, twin) < 0) {
        Py_CLEAR(proxy);
    }
    Py_XDECREF(twin);
    return proxy;
}

/* Returns where it is noted how proxies of a class are made around objects of a type: in one of two places. */
static inline MadeSo *
place_of(State *state, unsigned int of_class, unsigned int of_type, unsigned int which)
{
    return &state->made_so[((of_class + 5 * of_type) ^ which) % MADE_SO];
}

/* Notes how a proxy was made, unless a class has no version now. */
static void
note_made(State *state, PyTypeObject *cls, PyTypeObject *plain, PyObject *recipe, PyObject *twin)
{
    PyObject *reference = PyWeakref_NewRef(twin, NULL);
    if (reference == NULL) {
        PyErr_Clear(); /* it is found again */
        return;
    }
    unsigned int of_class = plain->tp_version_tag == 0 ? 0 : cls->tp_version_tag, of_type = plain->tp_version_tag;
    MadeSo *made = place_of(state, of_class, of_type, 0);
    if (made->of_class != 0) {
        made = place_of(state, of_class, of_type, 1);
    }
    made->of_class = of_class;
    made->of_type = of_type;
    made->recipe = recipe;
    SET(made->twin, reference);
}

/* Finds the recipe of a class, and the class of a proxy around `plain`: 1, new references; 0 if there is
 * no recipe for these; -1: an error is set. */
static int
find_recipe(State *state, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
            PyObject **recipe, PyObject **twin)
{
    *recipe = PyObject_GetAttr((PyObject *)cls, state->str_recipe);
    if (*recipe == NULL) {
        return -1;
    }
    if (Py_TYPE(*recipe) != state->recipe || !grpc_guard_fits(state, (Recipe *)*recipe, args, count)) {
        Py_DECREF(*recipe);
        return 0;
    }
    *twin = twin_of(state, cls, Py_TYPE(args[0]));
    if (*twin == NULL) {
        Py_DECREF(*recipe);
        return -1;
    }
    return 1;
}

/* Finds the same where it was noted: 1, or 0. */
static int
find_made(State *state, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count,
          PyObject **recipe, PyObject **twin)
{
    unsigned int of_class = cls->tp_version_tag, of_type = Py_TYPE(args[0])->tp_version_tag;
    for (unsigned int which = 0; of_class != 0 && which < 2; which++) {
        MadeSo *made = place_of(state, of_class, of_type, which);
        if (USUALLY(made->of_class == of_class && made->of_type == of_type
                    && grpc_guard_fits(state, (Recipe *)made->recipe, args, count))) {
#if PY_VERSION_HEX >= 0x030D0000
            if (PyWeakref_GetRef(made->twin, twin) <= 0) {
                continue;
            }
#else
            *twin = PyWeakref_GET_OBJECT(made->twin);
            if (*twin == Py_None) {
                continue;
            }
            Py_INCREF(*twin);
#endif
            *recipe = Py_NewRef(made->recipe);
            return 1;
        }
    }
    return 0;
}

/* Makes a proxy by the recipe of its class; NULL without an exception if that has none for these. */
static USUAL PyObject *
made_by_recipe(State *state, PyTypeObject *cls, PyObject *const *args, Py_ssize_t count)
{
    PyObject *recipe, *twin;
    int is_noted = find_made(state, cls, args, count, &recipe, &twin);
    if (!is_noted && find_recipe(state, cls, args, count, &recipe, &twin) <= 0) {
        return NULL;
    }
    PyObject *proxy =
        grpc_guard_follow_recipe(state, (Recipe *)recipe, (PyTypeObject *)twin, args, count);
    if (!is_noted && proxy != NULL) {
        note_made(state, cls, Py_TYPE(args[0]), recipe, twin);
    }
    Py_DECREF(recipe);
    Py_DECREF(twin);
    return proxy;
}

static PyObject *
constructing_call(PyTypeObject *cls, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    if (count < 1 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_Format(PyExc_TypeError, "%.100s() takes what it wraps, by position", cls->tp_name);
        return NULL;
    }
    State *state = state_of(Py_TYPE(cls));
    if (state == NULL) {
        return NULL;
    }
    PyObject *proxy = made_by_recipe(state, cls, PySequence_Fast_ITEMS(args), count);
    if (proxy != NULL || PyErr_Occurred()) {
        return proxy;
    }
    proxy = PyType_Type.tp_call((PyObject *)cls, args, kwargs);
    return become(state, cls, proxy, Py_TYPE(PyTuple_GET_ITEM(args, 0)));
}

USUAL PyObject *
grpc_guard_construct(State *state, PyObject *cls, PyObject *const *args, Py_ssize_t count)
{
    PyObject *proxy = made_by_recipe(state, (PyTypeObject *)cls, args, count);
    if (proxy == NULL && !PyErr_Occurred()) {
        proxy = PyObject_Vectorcall(cls, args, (size_t)count, NULL);
    }
    return proxy;
}

static PyType_Slot constructing_slots[] = {
    {Py_tp_doc, "Makes proxies, and gives each the class that belongs to what it wraps."},
    {Py_tp_call, constructing_call},
    {0, NULL},
};

static PyType_Spec constructing_spec = {
    .name = "grpc_guard._core._compiled.ConstructingType",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = constructing_slots,
};

int
grpc_guard_add_proxies(PyObject *module, State *state)
{
    if (grpc_guard_add_type(module, &state->constructing_type, &constructing_spec,
                            (PyObject *)&PyType_Type) < 0) {
        return -1;
    }
    return PyObject_SetAttr((PyObject *)state->constructing_type, state->str_recipe, Py_None);
}
