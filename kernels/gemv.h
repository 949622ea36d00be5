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
	EPILOGUE_QKV, /* rows are those of query, key and value heads; in query and key heads they
	               * alternate i, i + head_dim / 2: y = RoPE(Wx + bias) of query heads, key and
	               * value heads go to row *position of their caches */
	EPILOGUE_ARGMAX, /* y = Wx; *best becomes the largest key of y, see kernels/argmax_key.h */
};

enum gemv_math {
	GEMV_FMA, /* f32 products in the lanes */
	GEMV_MMA, /* tensor cores: bf16 weights as they are, x as the sum of two bf16 (2^-17) */
	GEMV_INT, /* integer products of quants with x in blocks of 32 of 16-bit integers, each two
	           * signed bytes: x errs by GEMV_INT_ROUNDING of the block's largest */
};

/* 16 bits in two signed bytes: 127 * 256 + 127. */
#define GEMV_INT_LARGEST  32639
#define GEMV_INT_ROUNDING (0.5 / GEMV_INT_LARGEST)

#define GEMV_FIELDS(X)                                                                        \
	X(w, NAMES_DTYPE, "weight dtype", DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q4_0,       \
	  DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K) \
	X(x, NAMES_DTYPE, "activation dtype, in and out", DTYPE_F32, DTYPE_BF16)              \
	X(norm, NAMES_NUMBER, "1: x is rms-normalised first", 0, 1)                           \
	X(epilogue, NAMES_EPILOGUE, "what follows the product", EPILOGUE_NONE, EPILOGUE_BIAS, \
	  EPILOGUE_RESIDUAL, EPILOGUE_SWIGLU, EPILOGUE_QKV, EPILOGUE_ARGMAX)

#define GEMV_PARAMS(X)                                                                             \
	X(math, GEMV_FMA, "0: f32 products in the lanes, 1: tensor cores, 2: integer products",    \
	  GEMV_FMA, GEMV_MMA, GEMV_INT)                                                            \
	X(rows, 2, "rows per group of lanes; of a tile with tensor cores", 1, 2, 4, 8, 16)         \
	X(lanes, 32, "lanes that share a row; 32 with tensor cores", 8, 16, 32)                    \
	X(slices, 1, "warps that share the columns of a tile", 1, 2, 4, 7, 8, 14, 16)              \
	X(tiles, 4, "tiles that a block works on at a time", 1, 2, 3, 4, 5, 8)                     \
	X(unroll, 4, "steps whose weights are in flight", 1, 2, 3, 4, 5, 7, 8)                     \
	X(held, 0, "x is 0: in shared memory, 1: in registers, of a slice of `unroll` steps", 0,   \
	  1)                                                                                       \
	X(copy, 0,                                                                                 \
	  "weights come 0: into registers, else: in bulk into shared memory, where the device "    \
	  "has it, so many turns of `unroll` steps in flight per warp",                            \
	  0, 2, 3, 4, 6)                                                                           \
	X(cluster, 1,                                                                              \
	  "blocks that share their rows, each with its part of the columns, where the device "     \
	  "has clusters",                                                                          \
	  1, 2, 4, 8)                                                                              \
	X(blocks, 4, "blocks per multiprocessor, which share all rows; 0: one per `tiles`", 0, 1,  \
	  2, 3, 4, 8)                                                                              \
	X(min_blocks, 1, "blocks per multiprocessor the compiler must leave room for", 1, 2, 4)    \
	X(trigger, 1,                                                                              \
	  "the next launch may start: 0 at once, 1 when loads are issued, 2 before the epilogue",  \
	  1, 0, 2)                                                                                 \
	X(early, 1,                                                                                \
	  "KB of a block's weights requested before the wait: 0 none, 1 what is in flight, more: " \
	  "also into L2",                                                                          \
	  1, 0, 32, 64, 128)                                                                       \
	X(ahead, 0,                                                                                \
	  "a later product of the step whose weights are requested into L2: how many products "    \
	  "later; 0: none",                                                                        \
	  0, 1, 2, 3)                                                                              \
	X(ahead_mb, 4, "MB of them at most", 1, 2, 4, 8, 16, 32)
#define GEMV_STEP_PARAMS 4 /* the last: they matter in a whole step alone */

/* Cases with a default instance in every program: X(w, x, norm, epilogue). */
#define GEMV_CASES_OF(X, w)                   \
	X(w, DTYPE_F32, 0, EPILOGUE_NONE)     \
	X(w, DTYPE_F32, 0, EPILOGUE_BIAS)     \
	X(w, DTYPE_F32, 0, EPILOGUE_RESIDUAL) \
	X(w, DTYPE_F32, 0, EPILOGUE_SWIGLU)   \
	X(w, DTYPE_F32, 1, EPILOGUE_SWIGLU)   \
	X(w, DTYPE_F32, 1, EPILOGUE_QKV)      \
	X(w, DTYPE_F32, 1, EPILOGUE_ARGMAX)
