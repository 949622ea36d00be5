#ifndef KERNELS_CAUSAL_ATTENTION_H
#define KERNELS_CAUSAL_ATTENTION_H

#include "core/dtype.h"
#include "core/param.h"

/* head_dim 0: the generic instance, for any multiple of 8 up to 256. */
#define CAUSAL_ATTENTION_MAX_HEAD_DIM 256

#define CAUSAL_ATTENTION_FIELDS(X)                                                      \
	X(head_dim, NAMES_NUMBER, "elements per head; 0: any", 0, 64, 128)              \
	X(kv, NAMES_DTYPE, "cache dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q8_0) \
	X(y, NAMES_DTYPE, "dtype that is written", DTYPE_BF16, DTYPE_F32)

#define CAUSAL_ATTENTION_PARAMS(X)                             \
	X(warps, 4, "warps per block", 1, 2, 4, 8)             \
	X(rows, 8, "fma: queries per warp", 1, 2, 4, 8)        \
	X(keys, 32, "keys in shared memory at a time", 32, 64) \
	X(math, 1, "0: fma; 1: tensor cores, where case and device have them", 0, 1)

#define CAUSAL_ATTENTION_CASES_OF(X, dim) \
	X(dim, DTYPE_BF16, DTYPE_BF16)    \
	X(dim, DTYPE_BF16, DTYPE_F32)     \
	X(dim, DTYPE_F16, DTYPE_BF16)     \
	X(dim, DTYPE_F16, DTYPE_F32)      \
	X(dim, DTYPE_F32, DTYPE_BF16)     \
	X(dim, DTYPE_F32, DTYPE_F32)      \
	X(dim, DTYPE_Q8_0, DTYPE_BF16)    \
	X(dim, DTYPE_Q8_0, DTYPE_F32)
#define CAUSAL_ATTENTION_CASES(X)        \
	CAUSAL_ATTENTION_CASES_OF(X, 0)  \
	CAUSAL_ATTENTION_CASES_OF(X, 64) \
	CAUSAL_ATTENTION_CASES_OF(X, 128)

struct causal_attention_case {
	CAUSAL_ATTENTION_FIELDS(PARAM_MEMBER)
};

struct causal_attention_config {
	CAUSAL_ATTENTION_PARAMS(PARAM_MEMBER)
};

/* n tokens at `position` and after it, whose keys and values are in the cache: query heads of token
 * t see keys 0 .. position + t. q (n, n_heads, head_dim) f32; k, v (n_kv_heads, capacity,
 * head_dim) in device layout; out (n, out_stride), of which n_heads head_dim elements are written.
 */
struct causal_attention_args {
	void *out;
	const float *q;
	const void *k, *v;
	float scale; /* 1 / sqrt(head_dim) */
	int position, n, n_heads, n_kv_heads, head_dim, capacity, out_stride;
};

/* Tensor cores take keys and values as bf16, queries and weights as the sum of two (2^-16). */
CONST_FN bool causal_attention_has_mma(struct causal_attention_case kase, struct target target)
{
	return target.lanes == 32 && kase.kv == DTYPE_BF16 && kase.head_dim != 0;
}
CONST_FN bool causal_attention_uses_mma(struct causal_attention_case kase,
                                        struct causal_attention_config c, struct target target)
{
	return c.math == 1 && causal_attention_has_mma(kase, target);
}

/* Queries of a block; a tensor-core instruction takes 16 rows. */
CONST_FN int causal_attention_rows(struct causal_attention_case kase,
                                   struct causal_attention_config c, struct target target)
{
	return c.warps * (causal_attention_uses_mma(kase, c, target) ? 16 : c.rows);
}

/* From one key to the next, in floats, with tensor cores in bf16: lanes that read different keys
 * meet different banks. */
CONST_FN int causal_attention_key_stride(int head_dim)
{
	return head_dim + 4;
}
CONST_FN int causal_attention_mma_stride(int head_dim)
{
	return head_dim + 8;
}

/* Floats of dynamic shared memory: queries, keys, values, and a weight per query and key; with
 * tensor cores, keys and values of two tiles. */
CONST_FN int causal_attention_smem_floats(struct causal_attention_case kase,
                                          struct causal_attention_config c, struct target target,
                                          int head_dim)
{
	return causal_attention_uses_mma(kase, c, target)
	               ? 2 * c.keys * causal_attention_mma_stride(head_dim)
	               : c.warps * c.rows * (head_dim + c.keys) +
	                         c.keys * (causal_attention_key_stride(head_dim) + head_dim);
}

/* A tunable that an instance does not read has its default. */
CONST_FN bool causal_attention_legal(struct causal_attention_case kase,
                                     struct causal_attention_config c, struct target target)
{
	return c.keys % target.lanes == 0 &&
	       (causal_attention_has_mma(kase, target) || c.math == 1) &&
	       (!causal_attention_uses_mma(kase, c, target) || c.rows == 8);
}

#endif
