/* A tune: every task searched, raced and judged, with progress. */
#ifndef TUNER_TUNE_H
#define TUNER_TUNE_H

#include <stdio.h>

#include "core/progress.h"
#include "tuner/race.h"

struct tune_options {
	const char *device;
	struct tasks_request request;
	struct race race; /* strategy, budget, seed and plan */
	bool quiet;
	FILE *out; /* gets a line of each tuned row */
	const volatile sig_atomic_t *interrupted;
};

/* Of finished tasks: expected and true seconds of measuring, as sums, and the line through them. */
struct pace {
	int n;
	double e, s, ee, es;
	double a, b; /* seconds = a + b * expected */
};

/* What a task is at. */
struct job {
	enum { WAITING, RUNNING, ENDED } state;
	int parent;   /* the task whose search ends first, and is learnt from; -1: none */
	bool no_help; /* another worker could not set it up */
	struct provenance provenance;
	struct measuring measuring;     /* while it runs */
	int n_left;                     /* screenings that the journal does not have */
	double expected, left, started; /* seconds: all of it, what remains, when it was begun */
	struct candidates candidates;
	struct outcome outcome; /* its verdict is NULL when it could not be tuned */
};

/* All that one tune works on. */
struct tune {
	const struct tune_options *options;
	struct worker worker;  /* of this process */
	struct worker *others; /* of other ranks */
	int n_others;
	struct crew crew;
	struct journal journal;
	struct tasks tasks;
	struct job *job; /* by task */
	struct race race;
	double ceiling_gbps; /* NaN until measured or when it cannot be */
	struct progress progress;
	int n_untunable;
	double later_seconds, n_later; /* expected: the ranges of lengths, as tasks */
	struct pace pace;
};

/* A guess. */
double tune_expected_us(const struct tune *tune, const struct task *task);
/* "40 s" or "3 min", on stdout. */
void print_duration(double seconds);
/* A verdict on m's task, unless the journal's latest by this method is the same. `stage`: "" or
 * what else than the race it is by; regret NaN: not known. */
MUST_CHECK enum status tune_record(struct tune *tune, const struct measuring *m,
                                   const struct outcome *outcome, const char *stage,
                                   double regret_percent);

/* Has all workers that are not lost do `work`, each in its thread and under the crew's lock, until
 * they have come back. Returns the crew's status. */
MUST_CHECK enum status tune_together(struct tune *tune,
                                     void (*work)(void *user, struct worker *worker), void *user);

/* Starts the workers, lists the tasks and their candidates. */
MUST_CHECK enum status tune_open(const struct tune_options *options, struct tune *tune);
void tune_close(struct tune *tune);

/* Prints what would be measured and how long it takes; the journal may be empty. */
void tune_print_plan(struct tune *tune);
/* Measures the read ceiling and tunes all tasks; `journal` is open. A task that cannot be tuned is
 * counted and does not keep the others from it. */
MUST_CHECK enum status tune_run(struct tune *tune);

#endif
