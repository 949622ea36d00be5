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
	X(kv, NAMES_DTYPE, "cache dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q8_0)

#define GQA_ATTENTION_PARAMS(X)                                                                    \
	X(splits, 64, "blocks that share the keys of a head group, at most", 1, 2, 4, 8, 12, 16,   \
	  24, 32, 33, 48, 64, 66, 99, 132)                                                         \
	X(combiners, 1, "blocks that share the sum over splits: the last to arrive", 1, 2, 4, 8,   \
	  16)                                                                                      \
	X(poll, 0, "mma: records of splits 0: are counted in before they are read, 1: are polled", \
	  0, 1)                                                                                    \
	X(warps, 4, "warps per block", 1, 2, 4, 8)                                                 \
	X(lanes, 16, "fma: lanes that share a key; more than head_dim / 8 mean head_dim / 8", 4,   \
	  8, 16, 32)                                                                               \
	X(unroll, 1, "fma: keys in flight per group of lanes; mma: tiles of 16 keys per step", 1,  \
	  2, 4)                                                                                    \
	X(min_blocks, 1, "blocks per multiprocessor the compiler must leave room for", 1, 2)       \
	X(math, 1, "0: fma; 1: mma, where case and device have it", 0, 1)                          \
	X(copy, 0, "mma: copies of keys 0: by lanes, 1: in bulk, where the device has it", 0, 1)   \
	X(early, 0, "bulk copies: 1: the first are asked for before the position is known", 0, 1)  \
	X(stages, 2, "mma: steps in flight per warp", 1, 2, 3, 4, 6, 8)                            \
	X(prefetch, 1, "mma: 1: older keys are asked for before the dependency wait", 0, 1)        \
	X(trigger, 0,                                                                              \
	  "dependents may start 0: at once, 1: when the first loads are out, 2: when all are in",  \
	  0, 1, 2)

enum { COPY_LANES, COPY_BULK };

#define GQA_ATTENTION_STEP_PARAMS 2 /* the last: they matter in a whole step alone */

/* Every Qwen2.5 head shape has its own instance with the default cache dtype. */
// clang-format off
#define GQA_ATTENTION_CASES(X)                                                            \
	X(0, 0, DTYPE_BF16) X(64, 1, DTYPE_BF16) X(64, 4, DTYPE_BF16)                     \
	X(64, 6, DTYPE_BF16) X(64, 7, DTYPE_BF16) X(128, 1, DTYPE_BF16)                   \
	X(128, 4, DTYPE_BF16) X(128, 5, DTYPE_BF16) X(128, 6, DTYPE_BF16)                 \
	X(128, 7, DTYPE_BF16) X(128, 8, DTYPE_BF16)                                       \
	X(0, 0, DTYPE_F16) X(64, 7, DTYPE_F16) X(128, 7, DTYPE_F16)                       \
	X(0, 0, DTYPE_F32) X(64, 7, DTYPE_F32) X(128, 7, DTYPE_F32)                       \
	X(0, 0, DTYPE_Q8_0) X(64, 6, DTYPE_Q8_0) X(64, 7, DTYPE_Q8_0)                     \
	X(128, 5, DTYPE_Q8_0) X(128, 6, DTYPE_Q8_0) X(128, 7, DTYPE_Q8_0)                 \
	X(128, 8, DTYPE_Q8_0)
// clang-format on

struct gqa_attention_case {
	GQA_ATTENTION_FIELDS(PARAM_MEMBER)
};

struct gqa_attention_config {
	GQA_ATTENTION_PARAMS(PARAM_MEMBER)
};

#define ATTENTION_TRACE_KEYS 4

/* Runs of `run` neighbouring keys go to the splits in turn. Key number i of a split: */
CONST_FN int attention_key_of(int i, int split, int n_splits, int run)
{
	return (i / run * n_splits + split) * run + i % run;
}

/* What a traced instance says about one (query head, split): written by the block that did the
 * work. */
struct attention_split_trace {
	int first_key, keys; /* keys visited, counted one by one */
	float max, sum;      /* of this split: max of scaled scores, sum of exp(score - max) */
	float score[ATTENTION_TRACE_KEYS]; /* scaled scores of its first keys, as far as it has them
	                                    */
};

/* And about one query head: written by the block that combined the splits. */
struct attention_head_trace {
	int position; /* as read from the device */
	int keys;     /* over the splits that were combined */
	int splits;
	int run; /* neighbouring keys of a split */
	float max, sum;
	float weight_sum; /* an extra output whose values are all 1, carried like the others: 1 when
	                     the weights are right */
};

/* What a split posts to the block that sums: four outputs, then max and sum of the weights, 0 where
 * nothing is posted. A word of it that would be 0 is posted as -0, so that every word says by
 * itself whether it is there. */
#define ATTENTION_POSTED 8 /* floats */

/* One new query per head against a cache; keys 0 .. *position are visible.
 * out, q (n_heads, head_dim) f32; k, v (n_kv_heads, capacity, head_dim) in device layout, with q8_0
 * a multiple of 32 to a head. partial (n_heads, splits,
 * head_dim + 4) f32 holds the records of the splits; arrived (n_kv_heads
 * or, generic, n_heads) is 0 between launches, as is posted (n_heads, splits, head_dim / 4, 8) f32,
 * which has the records of instances that poll. Traces (n_heads, splits) and (n_heads) are touched
 * by traced instances only. */
struct gqa_attention_args {
	float *out;
	const float *q;
	const void *k, *v;
	float *partial, *posted;
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

/* Keys of one tensor-core instruction. */
#define ATTENTION_TILE 16

/* What tensor cores can do: groups are rows of a tile of 8, keys and values its bf16 factors. */
CONST_FN bool gqa_attention_has_mma(struct gqa_attention_case kase, struct target target)
{
	return target.lanes == 32 && kase.kv == DTYPE_BF16 &&
	       (kase.head_dim == 64 || kase.head_dim == 128) && kase.group <= 8;
}

CONST_FN bool gqa_attention_uses_mma(struct gqa_attention_case kase, struct gqa_attention_config c,
                                     struct target target)
{
	return c.math == 1 && gqa_attention_has_mma(kase, target);
}

CONST_FN bool gqa_attention_has_bulk(struct target target)
{
	return target.sm == 0 || target.sm >= 90;
}

/* Rows of head_dim floats of dynamic shared memory while keys are visited: copies in flight (mma),
 * or the scaled queries (fma). */
CONST_FN int gqa_attention_gather_rows(struct gqa_attention_case kase,
                                       struct gqa_attention_config c, struct target target)
{
	return gqa_attention_uses_mma(kase, c, target)
	               ? c.warps * c.stages * c.unroll * ATTENTION_TILE
	               : (kase.group ? kase.group : 1);
}

/* Floats in all: behind those rows, a record per warp and query head. */
CONST_FN int gqa_attention_smem_floats(struct gqa_attention_case kase,
                                       struct gqa_attention_config c, struct target target,
                                       int head_dim)
{
	return gqa_attention_gather_rows(kase, c, target) * head_dim +
	       c.warps * (kase.group ? kase.group : 1) * (head_dim + ATTENTION_RECORD_TAIL);
}

/* A tunable that an instance does not read has its default, so that no two are the same; `prefetch`
 * without mma is such a one, and `math` where there is no choice. Several combiners wait for the
 * last block, and who polls for all, which the host may not have started. */
CONST_FN bool gqa_attention_legal(struct gqa_attention_case kase, struct gqa_attention_config c,
                                  struct target target)
{
	if ((kase.head_dim == 0) != (kase.group == 0))
		return false;
	if (c.combiners > c.splits || (target.sm == 0 && (c.combiners > 1 || c.poll)) ||
	    (c.poll && c.splits == 1))
		return false;
	if (gqa_attention_uses_mma(kase, c, target))
		return c.lanes == 16 && c.early <= c.copy &&
		       (c.copy == COPY_LANES || gqa_attention_has_bulk(target));
	if (c.poll || c.copy != COPY_LANES || c.early || c.stages != 2 || c.prefetch != 1 ||
	    c.math != !gqa_attention_has_mma(kase, target))
		return false;
	return target.lanes > 1 ? c.lanes <= target.lanes && (kase.head_dim == 0 || c.lanes <= 16)
	                        : c.lanes == 16 && c.min_blocks == 1 && c.trigger == 0;
}

#endif
