#include "model/sampler.h"

#include <math.h>
#include <stdlib.h>

struct sampler_candidate {
	float logit;
	int32_t id;
	double weight;
};

enum status sampler_open(struct sampler *s, size_t n, float temperature, int top_k, float top_p,
                         uint64_t seed)
{
	*s = (struct sampler){0};
	if (!(temperature >= 0 && temperature <= 100))
		return fail(STATUS_USAGE, "--temp %g: expected 0 to 100", (double)temperature);
	if (top_k < 0)
		return fail(STATUS_USAGE, "--top-k %d: expected 0 (all) or more", top_k);
	if (!(top_p > 0 && top_p <= 1))
		return fail(STATUS_USAGE, "--top-p %g: expected more than 0, at most 1",
		            (double)top_p);
	*s = (struct sampler){temperature, top_k, top_p, seed, NULL, n};
	s->candidates = calloc(n, sizeof *s->candidates);
	if (!s->candidates)
		return fail(STATUS_NO_MEMORY, "out of memory for %zu candidates", n);
	return STATUS_OK;
}

void sampler_close(struct sampler *s)
{
	free(s->candidates);
	*s = (struct sampler){0};
}

int32_t sampler_greedy(const float *logits, size_t n)
{
	size_t best = 0;
	for (size_t i = 1; i < n; i++)
		if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i])))
			best = i;
	return (int32_t)best;
}

/* In [0, 1), with 53 bits. splitmix64 (Steele, Lea, Flood 2014). */
static double next_uniform(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	z ^= z >> 31;
	return (double)(z >> 11) * 0x1p-53;
}

/* Largest logit first, then lowest id: a total order, so that equal logits are cut the same way
 * everywhere. */
static int compare(const void *a, const void *b)
{
	const struct sampler_candidate *x = a, *y = b;
	if (x->logit != y->logit)
		return x->logit < y->logit ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

int32_t sampler_next(struct sampler *s, const float *logits)
{
	struct sampler_candidate *c = s->candidates;
	size_t n = 0;
	double total = 0, sum = 0;
	int32_t best = sampler_greedy(logits, s->n);
	if (s->temperature == 0 || !isfinite(logits[best]))
		return best;
	for (size_t i = 0; i < s->n; i++)
		if (logits[i] > -INFINITY) /* nor NaN */
			c[n++] = (struct sampler_candidate){logits[i], (int32_t)i, 0};
	if (s->top_k || s->top_p < 1)
		qsort(c, n, sizeof *c, compare);
	if (s->top_k && (size_t)s->top_k < n)
		n = (size_t)s->top_k;
	for (size_t i = 0; i < n; i++)
		total += c[i].weight =
		        exp(((double)c[i].logit - (double)logits[best]) / (double)s->temperature);
	if (s->top_p < 1) {
		size_t kept = 0;
		while (kept < n && sum < (double)s->top_p * total)
			sum += c[kept++].weight;
		n = kept;
		total = sum;
	}
	double left = next_uniform(&s->state) * total;
	size_t chosen = 0;
	for (; chosen + 1 < n && left >= c[chosen].weight; chosen++)
		left -= c[chosen].weight;
	return c[chosen].id;
}
