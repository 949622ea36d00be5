#ifndef KERNELS_ROPE_H
#define KERNELS_ROPE_H

#include "core/dtype.h"
#include "core/param.h"

#define ROPE_FIELDS(X)                                                      \
	X(kv, NAMES_DTYPE, "cache dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32) \
	X(append, NAMES_NUMBER,                                             \
	  "1: q and k with rows in pairs, k and v to the cache; 0: in place", 0, 1)

#define ROPE_PARAMS(X)                             \
	X(warps, 2, "warps per block", 1, 2, 4, 8) \
	X(pairs, 1, "rotated pairs per lane", 1, 2, 4)

#define ROPE_CASES(X)    \
	X(DTYPE_BF16, 1) \
	X(DTYPE_F16, 1)  \
	X(DTYPE_F32, 1)  \
	X(DTYPE_F32, 0)

struct rope_case {
	ROPE_FIELDS(PARAM_MEMBER)
};

struct rope_config {
	ROPE_PARAMS(PARAM_MEMBER)
};

/* NeoX rotation: element i of a head pairs with i + head_dim / 2, angle = position * turns[i] *
 * 2^-64 turns. The product of integers wraps exactly, so the angle is right at any position. q
 * (n_heads, head_dim), k and v (n_kv_heads, head_dim) f32; without appending q and k are rotated in
 * place. Appending takes q and k in an order in which i and i + head_dim / 2 are neighbours, writes
 * q to q_out, and k and v to row *position of the caches (n_kv_heads, capacity, head_dim), or to
 * caches (n_kv_heads, head_dim) when they take the newest row only; a position outside the cache
 * writes nothing. */
struct rope_args {
	const unsigned long long *turns; /* (head_dim / 2) */
	const int *position;
	float *q, *k;
	const float *v;
	int n_heads, head_dim; /* so far what a launch asks for first */
	float *q_out;
	void *k_cache, *v_cache;
	int capacity;
	bool newest_only;
};

#ifndef __CUDACC_RTC__
#ifdef __cplusplus
extern "C"
#endif
        /* turns (head_dim / 2): theta^(-2 i / head_dim) / (2 pi) in units of 2^-64, rounded. */
        void
        rope_turns(double theta, int head_dim, unsigned long long *turns);
#endif

CONST_FN bool rope_legal(struct rope_case kase, struct rope_config c, struct target target)
{
	(void)kase;
	(void)target;
	return c.warps >= 1;
}

#endif
