/* --check: every launch of the plan against a double-precision reference of its operation.
 *
 * A launch's expected outputs are computed from what the launches before it left on the device, so
 * errors do not accumulate, and from weights of the model's file, from a position, a token and a
 * cache that are kept on the host: nothing that the device computes with is taken from it but
 * activations. */
#ifndef MODEL_CHECK_H
#define MODEL_CHECK_H

#include <stdio.h>

#include "model/decoder.h"

/* What a launch must leave in memory: rows x cols of a matrix of `count` elements on the device, a
 * row every `stride` elements from element `first` on. */
struct expectation {
	const char *what;
	const void *memory;
	int dtype;
	size_t count, first;
	size_t rows, cols, stride;
	double *value, *tolerance; /* (rows, cols), allowed absolute error */
	float *cache, *slack; /* the reference's, where the values are a row of it; else NULL */
};

#define CHECK_MAX_EXPECTATIONS 3

struct check {
	int position, token; /* of the step, by the host's own count */
	int largest, chosen; /* the first largest of this step's logits, and the next token */
	bool use_bias;
	float *input, *residual; /* activations as a launch found them */
	double *x, *x_error;     /* what a product multiplies, by how much each may be off */
	double *product, *product_tolerance;
	void *seen;
	struct expectation expected[CHECK_MAX_EXPECTATIONS];
	int n_expected;
	double *values, *tolerances; /* memory of the expectations */
	/* The reference's own cache (layers, kv_heads, capacity, head_dim): values as the cache
	 * dtype rounds them, and by how much the device's, found admissible when they were
	 * appended, differ from them. */
	float *k, *v, *k_slack, *v_slack;
	size_t layer_stride, head_stride; /* elements */
	int head_dim;
	int forwards, operations;
	double worst[N_OPS]; /* error as a share of what is allowed */
};

MUST_CHECK enum status check_open(const struct decoder *decoder, struct check *check);
void check_close(struct check *check);
struct observer check_observer(struct check *check);
/* Moves decoder and reference to `position`, with the same random keys and values in both caches.
 */
MUST_CHECK enum status check_seek(struct check *check, struct decoder *decoder, int position);
void check_summary(const struct check *check, FILE *to);

#endif
