#ifndef KERNELS_MARK_H
#define KERNELS_MARK_H

#include "core/dtype.h"
#include "core/param.h"

#define MARK_FIELDS(X) X(clock, NAMES_NUMBER, "1: counts cycles too", 1)
#define MARK_PARAMS(X) X(warps, 1, "warps per block", 1)
#define MARK_CASES(X)  X(1)

struct mark_case {
	MARK_FIELDS(PARAM_MEMBER)
};

struct mark_config {
	MARK_PARAMS(PARAM_MEMBER)
};

/* ns, cycles (n): time of the device and clock of multiprocessor i, read together at a tick of the
 * former, no earlier than delay_ns after the launch. Those without a block are left as they are.
 * n = 0: does nothing at all. */
struct mark_args {
	unsigned long long *ns, *cycles;
	unsigned n, delay_ns;
};

CONST_FN bool mark_legal(struct mark_case kase, struct mark_config c, struct target target)
{
	(void)kase;
	(void)target;
	return c.warps >= 1;
}

#endif
