#include "tuner/retime.h"

#include <math.h>
#include <string.h>

#include "core/progress.h"

enum { SWEEPS = 2 };
/* More than any launch takes, where it is not known what one does. */
static const double UNKNOWN_US = 1e5;
/* Rounds after which the pairs are tested. */
static const int looks[] = {12, 24, 48, RETIME_ROUNDS};
enum { N_LOOKS = sizeof looks / sizeof *looks };

/* Each look has its share of the error. */
static double look_confidence(double confidence)
{
	return 1 - (1 - confidence) / N_LOOKS;
}

struct comparison retiming_compare(const struct retiming *r, int a, int b, double confidence)
{
	return compare_paired(r->us[a], r->us[b], r->n_rounds, look_confidence(confidence),
	                      RACE_MATTERS);
}

int retime_first_look(double confidence)
{
	int look = 0;
	while (look < N_LOOKS - 1 && !interval_rank(looks[look], look_confidence(confidence)))
		look++;
	return looks[look];
}

static bool all_settled(const struct retiming *r, double confidence, const void *user)
{
	(void)user;
	for (int a = 0; a < r->n; a++)
		for (int b = a + 1; b < r->n; b++)
			if (retiming_compare(r, a, b, confidence).verdict == VERDICT_UNSURE)
				return false;
	return true;
}

static enum status run_round(struct measuring *m, struct retiming *r)
{
	enum status status;
	int which[MAX_RACERS], n_sampled;
	struct sampled sampled[MAX_RACERS];
	for (int i = 0; i < r->n; i++)
		which[i] = i;
	if (!r->n_rounds)
		TRY(measure_prepare(m, which, r->n));
	measure_draw(m);
	TRY(measure_samples(m, SWEEPS, which, r->n, sampled, &n_sampled));
	for (int i = 0; i < n_sampled; i++) {
		if (!strcmp(sampled[i].answer.status, "ok")) {
			r->us[sampled[i].which][r->n_rounds] = sampled[i].answer.value;
		} else if (worker_late(m->worker) && !strcmp(sampled[i].answer.status, "hang")) {
			r->late = true;
		} else if (r->failed < 0) {
			r->failed = sampled[i].which;
			r->failure = sampled[i].answer;
		}
	}
	r->n_rounds += r->failed < 0 && !r->late;
done:
	return status;
}

enum status retime(struct worker *worker, const struct task *task, const struct config *configs,
                   int n, double expected_us, const struct retime_plan *plan,
                   const volatile sig_atomic_t *interrupted, struct retiming *r)
{
	enum status status = STATUS_OK;
	struct candidates candidates = {.config = (struct config *)configs, .n = n};
	struct measuring m = {.worker = worker,
	                      .task = task,
	                      .candidates = &candidates,
	                      .interrupted = interrupted,
	                      .default_us = isfinite(expected_us) ? expected_us : UNKNOWN_US};
	double started = seconds_now();
	*r = (struct retiming){.n = n, .failed = -1};
	worker->task = NULL; /* another may have had this address */
	for (int look = 0; look < N_LOOKS; look++) {
		while (r->n_rounds < looks[look]) {
			TRY(run_round(&m, r));
			if (*interrupted)
				status = fail(STATUS_FAILED, "interrupted");
			if (r->n_rounds == 1 && !plan->with_setup)
				started = seconds_now(); /* set up and compiled */
			bool over =
			        worker_late(worker) || (r->n_rounds >= plan->least_rounds &&
			                                seconds_now() - started > plan->seconds);
			if (*interrupted || r->failed >= 0 || r->late || over)
				goto done;
		}
		if ((plan->settled ? plan->settled : all_settled)(r, plan->confidence, plan->user))
			break;
	}
done:
	return status;
}
