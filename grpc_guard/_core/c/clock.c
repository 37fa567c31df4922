/* The counter of the processor in place of the clock, for a moment after each look at that.
 *
 * The kernel's clock takes as long as all the rest of an operation, and it is asked for each message. Nothing
 * is computed from the counter but whether a moment has passed, so that its frequency need not be known: its
 * step is taken to be shorter than that of any processor, the moment lasts a quarter of a millisecond
 * at four gigahertz, and one millisecond at one. If the counter jumps, for the machine was suspended or
 * moved, the clock is asked. Two processors whose counters differ would spoil that: so the counter is used
 * only where the kernel, which watches for this, uses it for its own clock.
 */

#include "clock.h"
#include "usual.h"

#if HAS_COUNTER
#include <stdio.h>
#include <string.h>

#define MOMENT ((uint64_t)1 << 20)

Moment grpc_guard_moment __attribute__((aligned(64))) = {0, 0, 0.0, 0x1p-34};

USUAL __attribute__((noinline)) double
grpc_guard_look_at_clock(uint64_t counter)
{
    grpc_guard_moment.counter = counter;
    return grpc_guard_moment.time = grpc_guard_now();
}

void
grpc_guard_ask_counter(int is_wanted)
{
    grpc_guard_moment.most = 0;
    if (!is_wanted) {
        return;
    }
    char name[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    int is_known = file != NULL && fgets(name, sizeof(name), file) != NULL;
    if (file != NULL) {
        fclose(file);
    }
    if (is_known && strcmp(name, "tsc\n") == 0) {
        (void)grpc_guard_look_at_clock(__builtin_ia32_rdtsc());
        grpc_guard_moment.most = MOMENT;
    }
}
#else
double
grpc_guard_look_at_clock(uint64_t counter)
{
    return grpc_guard_now();
}

void
grpc_guard_ask_counter(int is_wanted)
{
}
#endif
