/* What compiled GPU code needs to run, read from the image without a driver. */
#ifndef DEVICE_CUBIN_H
#define DEVICE_CUBIN_H

#include <stddef.h>

#include "core/status.h"

struct cubin_resources {
	int registers;         /* per thread */
	int stack_bytes;       /* per thread: spills and local arrays */
	int static_smem_bytes; /* per block */
	int max_threads;       /* per block, from launch bounds; 0 when there are none */
};

/* Resources of one kernel of a cubin, by its symbol. Fails on an image that is no cubin or damaged,
 * and on a symbol that it lacks. */
MUST_CHECK enum status cubin_read(const void *image, size_t bytes, const char *symbol,
                                  struct cubin_resources *resources);

#endif
