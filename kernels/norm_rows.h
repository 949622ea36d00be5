#ifndef KERNELS_NORM_ROWS_H
#define KERNELS_NORM_ROWS_H

#include "core/dtype.h"
#include "core/param.h"

#define NORM_ROWS_FIELDS(X) X(y, NAMES_DTYPE, "dtype that is written", DTYPE_BF16, DTYPE_F32)
#define NORM_ROWS_PARAMS(X) X(warps, 4, "warps per block", 1, 4, 8)
#define NORM_ROWS_CASES(X)  X(DTYPE_BF16) X(DTYPE_F32)

struct norm_rows_case {
	NORM_ROWS_FIELDS(PARAM_MEMBER)
};

struct norm_rows_config {
	NORM_ROWS_PARAMS(PARAM_MEMBER)
};

/* Of each of n rows y = w x / sqrt(mean(x^2) + eps), x (n, k) and w (k) f32, the mean over the
 * first n_norm elements; behind them x and w are 0. k is a multiple of 8. */
struct norm_rows_args {
	void *y;
	const float *x, *w;
	float eps;
	int n, k, n_norm;
};

CONST_FN bool norm_rows_legal(struct norm_rows_case kase, struct norm_rows_config c,
                              struct target target)
{
	(void)kase;
	(void)target;
	return c.warps >= 1;
}

#endif
