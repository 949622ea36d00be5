/* Configurations of one task timed beside each other again, apart from any tune. */
#ifndef TUNER_RETIME_H
#define TUNER_RETIME_H

#include "bench/statistics.h"
#include "tuner/race.h"

enum { RETIME_ROUNDS = 64 };

struct retiming {
	int n, n_rounds;
	double us[MAX_RACERS][RETIME_ROUNDS];
	struct answer failure; /* of the first that failed; status is "" when none did */
	int failed;            /* which; -1: none */
	bool late;             /* the worker's time was over */
};

/* How long to go on. */
struct retime_plan {
	double confidence; /* of each comparison */
	double seconds;    /* then it is over */
	bool with_setup;   /* these begin before the set-up; else after the first round */
	int least_rounds;  /* that are run in any case, but for the worker's `until` */
	/* Whether nothing is open; NULL: each pair is told apart or found equal. */
	bool (*settled)(const struct retiming *retiming, double confidence, const void *user);
	const void *user;
};

/* Rounds go on until all is settled, RETIME_ROUNDS are reached or the time is over. `expected_us`
 * is about what a launch takes, NaN when nobody knows. Fails when the task cannot be set up; a
 * configuration that fails ends it and is named in `retiming`. */
MUST_CHECK enum status retime(struct worker *worker, const struct task *task,
                              const struct config *configs, int n, double expected_us,
                              const struct retime_plan *plan,
                              const volatile sig_atomic_t *interrupted, struct retiming *retiming);
/* The fewest rounds after which a pair can be told apart with this confidence. */
int retime_first_look(double confidence);
/* How b's time relates to a's. */
struct comparison retiming_compare(const struct retiming *retiming, int a, int b,
                                   double confidence);

#endif
