#ifndef KERNELS_KV_APPEND_H
#define KERNELS_KV_APPEND_H

#include "core/dtype.h"
#include "core/param.h"

#define KV_APPEND_FIELDS(X) X(kv, NAMES_DTYPE, "cache dtype", DTYPE_Q8_0)
#define KV_APPEND_PARAMS(X) X(warps, 1, "warps per block", 1, 4)
#define KV_APPEND_CASES(X)  X(DTYPE_Q8_0)

struct kv_append_case {
	KV_APPEND_FIELDS(PARAM_MEMBER)
};

struct kv_append_config {
	KV_APPEND_PARAMS(PARAM_MEMBER)
};

/* New keys and values k, v (n_kv_heads, n, head_dim) f32 to rows first, first + 1, ... of caches
 * (n_kv_heads, capacity, head_dim) in device layout, where first is `row`, and *position more where
 * there is a position; rows outside the cache are not written. Quants are round(127 x / m) and d is
 * m / 127 with the largest magnitude m of 32 elements, as in ggml; head_dim is a multiple of 32. */
struct kv_append_args {
	const float *k, *v;
	void *k_cache, *v_cache;
	const int *position;
	int row, n, n_kv_heads, head_dim, capacity;
};

#ifndef __CUDACC_RTC__
#ifdef __cplusplus
extern "C"
#endif
        /* How far each of n elements, a multiple of 32, may be from what is stored: half a step of
         * its block, and the rounding of d to f16. */
        void
        kv_append_rounding(const double *x, double *error, int n);
#endif

CONST_FN bool kv_append_legal(struct kv_append_case kase, struct kv_append_config c,
                              struct target target)
{
	(void)kase;
	(void)target;
	return c.warps >= 1;
}

#endif
