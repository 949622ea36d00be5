/* Points of each space that are compiled ahead of time for the host device's tuner and for tests:
 * NAME_SUBSET lists the values of every tunable, and cases K with NAME_WHOLE(K) have all its
 * points, the others the default alone. Not part of the kernels' sources: what is tried does not
 * change what a kernel computes, and no measured row goes stale with it. */
#ifndef KERNELS_SUBSETS_H
#define KERNELS_SUBSETS_H

// clang-format off
#if SIMT_WARP == 1
#define GEMV_SUBSET(X)                                                                      \
	X(math, 0) X(rows, 1, 2, 4) X(lanes, 32) X(slices, 1) X(tiles, 1, 4) X(unroll, 4)   \
	X(held, 0) X(copy, 0) X(cluster, 1)                                                 \
	X(blocks, 4) X(min_blocks, 1) X(trigger, 1) X(early, 1) X(ahead, 0) X(ahead_mb, 4)
#define GQA_ATTENTION_SUBSET(X)                                                             \
	X(splits, 1, 2, 8, 32) X(combiners, 1) X(poll, 0) X(warps, 1, 4) X(lanes, 16) X(unroll, 1, 4) X(min_blocks, 1) \
	X(math, 1) X(copy, 0) X(early, 0) X(stages, 2) X(prefetch, 1) X(trigger, 0)
#define RMS_NORM_SUBSET(X) X(warps, 1, 2, 4, 8) X(unroll, 1, 2, 4, 8) X(blocks, 1, 2)
#else
#define GEMV_SUBSET(X)                                                                        \
	X(math, 0, 1, 2) X(rows, 4, 16) X(lanes, 8, 32) X(slices, 1, 7) X(tiles, 2) X(unroll, 4) \
	X(held, 0, 1) X(copy, 0, 3) X(cluster, 1, 2)                                             \
	X(blocks, 0, 4) X(min_blocks, 1) X(trigger, 1) X(early, 1) X(ahead, 0) X(ahead_mb, 4)
#define GQA_ATTENTION_SUBSET(X)                                                             \
	X(splits, 1, 33) X(combiners, 1) X(poll, 0) X(warps, 1, 4) X(lanes, 8, 16) X(unroll, 1, 2) X(min_blocks, 1)    \
	X(math, 0, 1) X(copy, 0, 1) X(early, 0, 1) X(stages, 2, 3) X(prefetch, 0, 1) X(trigger, 0)
#define RMS_NORM_SUBSET(X) X(warps, 1, 2, 4, 8, 16, 32) X(unroll, 1, 2, 4, 8) X(blocks, 1, 2, 4, 8)
#endif
// clang-format on

/* Every dtype meets every configuration, and every epilogue does: with bf16, and where there are
 * integer products, with a quantised type. */
#define GEMV_WHOLE(K)                                                     \
	((K).w == DTYPE_BF16 || (SIMT_WARP > 1 && (K).w == DTYPE_Q8_0) || \
	 ((K).norm && (K).epilogue == EPILOGUE_SWIGLU))
#define GQA_ATTENTION_WHOLE(K)    ((K).head_dim == 0 || (K).group == 7)
#define RMS_NORM_WHOLE(K)         true
#define ROPE_WHOLE(K)             true
#define KV_APPEND_WHOLE(K)        true
#define EMBED_WHOLE(K)            true
#define ARGMAX_WHOLE(K)           true
#define SAMPLE_WHOLE(K)           true
#define ADVANCE_WHOLE(K)          true
#define STREAM_WHOLE(K)           true
#define MARK_WHOLE(K)             true
#define UNPACK_WHOLE(K)           ((K).y == DTYPE_BF16)
#define NORM_ROWS_WHOLE(K)        true
#define GEMM_WHOLE(K)             ((K).x == DTYPE_BF16)
#define ROPE_ROWS_WHOLE(K)        true
#define SWIGLU_ROWS_WHOLE(K)      true
#define CAUSAL_ATTENTION_WHOLE(K) ((K).head_dim == 64 && (K).kv == DTYPE_BF16)

#define ROPE_SUBSET(X)      X(warps, 1, 2, 4, 8) X(pairs, 1, 2, 4)
#define KV_APPEND_SUBSET(X) X(warps, 1, 4)
#define EMBED_SUBSET(X)     X(warps, 1, 4)
#define ARGMAX_SUBSET(X)    X(warps, 1, 4, 8) X(blocks, 1, 8, 32)
#define SAMPLE_SUBSET(X)    X(warps, 1, 4, 16) X(blocks, 1, 8, 128) X(finishers, SAMPLE_FINISHERS)
#define ADVANCE_SUBSET(X)   X(warps, 1)

/* Every program has these: a ceiling is the best of several. `blocks` is a matter of the grid
 * alone, so that one instance stands for all its values. The host's prefetchers follow one range
 * per worker. */
#ifdef WARPSMITH_CUDA_TABLE
#define STREAM_SUBSET(X) X(warps, 8, 16) X(unroll, 1, 2, 4, 8) X(blocks, 4) X(ranges, 0)
#else
#define STREAM_SUBSET(X) X(warps, 1, 8) X(unroll, 8) X(blocks, 4) X(ranges, 0, 1)
#endif

#define MARK_SUBSET(X) X(warps, 1)

#define UNPACK_SUBSET(X)           X(warps, 1, 4)
#define NORM_ROWS_SUBSET(X)        X(warps, 1, 4)
#define GEMM_SUBSET(X)             X(warps, 1, 4) X(rows, 1, 4) X(tokens, 1, 4)
#define ROPE_ROWS_SUBSET(X)        X(warps, 1, 8)
#define SWIGLU_ROWS_SUBSET(X)      X(warps, 1, 8)
#define CAUSAL_ATTENTION_SUBSET(X) X(warps, 1, 4) X(rows, 1, 8) X(keys, 32, 64) X(math, 0, 1)

#endif
