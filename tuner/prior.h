/* What the journal says of an earlier race of a task. */
#ifndef TUNER_PRIOR_H
#define TUNER_PRIOR_H

#include "tuner/race.h"

/* The latest verdict on a task, of the same device and sources, and what it rests on. */
struct prior {
	struct outcome outcome;
	double seconds;                        /* that it took to obtain */
	int row;                               /* of the journal: the verdict's */
	int last_round;                        /* of the races before it */
	int finalist[MAX_RACERS], n_finalists; /* candidates of that round, winner and runner-up */
};

/* The journal's latest verdict on a launch by a method; NULL when there is none. */
const struct journal_row *latest_verdict(const struct journal *journal, const struct task *task,
                                         const char *method);
/* `sweeps`: samples of a round. False when there is no such verdict, or its configuration is no
 * candidate any more. */
bool prior_find(const struct measuring *m, const char *method, int sweeps, struct prior *prior);
/* The candidates but the default that had been screened before the verdict, in that order; room for
 * all. Returns their number. */
int prior_screened(const struct measuring *m, const struct prior *prior, int *which);

#endif
