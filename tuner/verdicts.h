/* The verdicts of all devices' journals, the newest of each thing. Needs no device. */
#ifndef TUNER_VERDICTS_H
#define TUNER_VERDICTS_H

#include "tuner/journal.h"

/* One verdict of a journal, as a row of the header. */
struct tuned_row {
	struct provenance provenance;
	char id[64]; /* of the device: its slug as an identifier */
	const struct kernel *kernel;
	int kernel_order; /* in kernels[] */
	struct kase kase;
	struct shape shape;
	char case_text[CONFIG_TEXT], shape_text[64]; /* as in the journal */
	int len_min, len_max;                        /* set by the emitter */
	struct config config, runner_up;
	bool has_runner_up;
	char problem[CONFIG_TEXT]; /* why it cannot be a row; "" when it can */
	bool fresh;                /* of the present kernel sources and space */
	int sequence;              /* order of reading: journals by name, rows by age */
	double us, default_us, runner_up_us, gbps, ceiling_gbps;
	int samples; /* of each finalist */
	/* the decode loop that it is a verdict of, "" when it is none, and tokens/s more than with
	 * the default there; NaN: the row is the default */
	char step[96];
	double step_percent, step_percent_lo, step_percent_hi;
	/* time beyond that of the fastest at this length; after merging: the worst of n_lengths;
	 * NaN: not known */
	double regret_percent;
	int n_lengths;
	char status[16], reason[256], method[64], date[64];
};

struct verdicts {
	struct tuned_row *row;
	int n, capacity;
};

/* Verdicts on a part of the space are for comparisons, never for the header. */
enum verdicts_of { WHOLE_SPACES, ALL_SPACES };

/* Reads folder/<device>/journal.csv of every device. Of each device, kernel, case and shape, with
 * what it runs beside, the newest verdict is kept, in the order of the header: one of the present
 * kernel sources before older ones, and of those one of the decode loop before one of the launch
 * alone. A journal row that cannot be understood is left out with a warning that names file and
 * line. */
MUST_CHECK enum status verdicts_open(const char *folder, enum verdicts_of of,
                                     struct verdicts *verdicts);
void verdicts_close(struct verdicts *verdicts);

/* Order of rows of one (device, kernel, case, shape without length and what it runs beside). */
int verdict_compare_groups(const struct tuned_row *a, const struct tuned_row *b);

#endif
