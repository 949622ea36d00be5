#ifndef KERNELS_STREAM_H
#define KERNELS_STREAM_H

#include "core/dtype.h"
#include "core/param.h"

#define STREAM_FIELDS(X) X(copy, NAMES_NUMBER, "1: writes what it reads; 0: reads alone", 0, 1)

#define STREAM_PARAMS(X)                                                 \
	X(warps, 8, "warps per block", 1, 4, 8, 16, 32)                  \
	X(unroll, 8, "16-byte loads in flight per lane", 1, 2, 4, 8, 16) \
	X(blocks, 4, "blocks per multiprocessor", 1, 2, 4, 8, 16)        \
	X(ranges, 0, "1: each block reads one range; 0: blocks take tiles by turns", 0, 1)

#define STREAM_CASES(X) X(0) X(1)

struct stream_case {
	STREAM_FIELDS(PARAM_MEMBER)
};

struct stream_config {
	STREAM_PARAMS(PARAM_MEMBER)
};

#define STREAM_WORD_BYTES  16   /* of args.n */
#define STREAM_SHAPE_BYTES 1024 /* of shape.m */

/* Distance of two sums, in words: a memory sector each. */
#define STREAM_SUM_STRIDE 8

/* x and y (n) 16-byte words. Reading adds up all 32-bit words, modulo 2^32: each warp adds its part
 * to one of sum_mask + 1 sums (a power of two), so that warps need not queue for one of them. */
struct stream_args {
	const void *x;
	void *y;
	unsigned *sum;
	unsigned sum_mask;
	unsigned long long n;
};

/* A block beyond what a multiprocessor holds would start late and make it wait. The same on all
 * targets: nvcc compiles the host's half of a program without one, and both halves must have the
 * same instances. */
CONST_FN bool stream_legal(struct stream_case kase, struct stream_config c, struct target target)
{
	(void)kase;
	(void)target;
	return c.warps * c.blocks <= 64;
}

#endif
