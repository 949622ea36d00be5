/* What a device's memory can do: the denominator of every percent of a ceiling. */
#ifndef BENCH_CEILING_H
#define BENCH_CEILING_H

#include <stdbool.h>

#include "core/kernel.h"

struct ceiling {
	double gbps; /* bytes read and written over time, 1e9 bytes per second */
	double bytes;
	char config[CONFIG_TEXT]; /* of the kernel `stream` that reached it */
};

struct ceilings {
	struct ceiling read, copy;
};

/* The best of the configurations of `stream` in this program over 1 GiB on a GPU, four times the
 * last-level cache of the host, less where there is less memory. What is read and copied is checked
 * by its sum. */
MUST_CHECK enum status ceilings_measure(struct device *device, bool quiet,
                                        struct ceilings *ceilings);
/* The same over so many bytes, in steps of 32 MiB; more than any cache, for ceilings of memory. */
MUST_CHECK enum status ceilings_measure_over(struct device *device, size_t bytes, bool quiet,
                                             struct ceilings *ceilings);

#endif
