/* Loops over host data on all cores: loading, random weights, references. */
#ifndef MODEL_PARALLEL_H
#define MODEL_PARALLEL_H

#include <stddef.h>

/* Calls body(context, first, last) for disjoint ranges that together are [0, n), at once on several
 * threads. */
void parallel_for(size_t n, void (*body)(void *context, size_t first, size_t last), void *context);

#endif
