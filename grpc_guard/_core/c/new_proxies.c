/* Proxies: made without their constructors, of the memory of those that have ended; and how they end.
 *
 * Several are made for each stream. What type() has end the objects of a class in Python goes through all
 * the classes below it, and wrapt's code makes a dict for each proxy, which hardly any needs. Here is
 * done the same for classes that add nothing but slots to wrapt's own, and with no look at them.
 */

#include "guarded.h"

/* wrapt's class, and where its objects have what they have, if it is as it is known here: with a dict, what
 * is wrapped, weak references and a number. */
static struct {
    PyTypeObject *type; /* only compared */
    newfunc make;
    destructor dealloc;
    Py_ssize_t size, dict, weak, wrapped, number;
} of_wrapt;

static inline PyObject **
field_at(PyObject *self, Py_ssize_t offset)
{
    return (PyObject **)((char *)self + offset);
}

static inline Py_ssize_t
slots_of(PyTypeObject *type)
{
    return (type->tp_basicsize - of_wrapt.size) / (Py_ssize_t)sizeof(PyObject *);
}

/* Keeps the memory of a proxy that has nothing left but an empty dict: 1, else 0. */
static int
is_kept(PyObject *self, PyTypeObject *type)
{
    PyObject *dict = *field_at(self, of_wrapt.dict);
    return dict != NULL && PyDict_CheckExact(dict) && Py_REFCNT(dict) == 1 && PyDict_GET_SIZE(dict) == 0
           && *field_at(self, of_wrapt.weak) == NULL && *field_at(self, of_wrapt.number) == NULL
           && grpc_guard_keep_memory(KEPT_PROXIES + (int)slots_of(type), self);
}

static USUAL void
proxy_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self), *cls = type;
    if (type->tp_finalize != NULL && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* somebody has it again */
    }
    PyObject_GC_UnTrack(self);
    while (cls->tp_dealloc != proxy_dealloc) {
        cls = cls->tp_base; /* what a class above this one adds has gone */
    }
    for (Py_ssize_t at = of_wrapt.size; at < cls->tp_basicsize; at += sizeof(PyObject *)) {
        Py_CLEAR(*field_at(self, at));
    }
    if (*field_at(self, of_wrapt.weak) != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_CLEAR(*field_at(self, of_wrapt.wrapped));
    if (type == cls && is_kept(self, type)) {
        Py_DECREF(type);
    }
    else {
        PyObject_GC_Track(self); /* as wrapt's code expects */
        of_wrapt.dealloc(self);
    }
}

/* Finds the one word of an object of wrapt's class that is this object; 0 if it is none. */
static Py_ssize_t
find(PyObject *self, PyObject *object)
{
    for (Py_ssize_t at = sizeof(PyObject); at < Py_TYPE(self)->tp_basicsize; at += sizeof(PyObject *)) {
        if (*field_at(self, at) == object) {
            return at;
        }
    }
    return 0;
}

/* Learns where the objects of wrapt's class have what they have: 1; 0 if it has another layout; -1 with an
 * exception set. */
static int
learn(PyTypeObject *type, PyObject *descriptor)
{
    Py_ssize_t word = sizeof(PyObject *), first = sizeof(PyObject);
    Py_ssize_t dict = type->tp_dictoffset, weak = type->tp_weaklistoffset, size = first + 4 * word;
    if (of_wrapt.type != NULL || !(type->tp_flags & Py_TPFLAGS_HEAPTYPE) || type->tp_basicsize != size
        || type->tp_itemsize != 0 || dict < first || weak < first) {
        return of_wrapt.type == type;
    }
    PyObject *nothing = PyTuple_New(0), *wrapped = PyList_New(0);
    PyObject *probe = nothing == NULL || wrapped == NULL ? NULL : type->tp_new(type, nothing, NULL);
    int failed = probe == NULL || grpc_guard_set(descriptor, probe, wrapped) < 0;
    Py_ssize_t at = failed ? 0 : find(probe, wrapped);
    Py_ssize_t number = 4 * first + 6 * word - dict - weak - at; /* what is left of the four */
    if (at != 0 && dict % word == 0 && weak % word == 0 && number >= first && number < size
        && *field_at(probe, number) == NULL) {
        of_wrapt.make = type->tp_new;
        of_wrapt.dealloc = type->tp_dealloc;
        of_wrapt.size = size;
        of_wrapt.dict = dict;
        of_wrapt.weak = weak;
        of_wrapt.wrapped = at;
        of_wrapt.number = number;
        of_wrapt.type = type;
    }
    Py_XDECREF(nothing);
    Py_XDECREF(wrapped);
    Py_XDECREF(probe);
    return failed ? -1 : of_wrapt.type == type;
}

/* Has the objects of a class end by what is here, if it is one that adds but slots to wrapt's. */
static PyObject *
ends_by_slot(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyType_Check(args[0]) || !Py_IS_TYPE(args[1], &PyGetSetDescr_Type)) {
        PyErr_SetString(PyExc_TypeError, "ends_by_slot() takes a class and the __wrapped__ of wrapt's");
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)args[0], *base = type;
    Py_ssize_t slots = 0;
    int is_usual = 1;
    for (; is_usual && base != PyDescr_TYPE(args[1]); base = base->tp_base) {
        slots += Py_SIZE(base);
        is_usual = (base->tp_flags & Py_TPFLAGS_HEAPTYPE) && base->tp_del == NULL && base->tp_base != NULL;
    }
#ifdef Py_GIL_DISABLED
    is_usual = 0;
#endif
    if (is_usual) {
        is_usual = learn(base, args[1]);
    }
    if (is_usual > 0) {
        is_usual = slots <= MOST_SLOTS && type->tp_itemsize == 0 && type->tp_free == base->tp_free
                   && type->tp_basicsize == of_wrapt.size + slots * (Py_ssize_t)sizeof(PyObject *)
                   && type->tp_dictoffset == of_wrapt.dict && type->tp_weaklistoffset == of_wrapt.weak;
    }
    if (is_usual > 0) {
        type->tp_dealloc = proxy_dealloc;
    }
    return is_usual < 0 ? NULL : PyBool_FromLong(is_usual);
}

USUAL PyObject *
grpc_guard_new_proxy(PyTypeObject *cls)
{
    PyObject *proxy = NULL;
    if (cls->tp_dealloc == proxy_dealloc && cls->tp_new == of_wrapt.make) {
        proxy = grpc_guard_memory_kept(KEPT_PROXIES + (int)slots_of(cls), cls);
    }
    if (proxy == NULL) {
        PyObject *nothing = PyTuple_New(0);
        proxy = nothing == NULL ? NULL : cls->tp_new(cls, nothing, NULL);
        Py_XDECREF(nothing);
    }
    return proxy;
}

void
grpc_guard_clear_kept_proxy(PyObject *self)
{
    Py_CLEAR(*field_at(self, of_wrapt.dict));
}

static PyMethodDef module_methods[] = {
    {"ends_by_slot", (PyCFunction)(void (*)(void))ends_by_slot, METH_FASTCALL,
     "Have the objects of a class end as type() would have it, with no look at the classes below; tell if they do."},
    {NULL},
};

int
grpc_guard_add_new_proxies(PyObject *module)
{
    return PyModule_AddFunctions(module, module_methods);
}
