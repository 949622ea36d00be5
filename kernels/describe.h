/* What the descriptions of kernels (NAME.c) share. */
#ifndef KERNELS_DESCRIBE_H
#define KERNELS_DESCRIBE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel.h"

/* A config or case array as its struct, and the tables of its parameters. */
#define AS(type, values) ((const struct type *)(const void *)(values))
#define LENGTH(array)    (int)(sizeof(array) / sizeof((array)[0]))

/* Half the distance between neighbouring floats around 1: the largest relative error of rounding.
 */
#define F32_ROUNDING  0x1p-24
#define F16_ROUNDING  0x1p-11
#define BF16_ROUNDING 0x1p-8
/* Rounding errors of a long sum are as good as random: none is allowed to be this many standard
 * deviations off. */
#define DEVIATIONS 8.0

static inline unsigned div_up(size_t n, size_t by)
{
	return (unsigned)((n + by - 1) / by);
}

/* The largest error of storing v. */
static inline double store_rounding(int dtype, double v)
{
	return fabs(v) * (dtype == DTYPE_BF16  ? BF16_ROUNDING
	                  : dtype == DTYPE_F16 ? F16_ROUNDING
	                                       : F32_ROUNDING);
}

/* The standard deviation, at most, of an f32 sum of n products whose exact value is `sum` and whose
 * squares sum to `squares`: each of n additions rounds a partial sum, which is no larger than the
 * result and a random walk. */
static inline double sum_deviation(size_t n, double sum, double squares)
{
	return F32_ROUNDING * sqrt((double)n) * (fabs(sum) + 2 * sqrt(squares));
}

/* Elements first .. first + n - 1 of a buffer of `count` elements in device layout, all multiples
 * of the block. */
static inline void decode(int dtype, const void *data, size_t count, size_t first, float *to,
                          size_t n)
{
	dtype_planes_to_f32(dtype, data, count, first, n, to);
}

/* Buffer b of a problem as floats. The caller frees; NULL without memory. */
static inline float *decode_all(int dtype, const void *data, size_t count)
{
	float *all = malloc((count ? count : 1) * sizeof *all);
	if (all)
		decode(dtype, data, count, 0, all, count);
	return all;
}

/* One positive number, "896". */
static inline enum status parse_count(const char *text, const char *what, int *value)
{
	char *end;
	const long n = strtol(text, &end, 10);
	if (end == text || *end || n < 1 || n > 1 << 28)
		return fail(STATUS_USAGE, "%s '%s': expected a number such as 896", what, text);
	*value = (int)n;
	return STATUS_OK;
}

/* Elements of a matrix (m, k), and the grid with a block for each of its rows. */
static inline size_t matrix_count(const struct shape *shape)
{
	return (size_t)shape->m * (size_t)shape->k;
}
static inline struct grid grid_of_rows(const struct shape *shape, int warps,
                                       const struct device_info *info)
{
	return (struct grid){
	        .x = (unsigned)shape->m, .y = 1, .threads = (unsigned)(warps * info->target.lanes)};
}

/* parse_shape() and format_shape() of a kernel whose shape is one number, `what`: "embed shape". */
#define SHAPE_IS_A_COUNT(what)                                                \
	static enum status parse_shape(const char *text, struct shape *shape) \
	{                                                                     \
		*shape = (struct shape){0};                                   \
		return parse_count(text, what, &shape->m);                    \
	}                                                                     \
	static void format_shape(const struct shape *shape, char text[64])    \
	{                                                                     \
		snprintf(text, 64, "%d", shape->m);                           \
	}

/* The same of a kernel whose shape is a matrix, "512x896", k a multiple of 8. */
#define SHAPE_IS_A_MATRIX(kernel)                                                               \
	static enum status parse_shape(const char *text, struct shape *shape)                   \
	{                                                                                       \
		char end;                                                                       \
		*shape = (struct shape){0};                                                     \
		if (sscanf(text, "%dx%d%c", &shape->m, &shape->k, &end) != 2 || shape->m < 1 || \
		    shape->k < 8 || shape->k % 8)                                               \
			return fail(STATUS_USAGE,                                               \
			            kernel " shape '%s': expected ROWSxK such as 512x896, K a " \
			                   "multiple of 8",                                     \
			            text);                                                      \
		return STATUS_OK;                                                               \
	}                                                                                       \
	static void format_shape(const struct shape *shape, char text[64])                      \
	{                                                                                       \
		snprintf(text, 64, "%dx%d", shape->m, shape->k);                                \
	}

/* The same of a kernel whose shape is heads and tokens, "14/2/64@512". */
#define SHAPE_IS_HEADS(kernel)                                                                 \
	static enum status parse_shape(const char *text, struct shape *shape)                  \
	{                                                                                      \
		char end;                                                                      \
		*shape = (struct shape){0};                                                    \
		if (sscanf(text, "%d/%d/%d@%d%c", &shape->m, &shape->k, &shape->head_dim,      \
		           &shape->len, &end) != 4 ||                                          \
		    shape->m < 1 || shape->k < 1 || shape->m % shape->k || shape->len < 1 ||   \
		    shape->head_dim < 8 || shape->head_dim % 8 || shape->head_dim > 256)       \
			return fail(STATUS_USAGE,                                              \
			            kernel                                                     \
			            " shape '%s': expected heads/kv-heads/head_dim@tokens "    \
			            "such as 14/2/64@512, head_dim a multiple of 8 up to 256", \
			            text);                                                     \
		return STATUS_OK;                                                              \
	}                                                                                      \
	static void format_shape(const struct shape *shape, char text[64])                     \
	{                                                                                      \
		snprintf(text, 64, "%d/%d/%d@%d", shape->m, shape->k, shape->head_dim,         \
		         shape->len);                                                          \
	}

#endif
