/* How proxies are made without their constructors, as far as other files need it. */

#ifndef GRPC_GUARD_RECIPES_H
#define GRPC_GUARD_RECIPES_H

#include "aio.h"

#define MOST_ARGUMENTS 4 /* of a constructor: what is wrapped, its stream, and two more */

/* Where the value of a slot comes from; see recipes.py. */
typedef enum { ARGUMENT, STEP, DIRECTION_OF, DIRECTION_IF_THERE } How;

typedef struct {
    PyObject *descriptor; /* of the slot */
    Py_ssize_t offset;    /* of the slot */
    PyObject *name;       /* of a method: of what is wrapped, or of the direction that makes the step */
    PyObject *way;
    Py_ssize_t index;     /* of an argument */
    How how;
    char is_write;
    unsigned int of_method; /* the version of a class that has the method; 0: not known */
} Part;

typedef struct {
    PyObject_VAR_HEAD
    PyObject *wrapped;    /* the descriptor of __wrapped__ */
    PyObject *has_ended;  /* of calls, which are followed; or None */
    Py_ssize_t fewest, most; /* arguments */
    Part parts[1];
} Recipe;

/* Makes a direction of the class that operations claim: AioDirection. Its step is a method of `wrapped`,
 * None if that may lack it and does. */
PyObject *grpc_guard_make_aio_direction(State *state, PyObject *stream, Part *part, PyObject *wrapped);

/* Tells whether a recipe is for these arguments. */
static inline int
grpc_guard_fits(State *state, Recipe *recipe, PyObject *const *args, Py_ssize_t count)
{
    return recipe->fewest <= count && count <= recipe->most && IS_STREAM(state, args[1]);
}

/* Makes a proxy of class `cls`, a twin. */
PyObject *grpc_guard_follow_recipe(State *state, Recipe *recipe, PyTypeObject *cls,
                                   PyObject *const *args, Py_ssize_t count);

/* The same as cls(*args), for a class of proxies. */
PyObject *grpc_guard_construct(State *state, PyObject *cls, PyObject *const *args, Py_ssize_t count);

#endif
