#ifndef KERNELS_RMS_NORM_H
#define KERNELS_RMS_NORM_H

#include "core/dtype.h"
#include "core/param.h"

#define RMS_NORM_FIELDS(X)                                                       \
	X(x, NAMES_DTYPE, "activation dtype, in and out", DTYPE_F32, DTYPE_BF16) \
	X(residual, NAMES_NUMBER, "1: adds a residual first and stores the sum", 0, 1)

#define RMS_NORM_PARAMS(X)                                                \
	X(warps, 8, "warps per block", 1, 2, 4, 8, 16, 32)                \
	X(unroll, 4, "16-byte loads of x in flight per lane", 1, 2, 4, 8) \
	X(blocks, 1, "blocks that share y, each reading all of x", 1, 2, 4, 8)

#define RMS_NORM_CASES(X) \
	X(DTYPE_F32, 0)   \
	X(DTYPE_F32, 1)   \
	X(DTYPE_BF16, 0)

struct rms_norm_case {
	RMS_NORM_FIELDS(PARAM_MEMBER)
};

struct rms_norm_config {
	RMS_NORM_PARAMS(PARAM_MEMBER)
};

/* y = w * s / sqrt(mean(s^2) + eps) with s = x (+ residual), all (n); w f32. With a residual, s is
 * stored to `sum`, which may alias x or residual; y aliases nothing. n is a multiple of 8. */
struct rms_norm_args {
	void *y, *sum;
	const void *x, *residual;
	const float *w;
	float eps;
	int n;
};

/* Several blocks would read what another has overwritten by the sum; each keeps rows of y that it
 * has in flight. 32 warps have 64 registers a lane. */
CONST_FN bool rms_norm_legal(struct rms_norm_case kase, struct rms_norm_config c,
                             struct target target)
{
	(void)target;
	return (c.blocks == 1 || !kase.residual) && c.blocks <= c.unroll &&
	       c.warps * c.unroll <= 64;
}

#endif
