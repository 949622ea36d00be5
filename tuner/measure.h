/* Measurements that the journal remembers: what a search asks for comes from the journal when it is
 * there, else from the worker, and is in the journal before the search sees it. */
#ifndef TUNER_MEASURE_H
#define TUNER_MEASURE_H

#include <signal.h>

#include "tuner/candidates.h"
#include "tuner/journal.h"
#include "tuner/worker.h"

/* One task being measured. */
struct measuring {
	struct journal *journal;
	struct worker *worker;
	const struct task *task;
	const struct candidates *candidates;
	const struct provenance *provenance;
	const volatile sig_atomic_t *interrupted; /* ends the search after the row */
	double default_us;                        /* NaN before its screening */
	double seconds; /* that all rows asked for took to obtain, journal or worker alike */
	int n_measured, n_failed; /* by the worker, in this run */
};

enum { SCREENING = 0 }; /* the round of first measurements */

/* us[i] of candidate which[i]: INFINITY when it failed. The default is to be screened alone and
 * first. */
MUST_CHECK enum status measure_screening(struct measuring *m, const int *which, int n, double *us);

/* The same for candidates that passed the screening, `sweeps` interleaved samples of each. */
MUST_CHECK enum status measure_round(struct measuring *m, int round, int sweeps, const int *which,
                                     int n, double *us);

/* Has the worker compile, on devices where candidates are compiled on demand, what the journal, if
 * there is one, does not know. */
MUST_CHECK enum status measure_prepare(struct measuring *m, const int *which, int n);

enum { MAX_SAMPLED = 64 };
struct sampled {
	int which;
	struct answer answer;
};
/* `sweeps` interleaved samples of each of at most MAX_SAMPLED candidates, which the journal does
 * not get. There are fewer than n when one of them ended the worker: the last is to blame. */
MUST_CHECK enum status measure_samples(struct measuring *m, int sweeps, const int *which, int n,
                                       struct sampled *sampled, int *n_sampled);

/* How many of the candidates have a row of that round. */
int measure_known(const struct measuring *m, int round, const int *which, int n);
/* Status and reason of a row: "ok" ...; "" when there is none. */
const struct journal_row *measure_row(const struct measuring *m, int round, int which);

/* GB/s of reading, as the worker measures it. */
MUST_CHECK enum status measure_ceiling(struct worker *worker, double *gbps);

#endif
