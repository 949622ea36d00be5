/* What a decode stage ends with: for each launch the gain that its winner has alone beside the
 * gains in the decode loop, and whole steps with defaults, winners and the confirmed plan. */
#ifndef TUNER_GAINS_H
#define TUNER_GAINS_H

#include <stdio.h>

#include "bench/csv.h"
#include "bench/statistics.h"
#include "tuner/step.h"

/* Tokens/s more than with the default, in percent, with its interval; NaN where not measured. */
struct gain {
	double percent, lo, hi;
	int rounds;
};
/* Of b, from a comparison of b with a. */
struct gain gain_of(const struct comparison *comparison);

/* Of one choice. */
struct launch_gain {
	struct config winner;  /* alone, by the journal */
	double alone_percent;  /* of the winner's time, measured alone; NaN: the journal has none */
	struct gain in_step;   /* of the winner */
	struct gain confirmed; /* of the row */
	const char *verdict;   /* on the row: "win", "tie" or "default"; NULL: not decided on */
	struct config row, candidate; /* the candidate: what the search ended with */
	double launch_us;             /* that one launch adds to the step */
};

enum { STEP_DEFAULTS, STEP_WINNERS, STEP_CONFIRMED, N_STEP_PLANS };

struct gains {
	const char *model;
	const struct stepper *stepper;
	struct launch_gain launch[MAX_CHOICES];
	struct {
		double tok_s;
		struct gain gain;
	} plan[N_STEP_PLANS];
	struct gain over_winners; /* of the confirmed plan */
	double error;             /* of a row */
};

/* folder/<device>/gains.csv */
MUST_CHECK enum status gains_open_log(const char *folder, const struct device_info *info,
                                      struct csv_log *log);
MUST_CHECK enum status gains_write(const struct gains *gains, struct csv_log *log);
void gains_print(const struct gains *gains, FILE *to);

#endif
