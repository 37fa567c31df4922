/* The entries of the threads of a server, by their ident: a table that costs a look at one line of
 * memory, and makes no object. Open addressing; nothing is ever taken out.
 */

#include "entries.h"

static Slot *
slot_in(Slot *slots, int bits, unsigned long ident)
{
    size_t most = ((size_t)1 << bits) - 1;
    size_t at = (size_t)(grpc_guard_first_slot(slots, bits, ident) - slots);
    while (slots[at].entry != NULL && slots[at].ident != ident) {
        at = (at + 1) & most;
    }
    return slots + at;
}

USUAL Slot *
grpc_guard_slot_of(ByThread *table, unsigned long ident)
{
    return slot_in(table->slots, table->bits, ident);
}

static size_t
room_in(ByThread *table)
{
    return table->slots == NULL ? 0 : (size_t)1 << table->bits;
}

int
grpc_guard_make_room(ByThread *table)
{
    size_t room = room_in(table);
    if ((size_t)table->count < room / 2) {
        return 0;
    }
    int bits = room == 0 ? 3 : table->bits + 1;
    Slot *slots = PyMem_Calloc((size_t)1 << bits, sizeof(Slot));
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < room; i++) {
        if (table->slots[i].entry != NULL) {
            *slot_in(slots, bits, table->slots[i].ident) = table->slots[i];
        }
    }
    PyMem_Free(table->slots);
    table->slots = slots;
    table->bits = bits;
    return 0;
}

void
grpc_guard_forget_threads(ByThread *table)
{
    size_t room = room_in(table);
    Slot *slots = table->slots;
    table->slots = NULL;
    table->count = 0;
    for (size_t i = 0; i < room; i++) {
        if (slots[i].entry != NULL) {
            ((Entry *)slots[i].entry)->is_counted = 0;
            Py_DECREF(slots[i].entry);
        }
    }
    PyMem_Free(slots);
}

PyObject *
grpc_guard_entries_by_thread(ByThread *table)
{
    PyObject *found = PyDict_New();
    size_t room = found == NULL ? 0 : room_in(table), count = 0;
    Slot *entries = PyMem_Malloc((room + 1) * sizeof(Slot)); /* others may run, and the table grow */
    if (found == NULL || entries == NULL) {
        Py_XDECREF(found);
        PyMem_Free(entries);
        return PyErr_NoMemory();
    }
    for (size_t i = 0; i < room; i++) {
        if (table->slots[i].entry != NULL) {
            entries[count] = table->slots[i];
            Py_INCREF(entries[count++].entry);
        }
    }
    for (size_t i = 0; i < count; i++) {
        PyObject *ident = found == NULL ? NULL : PyLong_FromUnsignedLong(entries[i].ident);
        if (found != NULL && (ident == NULL || PyDict_SetItem(found, ident, entries[i].entry) < 0)) {
            Py_CLEAR(found);
        }
        Py_XDECREF(ident);
        Py_DECREF(entries[i].entry);
    }
    PyMem_Free(entries);
    return found;
}
