/* Thousands of things in their order: most of them were in the same one before. See oldest.c, ordering.c. */

#include "places.h"

static int
is_later(const void *one, const void *other)
{
    const Place *mine = one, *its = other;
    if (mine->since != its->since) {
        return mine->since < its->since ? -1 : 1;
    }
    return mine->at < its->at ? -1 : 1;
}

int
grpc_guard_are_sorted(const Place *places, Py_ssize_t count)
{
    for (Py_ssize_t i = 1; i < count; i++) {
        if (is_later(&places[i - 1], &places[i]) > 0) {
            return 0;
        }
    }
    return 1;
}

Place *
grpc_guard_sort_places(Place *places, Place *sorted, Py_ssize_t count)
{
    Py_ssize_t known = 0, end = 0;
    memset(sorted, 0, (size_t)count * sizeof(Place));
    for (Py_ssize_t i = 0; i < count; i++) {
        size_t before = places[i].before;
        if (before > 0 && before <= (size_t)count && sorted[before - 1].before == 0) {
            sorted[before - 1] = places[i];
            known++;
        }
        else {
            places[i - known] = places[i]; /* where one has gone */
        }
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (sorted[i].before != 0) {
            sorted[end++] = sorted[i];
        }
    }
    Py_ssize_t fresh = count - known;
    if (!grpc_guard_are_sorted(sorted, known)) {
        memcpy(sorted + known, places, (size_t)fresh * sizeof(Place));
        qsort(sorted, (size_t)count, sizeof(Place), is_later);
        return sorted;
    }
    qsort(places, (size_t)fresh, sizeof(Place), is_later);
    while (fresh > 0) { /* from behind: each to its place between those that are known */
        int is_last = known == 0 || is_later(&places[fresh - 1], &sorted[known - 1]) > 0;
        sorted[known + fresh - 1] = is_last ? places[fresh - 1] : sorted[known - 1];
        fresh -= is_last;
        known -= !is_last;
    }
    return sorted;
}