#define GEMV_CASES(X)                \
	GEMV_CASES_OF(X, DTYPE_BF16) \
	GEMV_CASES_OF(X, DTYPE_F16)  \
	GEMV_CASES_OF(X, DTYPE_F32)  \
	GEMV_CASES_OF(X, DTYPE_Q4_0) \
	GEMV_CASES_OF(X, DTYPE_Q4_1) \
	GEMV_CASES_OF(X, DTYPE_Q5_0) \
	GEMV_CASES_OF(X, DTYPE_Q5_1) \
	GEMV_CASES_OF(X, DTYPE_Q8_0) \
	GEMV_CASES_OF(X, DTYPE_Q4_K) \
	GEMV_CASES_OF(X, DTYPE_Q5_K) \
	GEMV_CASES_OF(X, DTYPE_Q6_K) \
	X(DTYPE_BF16, DTYPE_BF16, 0, EPILOGUE_NONE)

struct gemv_case {
	GEMV_FIELDS(PARAM_MEMBER)
};

struct gemv_config {
	GEMV_PARAMS(PARAM_MEMBER)
};

/* w (m, k) row-major in device layout, whose second plane begins at `scale`; it is read up to the
 * next multiple of 16 bytes behind its end. x (k); k is a multiple of 32 and of w's block. norm (k)
 * f32 and eps of the rms_norm over the first n_norm of x, 0 beyond. bias (m) f32, in the order of
 * the rows, in EPILOGUE_QKV that of the whole or NULL; residual (m) in the activation dtype, may
 * alias y. EPILOGUE_QKV: w has rows first_row .. of the whole; caches (n_kv_heads, capacity,
 * head_dim) of dtype `kv`, or (n_kv_heads, head_dim) when they take the newest row only; turns
 * (head_dim / 2) and position as of rope; a position outside the cache writes nothing. `ahead`:
 * ahead_bytes of weights for a later launch, requested into L2. */
struct gemv_args {
	void *y;
	const void *w, *scale, *x;
	const float *norm, *bias;
	const void *residual;
	float eps;
	int m, k, n_norm;
	const unsigned long long *turns;
	const int *position;
	void *k_cache, *v_cache;
	int first_row, n_heads, n_kv_heads, head_dim, capacity, kv;
	bool newest_only;
	unsigned long long *best;
	const void *ahead;
	unsigned long long ahead_bytes;
};

/* Lanes that share a row, rows of a warp's tile, and columns that a warp takes per step: with
 * tensor cores a tile has 16 rows, or fewer and a segment of the columns for each 16 / rows of the
 * lanes. */
CONST_FN int gemv_lanes(struct gemv_config c, int warp)
{
	return c.lanes < warp ? c.lanes : warp;
}
CONST_FN int gemv_tile_rows(struct gemv_config c, int warp)
{
	return c.math == GEMV_MMA ? c.rows : warp / gemv_lanes(c, warp) * c.rows;
}
CONST_FN int gemv_step(struct gemv_case kase, struct gemv_config c, int warp)
{
	return c.math == GEMV_MMA ? 32 * (16 / c.rows) : gemv_lanes(c, warp) * dtype_chunk(kase.w);
}

/* Rows of a block where there is one block per `tiles`: an even number, since two may be a pair. */
CONST_FN int gemv_fixed_rows(struct gemv_config c, int warp)
{
	return (gemv_tile_rows(c, warp) * c.tiles + 1) / 2 * 2;
}

/* Clusters of the grid, each of one block or more, else: rows are dealt out in pairs, as evenly as
 * possible. With a block to a multiprocessor `at_once` of them run. */
CONST_FN int gemv_clusters(struct gemv_config c, int m, int at_once, int warp)
{
	const int pairs = (m + 1) / 2, rows = gemv_fixed_rows(c, warp);
	const int wanted = c.blocks ? c.blocks * at_once : (m + rows - 1) / rows;
	return wanted < pairs ? wanted : pairs;
}

/* Steps of the longest slice of a row. */
CONST_FN int gemv_slice_steps(struct gemv_case kase, struct gemv_config c, int k, int warp)
{
	const int step = gemv_step(kase, c, warp), steps = (k + step - 1) / step;
	const int slices = c.slices * c.cluster;
	return (steps + slices - 1) / slices;
}

/* Columns of a block, of which there are `cluster` to a row, to whole steps. */
CONST_FN int gemv_padded(int step, int cluster, int k)
{
	const int steps = (k + step - 1) / step;
	return (steps + cluster - 1) / cluster * step;
}
/* Blocks of 32 with GEMV_INT, so many that parts of a block that are this far apart lie in
 * different banks. A block takes 64 bytes of quants, scale and sums 16. */
CONST_FN int gemv_x_blocks(int padded_k)
{
	const int n = padded_k / 32;
	return n + (12 - n % 8) % 8;
}
/* Floats of shared memory that x takes. */
CONST_FN int gemv_x_floats(bool held, bool integer, int padded_k)
{
	return held ? 0 : integer ? 20 * gemv_x_blocks(padded_k) : padded_k;
}
/* Rows of the largest cluster where they are dealt out. */
CONST_FN int gemv_largest_share(int m, int clusters)
{
	return 2 * (((m + 1) / 2 + clusters - 1) / clusters);
}

