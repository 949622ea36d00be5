/* A search strategy is one function and one row in strategy.c: from what has been measured it
 * proposes what to measure next. Which of the proposals wins is decided by the race (race.h), the
 * same for all strategies. */
#ifndef TUNER_STRATEGY_H
#define TUNER_STRATEGY_H

#include <stdint.h>

#include "tuner/candidates.h"

/* The search of one task, as strategies see it. */
struct search {
	const struct kernel *kernel;
	const struct candidates *candidates;
	const double *us; /* by candidate: NaN untried, INFINITY failed */
	int n_tried;
	uint64_t seed;
};

struct strategy {
	const char *name, *doc;
	/* Writes at most `max` untried candidates to `batch`; returns their number, 0 when there is
	 * nothing more to try. The same search gets the same answer: a resumed tune repeats its
	 * steps. */
	int (*propose)(const struct search *search, int *batch, int max);
};

/* A NULL name ends; the first is the default. */
extern const struct strategy strategies[];
const struct strategy *strategy_find(const char *name);

int propose_all(const struct search *search, int *batch, int max);    /* exhaustive.c */
int propose_random(const struct search *search, int *batch, int max); /* random.c */

/* SplitMix64: the i-th of a stream of pseudo-random numbers. */
uint64_t strategy_random(uint64_t seed, uint64_t i);

#endif
