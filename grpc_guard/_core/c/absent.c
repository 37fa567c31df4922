/* The slots of a class of proxies for what the wrapped object cannot do, empty as in the class of that.
 *
 * wrapt's class has them all. In Python one can only fill a slot with what raises: `in` and list() then run
 * Python code each time, and C code that asks whether an object is a sequence or a mapping hears that it is. Two
 * stay: without that of __int__, int() looks for the __trunc__ that wrapt's class has, and raises what that raises;
 * without that of __bool__, bool() asks for a length, whose slot is filled again where a program sets a __len__ and
 * takes it back.
 */

#include "guarded.h"

#define NAMES 2

typedef struct {
    size_t at; /* in a class that is made in Python */
    const char *names[NAMES];
} Slot;

#define SLOT(field, ...) {offsetof(PyHeapTypeObject, field), {__VA_ARGS__}}
#define UNARY(field, name) SLOT(as_number.nb_##field, "__" name "__")
#define BINARY(field, name) \
    SLOT(as_number.nb_##field, "__" name "__", "__r" name "__"), \
    SLOT(as_number.nb_inplace_##field, "__i" name "__")

static const Slot slots[] = {
    UNARY(index, "index"),
    UNARY(float, "float"),
    UNARY(negative, "neg"),
    UNARY(positive, "pos"),
    UNARY(absolute, "abs"),
    UNARY(invert, "invert"),
    BINARY(add, "add"),
    BINARY(subtract, "sub"),
    BINARY(multiply, "mul"),
    BINARY(matrix_multiply, "matmul"),
    BINARY(true_divide, "truediv"),
    BINARY(floor_divide, "floordiv"),
    BINARY(remainder, "mod"),
    BINARY(power, "pow"),
    BINARY(lshift, "lshift"),
    BINARY(rshift, "rshift"),
    BINARY(and, "and"),
    BINARY(or, "or"),
    BINARY(xor, "xor"),
    SLOT(as_number.nb_divmod, "__divmod__", "__rdivmod__"),
    SLOT(as_sequence.sq_length, "__len__"),
    SLOT(as_sequence.sq_item, "__getitem__"),
    SLOT(as_sequence.sq_ass_item, "__setitem__", "__delitem__"),
    SLOT(as_sequence.sq_contains, "__contains__"),
    SLOT(as_sequence.sq_concat, "__add__"),
    SLOT(as_sequence.sq_repeat, "__mul__"),
    SLOT(as_sequence.sq_inplace_concat, "__iadd__"),
    SLOT(as_sequence.sq_inplace_repeat, "__imul__"),
    SLOT(as_mapping.mp_length, "__len__"),
    SLOT(as_mapping.mp_subscript, "__getitem__"),
    SLOT(as_mapping.mp_ass_subscript, "__setitem__", "__delitem__"),
    SLOT(ht_type.tp_iter, "__iter__"),
};

/* Tells whether one of the methods that fill a slot is given; -1: an error is set. */
static int
is_given(const Slot *filled, PyObject *given)
{
    for (int i = 0; i < NAMES && filled->names[i] != NULL; i++) {
        PyObject *name = PyUnicode_FromString(filled->names[i]);
        if (name == NULL) {
            return -1;
        }
        int is_there = PySet_Contains(given, name);
        Py_DECREF(name);
        if (is_there != 0) {
            return is_there;
        }
    }
    return 0;
}

/* empty_slots(cls, given): the names of the special methods that the class has for what it wraps. */
static PyObject *
empty_slots(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyType_Check(args[0]) || !PyAnySet_Check(args[1])
        || !PyType_HasFeature((PyTypeObject *)args[0], Py_TPFLAGS_HEAPTYPE)) {
        PyErr_SetString(PyExc_TypeError, "empty_slots() takes a class in Python and a set of names");
        return NULL;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(slots); i++) {
        int is_there = is_given(&slots[i], args[1]);
        if (is_there < 0) {
            return NULL;
        }
        if (!is_there) {
            memset((char *)args[0] + slots[i].at, 0, sizeof(void (*)(void)));
        }
    }
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"empty_slots", (PyCFunction)(void (*)(void))empty_slots, METH_FASTCALL,
     "Have a class of proxies lack what is not given, for the interpreter and for code in C."},
    {NULL},
};

int
grpc_guard_add_absent(PyObject *module)
{
    return PyModule_AddFunctions(module, module_methods);
}
