/* One task's search: a strategy proposes, screening and race decide. Successive halving over
 * interleaved rounds leaves a few finalists beside the default; they go on until a paired test has
 * told them apart or rounds run out. */
#ifndef TUNER_RACE_H
#define TUNER_RACE_H

#include "tuner/measure.h"
#include "tuner/strategy.h"

/* How far a search goes; 0 is no limit. */
struct budget {
	int evaluations;
	double percent; /* of the candidates */
	double seconds; /* of measuring */
};

/* "120", "10%", "60s" */
MUST_CHECK enum status budget_parse(const char *text, struct budget *budget);
/* Configurations that may be tried of n. */
int budget_evaluations(const struct budget *budget, int n);

#define MAX_STAGES 4
#define MAX_LOOKS  4
#define MAX_ROUNDS 128

/* Who stays for how long. */
struct race_plan {
	struct {
		int keep, rounds; /* contenders beside the default; rounds they have run when the
		                     stage ends, twice as many where draws differ */
	} stage[MAX_STAGES];
	int n_stages;
	int look[MAX_LOOKS];        /* rounds of the finalists after which they are tested */
	int n_looks, n_drawn_looks; /* where draws are alike, and where they differ */
	int sweeps;                 /* samples per round and contender */
};
extern const struct race_plan race_full, race_quick;

/* A difference up to RACE_MATTERS does not matter; it is told apart from RACE_NOISE on, well below,
 * so that two tunes that see a difference on different sides of the line do not differ by what
 * matters. RACE_ERROR is the chance, over all tests of a task, of calling equals unequal. */
#define RACE_MATTERS 0.01
#define RACE_NOISE   0.005
#define RACE_ERROR   0.05
/* Where draws differ, that of each test among those that beat the default: see docs/design.md. */
#define RACE_TIE_ERROR 0.2

struct outcome {
	const char *verdict;                 /* "win", "tie" or "default" */
	int winner, runner_up;               /* candidates; runner_up is -1 when there is none */
	double us, default_us, runner_up_us; /* medians of the race */
	int rounds, tried, failed;
	int samples; /* of all racers together */
	char reason[256];
	bool recalled; /* it is that of an earlier race, nothing was tried since */
};

struct prior;
struct race {
	const struct strategy *strategy;
	struct budget budget;
	uint64_t seed;
	const struct race_plan *plan;
	/* An earlier race of the same task, from which this goes on: what had been tried is not
	 * tried again, and its finalists race too. NULL: none. */
	const struct prior *prior;
	const int *seeds; /* candidates to try before what the strategy proposes */
	int n_seeds;
	/* May be NULL; called after each step with how many candidates were tried, failed, and the
	 * best time so far. */
	void (*report)(void *user, int tried, int failed, double best_us);
	void *user;
};

MUST_CHECK enum status race_run(const struct race *race, struct measuring *m,
                                struct outcome *outcome);

#endif
