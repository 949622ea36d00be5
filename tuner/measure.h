/* Measurements that the journal remembers: what a search asks for comes from the journal when it is
 * there, else from the worker, and is in the journal before the search sees it. */
#ifndef TUNER_MEASURE_H
#define TUNER_MEASURE_H

#include <signal.h>

#include "tuner/candidates.h"
#include "tuner/crew.h"
#include "tuner/journal.h"
#include "tuner/worker.h"

enum { MAX_BATCH = 64 };

/* Candidates that are to be screened: MINE by the worker of their task, which compiles them by now,
 * FREE by whoever takes them first. */
struct batch {
	int n, which[MAX_BATCH];
	enum { FREE, MINE, TAKEN, DONE } state[MAX_BATCH];
};

/* One task being measured. */
struct measuring {
	struct crew *crew;  /* NULL: nobody else */
	struct batch batch; /* begun, not collected */
	struct journal *journal;
	struct worker *worker;
	const struct task *task;
	const struct candidates *candidates;
	const struct provenance *provenance;
	const volatile sig_atomic_t *interrupted; /* ends the search after the row */
	double default_us;                        /* NaN before its screening */
	double seconds;       /* that all rows asked for took to obtain, journal or worker alike */
	double setup_seconds; /* of a worker for the task, in this run */
	double draw_setup_seconds, draw_seconds; /* of the set-up at hand; sampling since */
};

/* The round of first measurements; rounds of races follow; the first of ranges of lengths. */
enum { SCREENING = 0, FIRST_RANGE_ROUND = 1000 };

/* Begins the screening of candidates, at most MAX_BATCH in all: a GPU's are compiled from now on.
 */
MUST_CHECK enum status measure_begin(struct measuring *m, const int *which, int n);
/* us[i] of candidate which[i], begun or not: INFINITY when it failed. The default is to be screened
 * alone and first. */
MUST_CHECK enum status measure_screening(struct measuring *m, const int *which, int n, double *us);
/* What was begun is not wanted any more. */
void measure_abandon(struct measuring *m);
/* How many of the present batch nobody has taken and others may. */
int measure_free(const struct measuring *m);
/* Screens, with another worker, what is free of the present batch when that is set up. */
MUST_CHECK enum status measure_help(struct measuring *m, struct worker *worker);

/* The same for candidates that passed the screening, `sweeps` interleaved samples of each. */
MUST_CHECK enum status measure_round(struct measuring *m, int round, int sweeps, const int *which,
                                     int n, double *us);

/* Has the worker compile, on devices where candidates are compiled on demand, what the journal, if
 * there is one, does not know. */
MUST_CHECK enum status measure_prepare(struct measuring *m, const int *which, int n);

/* Where draws differ, the next samples are of a new one: another process, set up anew. A set-up
 * that takes long is used until sampling has taken as long. */
void measure_draw(struct measuring *m);

struct sampled {
	int which;
	struct answer answer;
};
/* `sweeps` interleaved samples of each of at most MAX_RACERS candidates, which the journal does
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
