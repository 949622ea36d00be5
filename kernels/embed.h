#ifndef KERNELS_EMBED_H
#define KERNELS_EMBED_H

#include "core/dtype.h"
#include "core/param.h"

#define EMBED_FIELDS(X)                                                                 \
	X(w, NAMES_DTYPE, "weight dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q4_0, \
	  DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K)
#define EMBED_PARAMS(X) X(warps, 4, "warps in the only block", 1, 4, 16)
#define EMBED_CASES(X) \
	X(DTYPE_BF16)  \
	X(DTYPE_F16)   \
	X(DTYPE_F32)   \
	X(DTYPE_Q4_0)  \
	X(DTYPE_Q4_1)  \
	X(DTYPE_Q5_0)  \
	X(DTYPE_Q5_1) X(DTYPE_Q8_0) X(DTYPE_Q4_K) X(DTYPE_Q5_K) X(DTYPE_Q6_K)

struct embed_case {
	EMBED_FIELDS(PARAM_MEMBER)
};

struct embed_config {
	EMBED_PARAMS(PARAM_MEMBER)
};

/* y (n) f32 = row *token of w (n_rows, n) in device layout, whose second plane begins at `scale`. A
 * token outside the table gives NaN. */
struct embed_args {
	float *y;
	const void *w, *scale;
	const int *token;
	int n_rows, n;
};

CONST_FN bool embed_legal(struct embed_case kase, struct embed_config c, struct target target)
{
	(void)kase;
	(void)target;
	return c.warps >= 1;
}

#endif
