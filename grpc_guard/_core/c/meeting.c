/* The tasks that there are, beside those that were there in the last look: see recall.c.
 *
 * Nearly all are there still, and in the same order: one comparison for each, and none is touched.
 */

#include "arrays.h"
#include "crowds.h"
#include "recalls.h"

enum { AHEAD = 8 }; /* so many that have gone since are stepped over without a search */

typedef struct {
    Recollection *self;
    Recalled *all; /* those of this look */
    Py_ssize_t count;
    Py_ssize_t next;     /* which of the last look is expected */
    unsigned int *index; /* of those, by the identity of references: one more than where it is; 0: free */
    size_t mask;
} Meeting;

static int
make_index(Meeting *meeting)
{
    Recollection *self = meeting->self;
    meeting->mask = 64;
    while (meeting->mask < 2 * (size_t)self->count) {
        meeting->mask *= 2;
    }
    meeting->index = PyMem_Calloc(meeting->mask, sizeof(unsigned int));
    if (meeting->index == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    meeting->mask--;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (self->all[i].reference != NULL) {
            size_t at = grpc_guard_hashed((uintptr_t)self->all[i].reference) & meeting->mask;
            while (meeting->index[at] != 0) {
                at = (at + 1) & meeting->mask;
            }
            meeting->index[at] = (unsigned int)i + 1;
        }
    }
    return 0;
}

/* Finds what is known of the task with this reference: 1; 0 if nothing; -1: an error is set. */
static int
find(Meeting *meeting, PyObject *reference, Py_ssize_t *found)
{
    Recollection *self = meeting->self;
    for (Py_ssize_t at = meeting->next; at < self->count && at < meeting->next + AHEAD; at++) {
        if (self->all[at].reference == reference) {
            *found = at;
            return 1;
        }
    }
    if (self->count == 0 || (meeting->index == NULL && make_index(meeting) < 0)) {
        return self->count == 0 ? 0 : -1;
    }
    size_t at = grpc_guard_hashed((uintptr_t)reference) & meeting->mask;
    while (meeting->index[at] != 0) {
        *found = (Py_ssize_t)meeting->index[at] - 1;
        if (self->all[*found].reference == reference) {
            return 1;
        }
        at = (at + 1) & meeting->mask;
    }
    return 0;
}

/* Adds a task to those of this look, with what is known of it; -1: an error is set. */
static int
add(Meeting *meeting, PyObject *reference)
{
    Py_ssize_t at;
    int is_known = find(meeting, reference, &at);
    if (is_known > 0) {
        Recalled *one = &meeting->self->all[at];
        meeting->all[meeting->count++] = *one; /* and all that it holds */
        *one = (Recalled){NULL};
        meeting->next = at + 1;
        return 0;
    }
    if (is_known == 0 && !PyWeakref_CheckRef(reference)) {
        PyErr_SetString(PyExc_TypeError, "tasks are known by weak references");
        return -1;
    }
    if (is_known == 0) {
        meeting->all[meeting->count++] = (Recalled){.reference = Py_NewRef(reference)};
    }
    return is_known;
}

/* Adds all of a table; -1: an error is set. */
static int
add_all(Meeting *meeting, PyObject *table)
{
    if (PyList_CheckExact(table)) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(table); i++) {
            if (add(meeting, PyList_GET_ITEM(table, i)) < 0) {
                return -1;
            }
        }
        return 0;
    }
#ifdef Py_GIL_DISABLED
    PyObject *copy = PySequence_List(table);
    int failed = copy == NULL || add_all(meeting, copy) < 0;
    Py_XDECREF(copy);
    return failed ? -1 : 0;
#else
    const PySetObject *set = (PySetObject *)table; /* nothing here can change it */
    for (Py_ssize_t i = 0; i <= set->mask; i++) {
        PyObject *key = set->table[i].key;
        int is_one = key != NULL && set->table[i].hash != -1; /* else it was taken away */
        if (is_one && add(meeting, key) < 0) {
            return -1;
        }
    }
    return 0;
#endif
}

/* Lets go of `count` tasks. */
static void
forget_all(Recalled *all, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        if (all[i].reference != NULL) {
            grpc_guard_unlearn(&all[i]);
            Py_DECREF(all[i].reference);
        }
    }
}

