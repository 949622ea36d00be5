/* A search strategy is one file and one row in strategy.c: from what has been measured it proposes
 * what to measure next. Which of the proposals wins is decided by the race (race.h), the same for
 * all strategies. */
#ifndef TUNER_STRATEGY_H
#define TUNER_STRATEGY_H

#include <stdbool.h>
#include <stdint.h>

#include "tuner/points.h"

/* A search, as strategies see it. What was proposed is known later, in the order of proposal: on a
 * GPU it is compiled first. */
struct search {
	const struct points *points;
	double *us;  /* by point: NaN unknown, INFINITY failed */
	bool *taken; /* by point: proposed once and for all */
	int *order;  /* of taking: the first n_tried are known, those up to n_taken pending */
	int n_tried, n_taken;
	uint64_t seed;
	void *state; /* the strategy's own */
};

struct strategy {
	const char *name, *doc;
	/* Sets up `state`; NULL when a strategy has none. */
	enum status (*open)(struct search *search);
	/* Takes at most `max` points, none only when all are taken. The same search gets the same
	 * answers: a resumed tune repeats its steps. */
	enum status (*propose)(struct search *search, int max);
	void (*close)(struct search *search); /* accepts what open() left behind */
};

/* A NULL name ends; the first is the default. */
extern const struct strategy strategies[];
const struct strategy *strategy_find(const char *name);

/* Allocates what is kept by point, all untried, and opens the strategy. */
MUST_CHECK enum status search_open(const struct strategy *strategy, const struct points *points,
                                   uint64_t seed, struct search *search);
void search_close(const struct strategy *strategy, struct search *search);
/* The point is to be tried. */
void search_take(struct search *search, int point);
/* Notes the result of the first that is pending. */
void search_tried(struct search *search, double us);

enum status propose_all(struct search *search, int max);
enum status random_open(struct search *search);
enum status random_propose(struct search *search, int max);
enum status local_open(struct search *search);
enum status local_propose(struct search *search, int max);
enum status evolve_open(struct search *search);
enum status evolve_propose(struct search *search, int max);
enum status guided_open(struct search *search);
enum status guided_propose(struct search *search, int max);
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
