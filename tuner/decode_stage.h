/* The last stage of a tune: the decode loop decides. In the captured step of a whole model one
 * launch after the other is given neighbours of its configuration, and what raises tokens/s in
 * paired measurements stays. */
#ifndef TUNER_DECODE_STAGE_H
#define TUNER_DECODE_STAGE_H

#include <signal.h>
#include <stdio.h>

#include "tuner/journal.h"

struct decode_stage_options {
	const char *model; /* "qwen2.5-0.5b:q8_0" */
	int length;        /* of the cache */
	double seconds;    /* of searching, at most; 0: until nothing is better */
	uint64_t seed;
	bool quiet;
	const volatile sig_atomic_t *interrupted;
};

/* Starts from the journal's verdicts, or the defaults, of each launch; writes a verdict for each
 * that was changed, and a line per change to `to`. */
MUST_CHECK enum status decode_stage(struct device *device, struct journal *journal,
                                    const struct decode_stage_options *options, FILE *to);

#endif