/* Makes room for so many tasks in the memory that is to spare; -1: an error is set. */
static int
make_spare_room(Recollection *self, Py_ssize_t most)
{
    if (self->spare != NULL && self->spare_room >= most && self->spare_room / 4 <= most) {
        return 0;
    }
    Py_ssize_t room = most + most / 8 + 1;
    Recalled *spare = PyMem_Malloc((size_t)room * sizeof(Recalled));
    if (spare == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(self->spare);
    self->spare = spare;
    self->spare_room = room;
    return 0;
}

/* Puts the references to all tasks side by side, for the next look, if there is memory. */
static void
put_references(Recollection *self)
{
    PyMem_Free(self->references);
    self->references = PyMem_Malloc(((size_t)self->count + 1) * sizeof(PyObject *));
    for (Py_ssize_t i = 0; self->references != NULL && i < self->count; i++) {
        self->references[i] = self->all[i].reference;
    }
}

/* Notes which tasks have to be looked at; -1: an error is set. */
static int
find_todo(Recollection *self)
{
    if (self->is_todo_known) {
        return 0; /* see leave() */
    }
    unsigned int *todo = grpc_guard_resized(self->todo, (size_t)self->count + 1, sizeof(unsigned int));
    if (todo == NULL) {
        return -1;
    }
    self->todo = todo;
    self->todo_count = 0;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (self->all[i].standing != self->settled) {
            todo[self->todo_count++] = (unsigned int)i;
        }
    }
    self->is_todo_known = 1;
    return 0;
}

/* Tells how many tasks there may be; -1: an error is set. */
static Py_ssize_t
most_of(PyObject *tables)
{
    Py_ssize_t most = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tables); i++) {
        PyObject *table = PyTuple_GET_ITEM(tables, i);
        if (!PyList_CheckExact(table) && !PySet_CheckExact(table)) {
            PyErr_Format(PyExc_TypeError, "tasks are in sets and lists, not in %R", table);
            return -1;
        }
        most += PyList_CheckExact(table) ? PyList_GET_SIZE(table) : PySet_GET_SIZE(table);
    }
    return most;
}

/* Tells whether the tasks are those of the last look, in the same order. */
static int
are_same(const Recollection *self, PyObject *tables)
{
    Py_ssize_t at = 0;
    if (self->references == NULL) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tables); i++) {
        PyObject *table = PyTuple_GET_ITEM(tables, i);
#ifdef Py_GIL_DISABLED
        return 0;
#endif
        if (PyList_CheckExact(table)) {
            if (PyList_GET_SIZE(table) > 0) {
                return 0;
            }
            continue;
        }
        const PySetObject *set = (PySetObject *)table;
        for (Py_ssize_t j = 0; j <= set->mask; j++) {
            PyObject *key = set->table[j].key;
            int is_one = key != NULL && set->table[j].hash != -1;
            if (is_one && (at == self->count || self->references[at++] != key)) {
                return 0;
            }
        }
    }
    return at == self->count;
}

int
grpc_guard_meet(Recollection *self, PyObject *tables)
{
    Py_ssize_t most = most_of(tables);
    if (most < 0) {
        return -1;
    }
    if (most == self->count && are_same(self, tables)) {
        return find_todo(self);
    }
    if (make_spare_room(self, most) < 0) {
        return -1;
    }
    Meeting meeting = {.self = self, .all = self->spare};
    int failed = 0;
    for (Py_ssize_t i = 0; !failed && i < PyTuple_GET_SIZE(tables); i++) {
        failed = add_all(&meeting, PyTuple_GET_ITEM(tables, i)) < 0;
    }
    PyMem_Free(meeting.index);
    PyMem_Free(self->references);
    self->references = NULL;
    self->is_todo_known = 0;
    Recalled *before = self->all;
    Py_ssize_t count = self->count, room = self->room;
    self->all = self->spare;
    self->count = meeting.count;
    self->room = self->spare_room;
    self->spare = before;
    self->spare_room = room;
    self->todo_count = 0;
    forget_all(before, count);
    if (failed) {
        count = self->count;
        self->count = 0;
        forget_all(self->all, count);
        return -1;
    }
    put_references(self);
    return find_todo(self);
}
