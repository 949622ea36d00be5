/* Configurations of one task timed beside each other again, apart from any tune. */
#ifndef TUNER_RETIME_H
#define TUNER_RETIME_H

#include "bench/statistics.h"
#include "tuner/race.h"

struct retiming {
	int n, n_rounds;
	double us[MAX_RACERS][MAX_ROUNDS];
	struct answer failure; /* of the first that failed; status is "" when none did */
	int failed;            /* which; -1: none */
};

/* Rounds go on until each pair is told apart or found equal with this confidence, MAX_ROUNDS are
 * reached or the seconds are over. `expected_us` is about what a launch takes, NaN when
 * nobody knows. Fails when the task
 * cannot be set up; a configuration that fails ends it and is named in `retiming`. */
MUST_CHECK enum status retime(struct worker *worker, const struct task *task,
                              const struct config *configs, int n, double expected_us,
                              double confidence, double seconds,
                              const volatile sig_atomic_t *interrupted, struct retiming *retiming);
/* How b's time relates to a's. */
struct comparison retiming_compare(const struct retiming *retiming, int a, int b,
                                   double confidence);

#endif
