/* A search strategy is one file and one row in strategy.c: from what has been measured it proposes
 * what to measure next. Which of the proposals wins is decided by the race (race.h), the same for
 * all strategies. */
#ifndef TUNER_STRATEGY_H
#define TUNER_STRATEGY_H

#include <stdint.h>

#include "tuner/points.h"

/* A search, as strategies see it. */
struct search {
	const struct points *points;
	double *us; /* by point: NaN untried, INFINITY failed */
	int *tried; /* in the order of trial */
	int n_tried;
	uint64_t seed;
	void *state; /* the strategy's own */
};

struct strategy {
	const char *name, *doc;
	/* Sets up `state`; NULL when a strategy has none. */
	enum status (*open)(struct search *search);
	/* Writes at most `max` different untried points to `batch`, and their number, which is 0
	 * only when all have been tried. The same search gets the same answers: a resumed tune
	 * repeats its steps. */
	enum status (*propose)(struct search *search, int *batch, int max, int *n);
	void (*close)(struct search *search); /* accepts what open() left behind */
};

/* A NULL name ends; the first is the default. */
extern const struct strategy strategies[];
const struct strategy *strategy_find(const char *name);

/* Allocates `us` and `tried`, all untried, and opens the strategy. */
MUST_CHECK enum status search_open(const struct strategy *strategy, const struct points *points,
                                   uint64_t seed, struct search *search);
void search_close(const struct strategy *strategy, struct search *search);
/* Notes a result. */
void search_tried(struct search *search, int point, double us);

enum status propose_all(struct search *search, int *batch, int max, int *n);
enum status random_open(struct search *search);
enum status random_propose(struct search *search, int *batch, int max, int *n);
enum status local_open(struct search *search);
enum status local_propose(struct search *search, int *batch, int max, int *n);
enum status evolve_open(struct search *search);
enum status evolve_propose(struct search *search, int *batch, int max, int *n);
enum status guided_open(struct search *search);
enum status guided_propose(struct search *search, int *batch, int max, int *n);
void guided_close(struct search *search);
/* For strategies whose state is one block of memory. */
void search_free(struct search *search);

/* SplitMix64: advances the state. */
uint64_t random_next(uint64_t *state);
int random_below(uint64_t *state, int n);
double random_unit(uint64_t *state); /* in [0, 1) */
/* A random order of n numbers. */
void random_shuffle(uint64_t *state, int *number, int n);

#endif
