#ifndef KERNELS_SAMPLE_H
#define KERNELS_SAMPLE_H

#include "core/dtype.h"
#include "core/param.h"
#include "kernels/philox.h"

#define SAMPLE_FIELDS(X)                            \
	X(x, NAMES_DTYPE, "input dtype", DTYPE_F32) \
	X(cut, NAMES_NUMBER, "1: top-k and top-p may leave tokens out", 0, 1)
#define SAMPLE_PARAMS(X)                                                                          \
	X(warps, 16, "warps per block", 1, 4, 8, 16, 32)                                          \
	X(blocks, 128, "blocks that weigh the tokens, at most", 1, 8, 32, 64, 128)                \
	X(finishers, SAMPLE_FINISHERS, "GPU: blocks that list candidates, the last to arrive", 1, \
	  4, 8, 16, 32)
#define SAMPLE_CASES(X)  X(DTYPE_F32, 0) X(DTYPE_F32, 1)
#define SAMPLE_FINISHERS 16

struct sample_case {
	SAMPLE_FIELDS(PARAM_MEMBER)
};

struct sample_config {
	SAMPLE_PARAMS(PARAM_MEMBER)
};

/* A token's weight is 2^exponent, exponent = (logit - largest) scale, as an integer in units of
 * 2^-SAMPLE_UNIT: sums of integers do not depend on their order, so that every device and
 * configuration draws the same token from the same logits. Bins of equal exponents part the tokens;
 * whatever is in the last one weighs nothing. */
enum {
	SAMPLE_UNIT = 40,
	SAMPLE_BINS = 256,
	SAMPLE_COUNTERS = SAMPLE_BINS + 3,
	SAMPLE_MAX_N = 1 << 23
};

/* Tokens ordered by descending logit, equal ones by ascending index. The first top_k of them stay,
 * of those as many as it takes until their weights sum to the share top_p; one is drawn by the bits
 * that Philox makes of seed and position. *best becomes its key, as in kernels/argmax_key.h. NaN
 * and -infinity weigh nothing; where the largest logit is not finite it is drawn. */
struct sample_args {
	unsigned long long *best;
	const unsigned long long *largest; /* key of the argmax, may be `best` */
	const float *x;                    /* (n) logits */
	const int *position;
	unsigned long long *weight; /* (SAMPLE_BINS) of the tokens in each; 0 between launches */
	unsigned long long *list;   /* (n) candidates */
	unsigned *counters; /* (SAMPLE_COUNTERS) tokens in each bin, arrivals; 0 between launches */
	int n;
	float scale;              /* log2(e) / temperature */
	unsigned top_k;           /* 0: all */
	unsigned long long top_p; /* share in units of 2^-64; 0: all */
	unsigned long long seed;
};

/* The 64 bits that draw the token after `position`. */
CONST_FN unsigned long long sample_bits(unsigned long long seed, int position)
{
	const struct philox counter = {{(unsigned)position, 0, 0, 0}};
	const struct philox bits = philox(counter, (unsigned)seed, (unsigned)(seed >> 32));
	return (unsigned long long)bits.word[1] << 32 | bits.word[0];
}

#ifndef __CUDACC_RTC__
#ifdef __cplusplus
extern "C" {
#endif

/* How tokens are drawn. */
struct sampling {
	double temperature; /* 0: greedily */
	int top_k;          /* 0: all */
	double top_p;       /* 1: all */
	unsigned long long seed;
};

/* Whether tokens may be left out. */
bool sampling_cuts(const struct sampling *sampling);
/* Sets the arguments that follow from it. */
void sampling_bind(const struct sampling *sampling, struct sample_args *args);
/* The token after `position`, in double precision. Where a sum ends within some 2^-20 of the border
 * of two tokens the kernel may take the other one. -1 without memory. */
int sampling_reference(const struct sampling *sampling, const float *x, int n, int position);

#ifdef __cplusplus
}
#endif
#endif

/* The host has no finishers: several wait for the last block, which it may not have started. */
CONST_FN bool sample_legal(struct sample_case kase, struct sample_config c, struct target target)
{
	(void)kase;
	return target.sm == 0 ? c.finishers == SAMPLE_FINISHERS : c.finishers <= c.blocks;
}

#endif
