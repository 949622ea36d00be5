/* What reading so many bytes costs at least: the best of the readers in this program, from cold
 * caches, in a graph like the launches that it is held against. A ceiling of memory is reached by
 * large reads alone; this is what a launch of few bytes can reach. */
#ifndef BENCH_READ_REFERENCE_H
#define BENCH_READ_REFERENCE_H

#include "bench/timer.h"
#include "core/kernel.h"

struct read_reference {
	size_t bytes;
	double us, us_lo, us_hi;
	char config[CONFIG_TEXT]; /* of `stream` */
};

/* What was measured in this run, by number of bytes. */
struct read_references;

/* `timer` is that of the launches: its options and marks are used. `ceiling` is the configuration
 * that reached the read ceiling; on the host it is the only reader. */
MUST_CHECK enum status read_references_open(struct device *device, struct timer *timer,
                                            const char *ceiling,
                                            struct read_references **references);
void read_references_close(struct read_references **references);
/* Measures it unless it is known. Bytes are rounded up to a multiple of 16. The result is there
 * until the next call. */
MUST_CHECK enum status read_reference_find(struct read_references *references, double bytes,
                                           const struct read_reference **reference);

#endif
