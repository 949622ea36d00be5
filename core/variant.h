/* A compiled instance of a kernel, as programs look it up. */
#ifndef CORE_VARIANT_H
#define CORE_VARIANT_H

#include "core/beside.h"
#include "core/param.h"

/* A configuration is one int per tunable, in declaration order; the layout of the kernel's config
 * struct. */
struct config {
	int value[MAX_PARAMS];
};

/* A case is one int per field, likewise. */
struct kase {
	int value[MAX_FIELDS];
};

/* One instance that this program contains. `device` is NULL for defaults, else the row's device. */
struct variant {
	const char *device;
	struct kase kase;
	int m, k;             /* of the shape the row was tuned for; 0 for defaults */
	int len_min, len_max; /* cache lengths the row is for; 0, 0 where the kernel has none */
	int beside;           /* enum beside: where the decode loop of a model confirmed the row */
	struct config config;
	const void *entry;  /* see device_launch */
	const void *traced; /* the same instance that also reports what it did; NULL where the
	                       kernel has none */
};

#endif
