/* The last stage of a tune: the decode loop decides. In the captured step of a whole model one
 * launch after the other is given neighbours of its configuration, and what raises tokens/s stays.
 * Then each launch is held to its default once more, in rounds that nothing was chosen by. */
#ifndef TUNER_DECODE_STAGE_H
#define TUNER_DECODE_STAGE_H

#include <signal.h>
#include <stdio.h>

#include "tuner/gains.h"
#include "tuner/journal.h"

struct decode_stage_options {
	const char *name;    /* of the model, for people: "qwen2.5-0.5b:q8_0" */
	int length;          /* of the cache */
	const char *kernels; /* whose configurations are swapped, separated by commas; NULL: all */
	bool by_length;      /* only of launches that have a row for each length of the cache */
	double seconds;      /* of searching, at most; 0: until nothing is better */
	uint64_t seed;
	bool quiet;
	const volatile sig_atomic_t *interrupted;
	const struct timer_source *source; /* see stepper_open() */
};

/* A difference of this share of a step's time does not matter. STEP_ERROR is the chance that a row
 * is called faster than its default though it is not, over all rows of a stage. */
#define STEP_MATTERS 0.0015
#define STEP_ERROR   0.05

/* Starts from the journal's verdicts, or the defaults, of each launch; launches that are not asked
 * for keep theirs. The journal gets a row of each trial and a verdict on each launch of these:
 * "win" or, when the winner alone is as good in the step, "tie" are faster in the step than the
 * default, else the default stays. `log` gets the gains and `to` a table of them. */
MUST_CHECK enum status decode_stage(struct device *device, const struct model *model,
                                    struct journal *journal, struct csv_log *log,
                                    const struct decode_stage_options *options, FILE *to);

#endif
