#include "tuner/strategy.h"

#include <math.h>

/* Candidate i has rank random(seed, i); the untried ones are proposed by rank. */
int propose_random(const struct search *search, int *batch, int max)
{
	uint64_t rank[64];
	int n = 0;
	if (max > 64)
		max = 64;
	for (int i = 0; i < search->candidates->n; i++) {
		uint64_t r = strategy_random(search->seed, (uint64_t)i);
		if (!isnan(search->us[i]) || (n == max && r >= rank[n - 1]))
			continue;
		int at = n < max ? n++ : n - 1;
		for (; at > 0 && rank[at - 1] > r; at--) {
			rank[at] = rank[at - 1];
			batch[at] = batch[at - 1];
		}
		rank[at] = r;
		batch[at] = i;
	}
	return n;
}
