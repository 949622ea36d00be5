#ifndef KERNELS_ROPE_ROWS_H
#define KERNELS_ROPE_ROWS_H

#include "core/dtype.h"
#include "core/param.h"

#define ROPE_ROWS_FIELDS(X) X(kv, NAMES_DTYPE, "cache dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32)

#define ROPE_ROWS_PARAMS(X) X(warps, 8, "warps per block", 1, 4, 8)

#define ROPE_ROWS_CASES(X) X(DTYPE_BF16) X(DTYPE_F16) X(DTYPE_F32)

struct rope_rows_case {
	ROPE_ROWS_FIELDS(PARAM_MEMBER)
};

struct rope_rows_config {
	ROPE_ROWS_PARAMS(PARAM_MEMBER)
};

/* The end of the QKV product of n tokens at `position` and after it, EPILOGUE_QKV of
 * kernels/gemv.h by rows: qkv (n, width) f32 has query, key and value heads, of which the former
 * two alternate i, i + head_dim / 2; bias (width) in the same order or NULL. q (n, n_heads,
 * head_dim) f32; caches (n_kv_heads, capacity, head_dim), of which rows `row` and after it are
 * written, all inside.
 * turns as of kernels/rope.h. */
struct rope_rows_args {
	float *q;
	const float *qkv, *bias;
	void *k_cache, *v_cache;
	const unsigned long long *turns;
	int position, row, n, n_heads, n_kv_heads, head_dim, capacity;
};

CONST_FN bool rope_rows_legal(struct rope_rows_case kase, struct rope_rows_config c,
                              struct target target)
{
	(void)kase;
	(void)target;
	return c.warps >= 1;
}

#endif
