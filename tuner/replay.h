/* Searches of a recorded landscape: a CSV whose first columns are parameters, then time_us and
 * perhaps status, one row per legal configuration. What is not in the file is not legal and costs
 * nothing; a configuration that failed costs one evaluation. */
#ifndef TUNER_REPLAY_H
#define TUNER_REPLAY_H

#include "tuner/race.h"

/* One search for each of `n_seeds` seeds; a CSV line of each on stdout. No budget: 10 %. */
MUST_CHECK enum status replay(const char *path, const struct strategy *strategy,
                              const struct budget *budget, unsigned long long first_seed,
                              int n_seeds);

#endif
