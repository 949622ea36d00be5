#ifndef KERNELS_GEMV_H
#define KERNELS_GEMV_H

#include "core/dtype.h"
#include "core/param.h"

enum epilogue {
	EPILOGUE_NONE,     /* y = Wx */
	EPILOGUE_BIAS,     /* y = Wx + bias */
	EPILOGUE_RESIDUAL, /* y = Wx + residual */
	EPILOGUE_SWIGLU,   /* rows alternate gate, up: y[i] = silu(Wx[2i]) * Wx[2i+1], m / 2 outputs
	                    */
};

#define GEMV_FIELDS(X)                                                                        \
	X(w, NAMES_DTYPE, "weight dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q8_0)       \
	X(x, NAMES_DTYPE, "activation dtype, in and out", DTYPE_F32, DTYPE_BF16)              \
	X(epilogue, NAMES_EPILOGUE, "what follows the product", EPILOGUE_NONE, EPILOGUE_BIAS, \
	  EPILOGUE_RESIDUAL, EPILOGUE_SWIGLU)

#define GEMV_PARAMS(X)                                                                          \
	X(lanes, 32, "lanes that share a row", 4, 8, 16, 32)                                    \
	X(rows, 2, "rows per group of lanes", 1, 2, 4, 8)                                       \
	X(warps, 4, "warps per block", 1, 2, 4, 8, 16)                                          \
	X(unroll, 2, "16-byte weight loads in flight per row and lane", 1, 2, 4, 8)             \
	X(min_blocks, 1, "blocks per multiprocessor the compiler must leave room for", 1, 2, 4) \
	X(stream, 1, "1: weights are loaded past L1, first to be evicted", 0, 1)

/* Cases with a default instance in every program: X(w, x, epilogue). */
#define GEMV_CASES_OF(X, w)                \
	X(w, DTYPE_F32, EPILOGUE_NONE)     \
	X(w, DTYPE_F32, EPILOGUE_BIAS)     \
	X(w, DTYPE_F32, EPILOGUE_RESIDUAL) \
	X(w, DTYPE_F32, EPILOGUE_SWIGLU)
#define GEMV_CASES(X)                \
	GEMV_CASES_OF(X, DTYPE_BF16) \
	GEMV_CASES_OF(X, DTYPE_F16)  \
	GEMV_CASES_OF(X, DTYPE_F32)  \
	GEMV_CASES_OF(X, DTYPE_Q8_0) \
	X(DTYPE_BF16, DTYPE_BF16, EPILOGUE_NONE)

struct gemv_case {
	GEMV_FIELDS(PARAM_MEMBER)
};

struct gemv_config {
	GEMV_PARAMS(PARAM_MEMBER)
};

/* w (m, k) row-major in device layout, `scale` its q8_0 scales (m, k / 32); x (k); bias (m) f32 and
 * residual (m) in the activation dtype, may alias y; k is a multiple of 32. */
struct gemv_args {
	void *y;
	const void *w, *scale, *x;
	const float *bias;
	const void *residual;
	int m, k;
};

/* A vector of f32 weights is too short for one of bf16 activations. One lane per warp makes every
 * value of `lanes` the same instance: the default stands for all. */
CONST_FN bool gemv_legal(struct gemv_case kase, struct gemv_config c, struct target target)
{
	return (target.lanes > 1 ? c.lanes <= target.lanes : c.lanes == 32) &&
	       (kase.epilogue != EPILOGUE_SWIGLU || c.rows % 2 == 0) &&
	       (kase.w != DTYPE_F32 || kase.x == DTYPE_F32) && c.rows * c.unroll <= 32 &&
	       c.warps * 32 * c.min_blocks <= 1024 &&
	       (target.lanes > 1 || (c.min_blocks == 1 && c.stream == 1));
}

#endif
