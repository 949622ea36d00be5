/* Where the best configuration of attention changes with the cache length: the fewest ranges in
 * which one configuration is nearly the best at every measured length, on the grid and off it. */
#ifndef TUNER_BREAKPOINTS_H
#define TUNER_BREAKPOINTS_H

#include "tuner/tune.h"

/* A configuration takes less than this share longer than the fastest at every measured length of
 * its range. */
#define REGRET_LIMIT 0.02
#define MAX_LENGTHS  32

/* A prime near the geometric mean of two lengths, as unlike those of the grid as can be. */
int length_between(int shorter, int longer);
/* The last length of the shorter one's range, when the two are next to each other. */
int length_boundary(int shorter, int longer);

/* regret[l * n_configs + c]: of configuration c at length l, in ascending order, 0 for the fastest,
 * INFINITY where it cannot run; at most MAX_LENGTHS. Divides the lengths into the fewest ranges in
 * which some configuration stays below the limit; of several such divisions it has the one with the
 * smallest sum of worst regrets, so that a range ends where the next one's configuration begins to
 * be better. Sets choice[l] and returns the number of ranges. */
int ranges_choose(const double *regret, int n_lengths, int n_configs, double limit, int *choice);

/* Seconds that breakpoints_run() is expected to take, and for how many lengths: those that the
 * journal has no verdict of a range on. */
double breakpoints_seconds(const struct tune *tune, double *lengths);
/* Prints what it would measure. */
void breakpoints_print_plan(const struct tune *tune);
/* After tune_run(): times the winners and runners-up of all lengths of the same heads beside each
 * other at each length, between them and again where ranges meet, and gives every one of these
 * lengths the verdict of its range. A quick tune and single lengths have none. */
MUST_CHECK enum status breakpoints_run(struct tune *tune);

#endif
