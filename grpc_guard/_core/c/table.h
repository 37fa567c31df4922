/* Tables of rows that are found by an address, each of which begins with it: see table.c. */

#ifndef GRPC_GUARD_TABLE_H
#define GRPC_GUARD_TABLE_H

#include "looks.h"

/* All zeros: an empty one. Its rows stand in the order in which they came, none is taken out. */
typedef struct {
    void *all;
    Py_ssize_t count, room;
    Py_ssize_t likely; /* so many there may be */
    unsigned int *index; /* by their keys: one more than where a row is; 0: free */
    size_t mask;
} Table;

/* Returns a hash of the address of an object. */
static inline size_t
grpc_guard_hashed(uintptr_t key)
{
    size_t bits = (size_t)key >> 4;
    return (bits ^ (bits >> 15)) * (size_t)0x9E3779B1u;
}

/* Returns where a key is in the index of a table with room, or would be. */
static inline unsigned int *
grpc_guard_spot_of(const Table *table, size_t size, uintptr_t key)
{
    const char *all = table->all;
    size_t at = grpc_guard_hashed(key) & table->mask;
    while (table->index[at] != 0 && *(const uintptr_t *)(all + (table->index[at] - 1) * size) != key) {
        at = (at + 1) & table->mask;
    }
    return &table->index[at];
}

/* Finds the row of a key, until another is put; NULL: there is none. */
static inline void *
grpc_guard_row_of(const Table *table, size_t size, uintptr_t key)
{
    unsigned int at = table->count == 0 ? 0 : *grpc_guard_spot_of(table, size, key);
    return at == 0 ? NULL : (char *)table->all + (at - 1) * size;
}

/* Has what is needed to find it fetched, in two steps. */
static inline void
grpc_guard_fetch_row(const Table *table, size_t size, uintptr_t key, int step)
{
    if (table->count > 0) {
        const unsigned int *spot = &table->index[grpc_guard_hashed(key) & table->mask];
        FETCH(step == 0 ? (const void *)spot : *spot == 0 ? NULL : (char *)table->all + (*spot - 1) * size);
    }
}

/* Returns the row of a key, a new one if there is none, which is zeros but for its key; NULL: an
 * error is set. */
void *grpc_guard_put_row(Table *table, size_t size, uintptr_t key);

/* Makes room for one more row, if there is none; -1: an error is set. */
int grpc_guard_room_for_row(Table *table, size_t size);

/* Adds a row to a table without an index, in which nothing can be found; NULL: an error is set. And makes the
 * index of such a table; -1: an error is set. */
static inline void *
grpc_guard_add_row(Table *table, size_t size, uintptr_t key)
{
    if (table->count == table->room && grpc_guard_room_for_row(table, size) < 0) {
        return NULL;
    }
    char *row = (char *)table->all + (size_t)table->count++ * size;
    memset(row, 0, size);
    *(uintptr_t *)row = key;
    return row;
}
int grpc_guard_make_index(Table *table, size_t size);

/* Gives its memory back. */
void grpc_guard_end_table(Table *table);

#endif
