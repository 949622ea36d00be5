/* The true clock of a GPU's multiprocessors while it did some work, by marks before and after. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include "bench/timer.h"

struct clock_marks;

/* Needs a library of kernels. On the host, whose clock this cannot tell, *marks is NULL. */
MUST_CHECK enum status clock_open(struct device *device, struct clock_marks **marks);
void clock_close(struct clock_marks **marks);
/* For timer.marks; all zero without marks. */
struct timer_marks clock_timer_marks(struct clock_marks *marks);

/* Cycles per microsecond between two marks of n multiprocessors, the median over those that have
 * both; NaN when none has. */
double clock_mhz(int n, const unsigned long long *ns_from, const unsigned long long *cycles_from,
                 const unsigned long long *ns_to, const unsigned long long *cycles_to);

#endif
