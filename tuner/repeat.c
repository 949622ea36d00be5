#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tuner/retime.h"
#include "tuner/verify.h"

enum { MAX_REPEATS = MAX_RACERS };
static const double PAIR_SECONDS = 20;      /* of timing the winners of a row */
static const double PAIR_CONFIDENCE = 0.99; /* of telling two of them apart */

/* The winners of n tunes. */
struct repetition {
	int n, n_tasks;
	struct config *winner; /* (tasks, n) */
	char (*verdict)[8];    /* (tasks, n); "" when it could not be tuned */
	double samples;        /* timed in races, all tunes together */
	int differences, flips, pairs;
	double worst; /* cost of a flip, as a ratio */
};

static void journal_path(const char *folder, const struct tune *t, int i, char path[4096])
{
	snprintf(path, 4096, "%s/%s/repeat-%d.csv", folder, t->worker.info.slug, i + 1);
}

static enum status allocate(struct repetition *r, int n_tasks)
{
	size_t n = (size_t)n_tasks * (size_t)r->n;
	r->n_tasks = n_tasks;
	r->winner = calloc(n, sizeof *r->winner);
	r->verdict = calloc(n, sizeof *r->verdict);
	return r->winner && r->verdict ? STATUS_OK
	                               : fail(STATUS_NO_MEMORY, "no memory for %d tunes", r->n);
}

/* Tune i of n; leaves it open. */
static enum status tune_once(const char *folder, const struct tune_options *options, int i,
                             struct tune *t, struct repetition *r)
{
	enum status status;
	char path[4096];
	TRY(tune_open(options, t));
	if (!r->winner)
		TRY(allocate(r, t->tasks.n));
	journal_path(folder, t, i, path);
	TRY(journal_open(path, &t->journal));
	TRY(tune_run(t));
	for (int k = 0; k < t->tasks.n; k++) {
		const struct outcome *o = &t->job[k].outcome;
		if (!o->verdict)
			continue;
		r->winner[k * r->n + i] = t->job[k].candidates.config[o->winner];
		snprintf(r->verdict[k * r->n + i], sizeof *r->verdict, "%s", o->verdict);
		r->samples += o->samples;
	}
done:
	return status;
}

/* The place of a winner among the different ones. */
static int place_of(const struct config *distinct, int n, const struct config *config)
{
	int i = 0;
	while (i < n && memcmp(&distinct[i], config, sizeof *config) != 0)
		i++;
	return i;
}

static int distinct_winners(const struct repetition *r, int task, struct config *distinct)
{
	int n = 0;
	for (int i = 0; i < r->n; i++) {
		const struct config *winner = &r->winner[task * r->n + i];
		if (r->verdict[task * r->n + i][0] && place_of(distinct, n, winner) == n)
			distinct[n++] = *winner;
	}
	return n;
}

static enum status count_task(struct tune *t, struct repetition *r, int k)
{
	enum status status = STATUS_OK;
	const struct task *task = &t->tasks.task[k];
	struct config distinct[MAX_REPEATS];
	int n = distinct_winners(r, k, distinct), differences = 0, flips = 0, pairs = 0;
	double worst = 1;
	struct retiming *timed = calloc(1, sizeof *timed);
	if (!timed)
		return fail(STATUS_NO_MEMORY, "no memory for a retiming");
	if (n > 1)
		TRY(retime(&t->worker, task, distinct, n, t->job[k].outcome.default_us,
		           &(struct retime_plan){.confidence = PAIR_CONFIDENCE,
		                                 .seconds = PAIR_SECONDS},
		           t->options->interrupted, timed));
	for (int i = 1; i < r->n; i++) {
		const struct config *pair = &r->winner[k * r->n + i - 1];
		if (!r->verdict[k * r->n + i - 1][0] || !r->verdict[k * r->n + i][0])
			continue;
		int a = place_of(distinct, n, &pair[0]), b = place_of(distinct, n, &pair[1]);
		pairs++;
		differences += a != b;
		if (a == b || timed->failed >= 0)
			continue;
		struct comparison c = retiming_compare(timed, a, b, PAIR_CONFIDENCE);
		if (c.verdict != VERDICT_FASTER && c.verdict != VERDICT_SLOWER)
			continue;
		flips++;
		worst = fmax(worst, fmax(c.ratio.median, 1 / c.ratio.median));
	}
	printf("%s,%s,%s,%d,%d,%d,%d,%.2f\n", task->kernel->name, task->case_text, task->shape_text,
	       r->n, n, differences, flips, 100 * (worst - 1));
	fflush(stdout);
	r->differences += differences;
	r->flips += flips;
	r->pairs += pairs;
	r->worst = fmax(r->worst, worst);
done:
	t->worker.task = NULL;
	free(timed);
	return status;
}

static void print_sum(const struct repetition *r)
{
	double pairs = r->pairs ? r->pairs : 1;
	fprintf(stderr,
	        "warpsmith-tune: %d tunes of %d launches: winners differ in %d of %d pairs (%.1f "
	        "%%), "
	        "%d of them flips (%.1f %%) that cost up to %.2f %%; %.0f samples raced per tune\n",
	        r->n, r->n_tasks, r->differences, r->pairs, 100 * r->differences / pairs, r->flips,
	        100 * r->flips / pairs, 100 * (r->worst - 1), r->samples / r->n);
}

enum status repeat(const char *folder, const struct tune_options *options, int n)
{
	enum status status = STATUS_OK;
	struct repetition r = {.n = n, .worst = 1};
	struct tune t = {.journal.log.file = -1};
	char path[4096];
	if (n < 2 || n > MAX_REPEATS)
		return fail(STATUS_USAGE, "--repeat: from 2 to %d times", MAX_REPEATS);
	for (int i = 0; i < n; i++) {
		struct tune_options own = *options;
		own.race.seed += (uint64_t)i;
		own.out = stderr;
		tune_close(&t);
		TRY(tune_once(folder, &own, i, &t, &r));
		t.options = options; /* `own` ends here */
	}
	printf("kernel,case,shape,tunes,winners,differences,flips,worst_percent\n");
	for (int k = 0; k < t.tasks.n; k++)
		TRY(count_task(&t, &r, k));
	print_sum(&r);
	for (int i = 0; i < n; i++) {
		journal_path(folder, &t, i, path);
		unlink(path);
	}
done:
	tune_close(&t);
	free(r.winner);
	free(r.verdict);
	return status;
}
