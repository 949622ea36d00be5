#ifndef KERNELS_ADVANCE_H
#define KERNELS_ADVANCE_H

#include "core/dtype.h"
#include "core/param.h"

#define ADVANCE_FIELDS(X) X(history, NAMES_NUMBER, "1: also records the token", 1)
#define ADVANCE_PARAMS(X) X(warps, 1, "warps in the only block", 1)
#define ADVANCE_CASES(X)  X(1)

struct advance_case {
	ADVANCE_FIELDS(PARAM_MEMBER)
};

struct advance_config {
	ADVANCE_PARAMS(PARAM_MEMBER)
};

/* The end of a decode step: the index in the argmax key becomes the next token, the key 0 again,
 * the position moves on by one, and history[new position] (capacity ints) keeps the token. */
struct advance_args {
	int *token, *position, *history;
	unsigned long long *best;
	int capacity;
};

CONST_FN bool advance_legal(struct advance_case kase, struct advance_config c, struct target target)
{
	(void)kase;
	(void)target;
	return c.warps >= 1;
}

#endif
