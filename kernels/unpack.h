#ifndef KERNELS_UNPACK_H
#define KERNELS_UNPACK_H

#include "core/dtype.h"
#include "core/param.h"

#define UNPACK_FIELDS(X)                                                                       \
	X(w, NAMES_DTYPE, "dtype of the matrix", DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q4_0, \
	  DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K)  \
	X(y, NAMES_DTYPE, "dtype that is written", DTYPE_BF16, DTYPE_F32)                      \
	X(gather, NAMES_NUMBER, "1: the rows of a list of tokens; 0: all rows", 0, 1)

#define UNPACK_PARAMS(X) X(warps, 4, "warps per block", 1, 4, 8)

#define UNPACK_CASES_OF(X, w) X(w, DTYPE_BF16, 0) X(w, DTYPE_F32, 0) X(w, DTYPE_F32, 1)
#define UNPACK_CASES(X)                \
	UNPACK_CASES_OF(X, DTYPE_BF16) \
	UNPACK_CASES_OF(X, DTYPE_F16)  \
	UNPACK_CASES_OF(X, DTYPE_F32)  \
	UNPACK_CASES_OF(X, DTYPE_Q4_0) \
	UNPACK_CASES_OF(X, DTYPE_Q4_1) \
	UNPACK_CASES_OF(X, DTYPE_Q5_0) \
	UNPACK_CASES_OF(X, DTYPE_Q5_1) \
	UNPACK_CASES_OF(X, DTYPE_Q8_0) \
	UNPACK_CASES_OF(X, DTYPE_Q4_K) \
	UNPACK_CASES_OF(X, DTYPE_Q5_K) \
	UNPACK_CASES_OF(X, DTYPE_Q6_K)

struct unpack_case {
	UNPACK_FIELDS(PARAM_MEMBER)
};

struct unpack_config {
	UNPACK_PARAMS(PARAM_MEMBER)
};

/* y (n, k) = rows of w (n_rows, k) in device layout, whose second plane begins at `scale`: rows
 * tokens[0 .. n), or all, n = n_rows. k is a multiple of 32. */
struct unpack_args {
	void *y;
	const void *w, *scale;
	const int *tokens;
	int n_rows, n, k;
};

CONST_FN bool unpack_legal(struct unpack_case kase, struct unpack_config c, struct target target)
{
	(void)target;
	return c.warps >= 1 && (!kase.gather || kase.y == DTYPE_F32);
}

#endif
