/* Chooses the next token from logits, on the host. The same seed gives the same choices everywhere.
 */
#ifndef MODEL_SAMPLER_H
#define MODEL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sampler {
	float temperature; /* 0: greedy */
	int top_k;         /* 0: all */
	float top_p;       /* 1: all */
	uint64_t state;
	struct sampler_candidate *candidates; /* one per token */
	size_t n;
};

/* For vocabularies of n tokens. Options out of range are STATUS_USAGE and named as on the command
 * line. */
MUST_CHECK enum status sampler_open(struct sampler *s, size_t n, float temperature, int top_k,
                                    float top_p, uint64_t seed);
void sampler_close(struct sampler *s);

/* The first index of the largest logit; NaN counts as lowest. */
int32_t sampler_greedy(const float *logits, size_t n);

/* A token in 0..n. top_k keeps the largest logits, then temperature makes them probabilities, then
 * top_p keeps the most probable ones until their sum reaches it. */
int32_t sampler_next(struct sampler *s, const float *logits);

#ifdef __cplusplus
}
#endif
#endif
