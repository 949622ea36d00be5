#ifndef KERNELS_GEMM_H
#define KERNELS_GEMM_H

#include "core/dtype.h"
#include "core/param.h"

#define GEMM_FIELDS(X)                                                               \
	X(x, NAMES_DTYPE, "dtype of weights and activations", DTYPE_BF16, DTYPE_F32) \
	X(add, NAMES_NUMBER, "1: added to what y holds", 0, 1)

#define GEMM_PARAMS(X)                                         \
	X(warps, 4, "warps per block", 1, 2, 4, 8)             \
	X(rows, 4, "rows of the weights per warp", 1, 2, 4, 8) \
	X(tokens, 4, "rows of the activations per warp", 1, 2, 4, 8)

#define GEMM_CASES(X) X(DTYPE_BF16, 0) X(DTYPE_BF16, 1) X(DTYPE_F32, 0) X(DTYPE_F32, 1)

struct gemm_case {
	GEMM_FIELDS(PARAM_MEMBER)
};

struct gemm_config {
	GEMM_PARAMS(PARAM_MEMBER)
};

/* y[t][r] (+)= sum over i of x[t][i] w[r][i] for n rows x (n, k), w (m, k); rows of y, f32, are
 * y_stride apart. k is a multiple of 8. */
struct gemm_args {
	float *y;
	const void *w, *x;
	int m, k, n, y_stride;
};

/* Sums that a lane keeps. */
CONST_FN bool gemm_legal(struct gemm_case kase, struct gemm_config c, struct target target)
{
	(void)kase;
	(void)target;
	return c.rows * c.tokens <= 32;
}

#endif
