#ifndef KERNELS_GQA_ATTENTION_H
#define KERNELS_GQA_ATTENTION_H

#include "core/dtype.h"
#include "core/param.h"

/* head_dim 0 and group 0 go together: the generic instance, for any multiple of 8 up to 256 and any
 * group. */
#define GQA_ATTENTION_MAX_HEAD_DIM 256

#define GQA_ATTENTION_FIELDS(X)                                                               \
	X(head_dim, NAMES_NUMBER, "elements per head; 0: any", 0, 64, 128)                    \
	X(group, NAMES_NUMBER, "query heads per key/value head; 0: any", 0, 1, 4, 5, 6, 7, 8) \
	X(kv, NAMES_DTYPE, "cache dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32)

#define GQA_ATTENTION_PARAMS(X)                                                                    \
	X(splits, 32, "blocks that share the keys of a head group", 1, 2, 4, 8, 16, 32, 64, 128)   \
	X(warps, 4, "warps per block", 1, 2, 4, 8)                                                 \
	X(lanes, 16, "lanes that share a key; more than head_dim / 8 mean head_dim / 8", 4, 8, 16, \
	  32)                                                                                      \
	X(unroll, 1, "keys in flight per group of lanes", 1, 2, 4)                                 \
	X(min_blocks, 1, "blocks per multiprocessor the compiler must leave room for", 1, 2)

/* Every Qwen2.5 head shape has its own instance with the default cache dtype. */
// clang-format off
#define GQA_ATTENTION_CASES(X)                                                            \
	X(0, 0, DTYPE_BF16) X(64, 1, DTYPE_BF16) X(64, 4, DTYPE_BF16)                     \
	X(64, 6, DTYPE_BF16) X(64, 7, DTYPE_BF16) X(128, 1, DTYPE_BF16)                   \
	X(128, 4, DTYPE_BF16) X(128, 5, DTYPE_BF16) X(128, 6, DTYPE_BF16)                 \
	X(128, 7, DTYPE_BF16) X(128, 8, DTYPE_BF16)                                       \
	X(0, 0, DTYPE_F16) X(64, 7, DTYPE_F16) X(128, 7, DTYPE_F16)                       \
	X(0, 0, DTYPE_F32) X(64, 7, DTYPE_F32) X(128, 7, DTYPE_F32)
// clang-format on

struct gqa_attention_case {
	GQA_ATTENTION_FIELDS(PARAM_MEMBER)
};

struct gqa_attention_config {
	GQA_ATTENTION_PARAMS(PARAM_MEMBER)
};

#define ATTENTION_TRACE_KEYS 4

/* What a traced instance says about one (query head, split): written by the block that did the
 * work. */
struct attention_split_trace {
	int first_key, keys; /* keys visited, counted one by one */
	float max, sum;      /* of this split: max of scaled scores, sum of exp(score - max) */
	float score[ATTENTION_TRACE_KEYS]; /* scaled scores of its first keys */
};

/* And about one query head: written by the block that combined the splits. */
struct attention_head_trace {
	int position; /* as read from the device */
	int keys;     /* over the splits that were combined */
	int splits;
	float max, sum;
	float weight_sum; /* an extra output whose values are all 1, carried like the others: 1 when
	                     the weights are right */
};

/* One new query per head against a cache; keys 0 .. *position are visible.
 * out, q (n_heads, head_dim) f32; k, v (n_kv_heads, capacity, head_dim). partial (n_heads, splits,
 * head_dim + 4) f32 holds the records of the splits; arrived (n_kv_heads or, generic, n_heads) is 0
 * between launches. Traces (n_heads, splits) and (n_heads) are touched by traced instances only. */
struct gqa_attention_args {
	float *out;
	const float *q;
	const void *k, *v;
	float *partial;
	unsigned *arrived;
	const int *position;
	float scale; /* 1 / sqrt(head_dim) */
	int n_heads, n_kv_heads, head_dim, capacity;
	struct attention_split_trace *split_trace;
	struct attention_head_trace *head_trace;
};

/* A record is what some keys contribute to one query head: head_dim outputs, weighted by 2^(score -
 * max), then max and sum of those weights, an output whose values are all 1, and a count of keys;
 * the last two only when traced. */
#define ATTENTION_RECORD_TAIL 4

/* Floats of dynamic shared memory: `group` scaled queries, a record per warp and query, two weights
 * per record. */
CONST_FN int gqa_attention_smem_floats(int group, int head_dim, int warps, int splits)
{
	return group * (head_dim + warps * (head_dim + ATTENTION_RECORD_TAIL) +
	                2 * (warps > splits ? warps : splits));
}

CONST_FN bool gqa_attention_legal(struct gqa_attention_case kase, struct gqa_attention_config c,
                                  struct target target)
{
	return (kase.head_dim == 0) == (kase.group == 0) &&
	       (target.lanes > 1 ? c.lanes <= target.lanes && (kase.head_dim == 0 || c.lanes <= 16)
	                         : c.lanes == 16 && c.min_blocks == 1);
}

#endif