/* Whether the device copies in bulk, and has clusters. */
CONST_FN bool gemv_is_hopper(struct target target)
{
	return target.lanes == 32 && (target.sm == 0 || target.sm >= 90);
}

/* Whether a copy of a plane finds its first byte at a multiple of 16. A block of the others may
 * begin anywhere: they are copied with what shares 16 bytes with them. */
CONST_FN bool gemv_is_aligned(int dtype, int plane)
{
	return plane == 0 || dtype_layout_of(dtype).plane[plane] % 16 == 0;
}
/* Bytes of shared memory for one plane of so many columns of a row. */
CONST_FN int gemv_piece_bytes(int dtype, int plane, int columns)
{
	const struct dtype_layout l = dtype_layout_of(dtype);
	const int bytes = columns / l.block * l.plane[plane];
	return gemv_is_aligned(dtype, plane) ? bytes : (bytes + 15) / 16 * 16 + 16;
}
/* Of a stage, which is `unroll` steps of a tile. */
CONST_FN int gemv_stage_bytes(struct gemv_case kase, struct gemv_config c, int warp)
{
	const int columns = c.unroll * gemv_step(kase, c, warp);
	return gemv_tile_rows(c, warp) *
	       (gemv_piece_bytes(kase.w, 0, columns) + gemv_piece_bytes(kase.w, 1, columns) +
	        gemv_piece_bytes(kase.w, 2, columns) + gemv_piece_bytes(kase.w, 3, columns));
}
/* Floats of a block's stages. */
CONST_FN int gemv_ring_floats(struct gemv_case kase, struct gemv_config c, int warp)
{
	return c.copy ? c.slices * c.tiles * c.copy * (gemv_stage_bytes(kase, c, warp) / 4) : 0;
}

/* Floats of dynamic shared memory: weights in flight; x; a sum per slice and row; a sum of squares
 * per warp. */
CONST_FN int gemv_smem_floats(struct gemv_case kase, struct gemv_config c, int m, int k,
                              int clusters, int warp)
{
	const int rows = c.blocks ? gemv_largest_share(m, clusters) : gemv_fixed_rows(c, warp);
	const int padded = gemv_padded(gemv_step(kase, c, warp), c.cluster, k);
	return gemv_ring_floats(kase, c, warp) + gemv_x_floats(c.held, c.math == GEMV_INT, padded) +
	       c.slices * rows + c.slices * c.tiles;
}

/* Bulk copies pay when they are long, at least 1 KB of a row, when a block has some 16 KB in
 * flight, and when the blocks that share a multiprocessor find room there. */
CONST_FN bool gemv_copy_legal(struct gemv_case kase, struct gemv_config c, struct target target)
{
	const int blocks = c.blocks > c.min_blocks ? c.blocks : c.min_blocks;
	const int ring_bytes = 4 * gemv_ring_floats(kase, c, target.lanes);
	return c.copy == 0 ||
	       (gemv_is_hopper(target) && c.math != GEMV_MMA && c.unroll * c.lanes >= 64 &&
	        ring_bytes >= 16 << 10 && blocks * ring_bytes <= 216 << 10);
}

/* A vector of f32 weights is too short for one of bf16 activations. One lane per warp makes every
 * value of `lanes` and `unroll` the same instance, and a device without dependent launches every
 * one of `trigger`, `early` and `ahead`: the default stands for all. At most 16 loads of 16 bytes
 * are in flight per lane. x that a lane holds takes 64 registers, or as integers about 80. */
CONST_FN bool gemv_legal(struct gemv_case kase, struct gemv_config c, struct target target)
{
	const bool mma = c.math == GEMV_MMA;
	const bool dependent = target.sm >= 90;
	return (target.lanes > 1 ? c.lanes <= target.lanes
	                         : c.lanes == 32 && c.unroll == 4 && c.min_blocks == 1) &&
	       (kase.w != DTYPE_F32 || kase.x == DTYPE_F32) && c.slices * c.tiles <= 16 &&
	       c.slices * c.tiles * c.min_blocks <= 32 &&
	       (c.blocks == 0 || c.blocks >= c.min_blocks) &&
	       (!c.held || (!mma && target.lanes == 32 &&
	                    c.unroll * dtype_chunk(kase.w) <= (c.math == GEMV_INT ? 128 : 64))) &&
	       (c.math != GEMV_INT || (dtype_layout_of(kase.w).block > 1 && target.lanes == 32)) &&
	       (mma ? kase.w == DTYPE_BF16 && target.lanes == 32 && c.lanes == 32 && c.rows >= 4 &&
	                        c.unroll * 2 <= 16
	            : c.rows <= 8 && c.unroll * c.rows <= 16) &&
	       gemv_copy_legal(kase, c, target) &&
	       (c.cluster == 1 || (gemv_is_hopper(target) && c.early <= 1)) &&
	       (dependent || (c.trigger == 1 && c.early == 1 && c.ahead == 0)) &&
	       (c.ahead || c.ahead_mb == 4);
}

#endif
