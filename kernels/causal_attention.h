#ifndef KERNELS_CAUSAL_ATTENTION_H
#define KERNELS_CAUSAL_ATTENTION_H

#include "core/dtype.h"
#include "core/param.h"

/* head_dim 0: the generic instance, for any multiple of 8 up to 256. */
#define CAUSAL_ATTENTION_MAX_HEAD_DIM 256

#define CAUSAL_ATTENTION_FIELDS(X)                                          \
	X(head_dim, NAMES_NUMBER, "elements per head; 0: any", 0, 64, 128)  \
	X(kv, NAMES_DTYPE, "cache dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32) \
	X(y, NAMES_DTYPE, "dtype that is written", DTYPE_BF16, DTYPE_F32)

#define CAUSAL_ATTENTION_PARAMS(X)                 \
	X(warps, 4, "warps per block", 1, 2, 4, 8) \
	X(rows, 8, "queries per warp", 1, 2, 4, 8) \
	X(keys, 32, "keys in shared memory at a time", 32, 64)

#define CAUSAL_ATTENTION_CASES_OF(X, dim) \
	X(dim, DTYPE_BF16, DTYPE_BF16)    \
	X(dim, DTYPE_BF16, DTYPE_F32)     \
	X(dim, DTYPE_F16, DTYPE_BF16)     \
	X(dim, DTYPE_F16, DTYPE_F32) X(dim, DTYPE_F32, DTYPE_BF16) X(dim, DTYPE_F32, DTYPE_F32)
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
 * head_dim); out (n, out_stride), of which n_heads head_dim elements are written. */
struct causal_attention_args {
	void *out;
	const float *q;
	const void *k, *v;
	float scale; /* 1 / sqrt(head_dim) */
	int position, n, n_heads, n_kv_heads, head_dim, capacity, out_stride;
};

/* Floats from one key to the next: lanes that read different keys meet different banks. */
CONST_FN int causal_attention_key_stride(int head_dim)
{
	return head_dim + 4;
}

/* Floats of dynamic shared memory: queries, keys, values, and a weight per query and key. */
CONST_FN int causal_attention_smem_floats(struct causal_attention_config c, int head_dim)
{
	return c.warps * c.rows * (head_dim + c.keys) +
	       c.keys * (causal_attention_key_stride(head_dim) + head_dim);
}

CONST_FN bool causal_attention_legal(struct causal_attention_case kase,
                                     struct causal_attention_config c, struct target target)
{
	(void)kase;
	return c.keys % target.lanes == 0;
}

#endif
