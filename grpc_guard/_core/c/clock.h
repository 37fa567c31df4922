/* What time it is, on the clock of time.monotonic(). */

#ifndef GRPC_GUARD_CLOCK_H
#define GRPC_GUARD_CLOCK_H

#include <Python.h>

#if defined(__linux__) /* where time.monotonic() is this clock */
#include <time.h>
#define HAS_CLOCK 1
/* Called for each message: not by way of a table that is as cold as all else. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ELF__)
extern __typeof__(clock_gettime) clock_gettime __attribute__((noplt, visibility("default")));
#endif

static inline double
grpc_guard_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec * 1000000000LL + now.tv_nsec) / 1e9;
}

/* The same, up to a tick of the kernel ago, for a third of the time. */
static inline double
grpc_guard_moments_ago(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (double)(now.tv_sec * 1000000000LL + now.tv_nsec) / 1e9;
}
#else
#define HAS_CLOCK 0
static inline double
grpc_guard_now(void)
{
    return 0.0;
}

static inline double
grpc_guard_moments_ago(void)
{
    return 0.0;
}
#endif

/* The last look at the clock, and what the processor had counted by then. See clock.c. */
typedef struct {
    uint64_t counter, most; /* most: for so many counts more, no other look is taken; 0: never so */
    double time, step;      /* step: seconds, fewer than one count takes */
} Moment;

#if HAS_CLOCK && defined(__GNUC__) && defined(__x86_64__) && !defined(Py_GIL_DISABLED)
#define HAS_COUNTER 1
extern Moment grpc_guard_moment __attribute__((visibility("hidden")));
#else
#define HAS_COUNTER 0
#endif

/* Looks at the clock; `counter` is what the processor has counted. */
double grpc_guard_look_at_clock(uint64_t counter) __attribute__((visibility("hidden")));

/* Has the counter of the processor asked from now on, if that can be trusted; or never again. */
void grpc_guard_ask_counter(int is_wanted) __attribute__((visibility("hidden")));

/* The time, up to a millisecond ago: never later than grpc_guard_now(), and never before what this has
 * returned. It takes half the time, and what it reads is in one line of memory. */
static inline double
grpc_guard_just_now(void)
{
#if HAS_COUNTER
    Moment *last = &grpc_guard_moment;
    uint64_t counter = 0;
    if (__builtin_expect(last->most != 0, 1)) {
        counter = __builtin_ia32_rdtsc();
        uint64_t passed = counter - last->counter;
        if (__builtin_expect(passed < last->most, 1)) {
            return last->time + (double)(int64_t)passed * last->step;
        }
    }
    return grpc_guard_look_at_clock(counter);
#else
    return grpc_guard_now();
#endif
}

/* The time, and never after what grpc_guard_just_now() returns later: what begins now comes before what it
 * leads to. */
static inline double
grpc_guard_now_in_order(void)
{
#if HAS_COUNTER
    return grpc_guard_look_at_clock(__builtin_ia32_rdtsc());
#else
    return grpc_guard_now();
#endif
}

#endif
