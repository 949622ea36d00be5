#include "tuner/race.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/statistics.h"
#include "tuner/prior.h"
#include "tuner/seeds.h"

const struct race_plan race_full = {
        .stage = {{24, 1}, {12, 2}, {6, 4}},
        .n_stages = 3,
        .look = {12, 24, 48, 96},
        .n_looks = 3,
        .n_drawn_looks = 4,
        .sweeps = 2,
};
const struct race_plan race_quick = {
        .stage = {{8, 1}, {4, 2}},
        .n_stages = 2,
        .look = {10, 20},
        .n_looks = 2,
        .n_drawn_looks = 2,
        .sweeps = 1,
};

/* Slower than the best of the screening by more than this: not raced. Where draws differ a
 * screening is one of them, and may be over while a thread of the launch waits for a processor. */
static const double SCREENED_OUT = 1.5, DRAWN_OUT = 3;
/* Candidates proposed at a time, few, so that a budget of seconds holds, and how many may be
 * pending: on a GPU they keep the compilers busy. */
enum { BATCH = 8, GPU_PENDING = 24, HOST_PENDING = BATCH };
static_assert(1 + MAX_SEEDS <= (int)MAX_BATCH && GPU_PENDING <= (int)MAX_BATCH,
              "all that is pending is begun");
enum { FEW_ROUNDS = 4 };
/* A race that has taken longer has no more looks than where draws are alike. */
static const double DRAWN_SECONDS = 3;

enum status budget_parse(const char *text, struct budget *budget)
{
	char *end;
	double value = strtod(text, &end);
	*budget = (struct budget){0};
	if (end == text || !(value > 0) || value > 1e9)
		return fail(STATUS_USAGE, "--budget: '%s' is no N, P%% or Ns", text);
	if (!strcmp(end, "%") && value <= 100)
		budget->percent = value;
	else if (!strcmp(end, "s"))
		budget->seconds = value;
	else if (!*end && value == floor(value))
		budget->evaluations = (int)value;
	else
		return fail(STATUS_USAGE, "--budget: '%s' is no N, P%% or Ns", text);
	return STATUS_OK;
}

int budget_evaluations(const struct budget *budget, int n)
{
	int most = n;
	if (budget->evaluations)
		most = budget->evaluations;
	if (budget->percent > 0)
		most = (int)ceil(budget->percent / 100 * n);
	return most < n ? most : n;
}

/* One candidate of the race with its time in each complete round. */
struct racer {
	int which;
	double us[MAX_ROUNDS];
	double score; /* see rank() */
	bool failed;
};

struct field {
	const struct race *race;
	struct measuring *m;
	struct racer racer[MAX_RACERS]; /* [0] is the default */
	int n, n_rounds;
	int first_final; /* rounds that chose the finalists do not judge them */
	int n_finalists; /* beside the default */
	int round;       /* last number used in the journal */
	struct points points;
	struct search search; /* what the screening found */
	int n_failed, n_samples;
};

static bool draws_differ(const struct field *f)
{
	return f->m->worker->info.draws_differ;
}

static void report(const struct field *f)
{
	double best = INFINITY;
	for (int i = 0; i < f->m->candidates->n; i++)
		if (f->search.us[i] < best) /* false for NaN */
			best = f->search.us[i];
	if (f->race->report)
		f->race->report(f->race->user, f->search.n_tried, f->n_failed, best);
}

/* The candidates as the strategies see them. */
static enum status open_points(const struct measuring *m, struct points *points)
{
	const struct candidates *candidates = m->candidates;
	int n_params = m->task->kernel->n_params, twin[2];
	double *value = malloc((size_t)candidates->n * (size_t)n_params * sizeof *value);
	if (!value)
		return fail(STATUS_NO_MEMORY, "no memory for a search");
	for (int i = 0; i < candidates->n; i++)
		for (int p = 0; p < n_params; p++)
			value[(size_t)i * n_params + p] = candidates->config[i].value[p];
	enum status status = points_open(value, candidates->n, n_params, points, twin);
	free(value);
	return status;
}

static enum status screen_default(struct field *f)
{
	enum status status;
	struct measuring *m = f->m;
	double us;
	TRY(measure_screening(m, (int[]){0}, 1, &us));
	if (!isfinite(us)) {
		const struct journal_row *row = measure_row(m, SCREENING, 0);
		status = fail(STATUS_UNSUPPORTED, "%s %s %s: the default fails: %s: %s",
		              m->task->kernel->name, m->task->case_text, m->task->shape_text,
		              row->cell[JOURNAL_status], row->cell[JOURNAL_reason]);
		goto done;
	}
	search_tried(&f->search, us);
done:
	return status;
}

static int count_pending(const struct field *f)
{
	return f->search.n_taken - f->search.n_tried;
}

/* The n that have been pending the longest. */
static enum status try(struct field *f, int n)
{
	enum status status;
	double got[MAX_BATCH];
	TRY(measure_screening(f->m, f->search.order + f->search.n_tried, n, got));
	for (int i = 0; i < n; i++) {
		search_tried(&f->search, got[i]);
		f->n_failed += !isfinite(got[i]);
	}
	report(f);
done:
	return status;
}

/* What an earlier race rests on. */
static enum status try_known(struct field *f)
{
	enum status status = STATUS_OK;
	int *which = malloc((size_t)f->m->candidates->n * sizeof *which);
	if (!which)
		return fail(STATUS_NO_MEMORY, "no memory for a search");
	const int n = prior_screened(f->m, f->race->prior, which);
	for (int i = 0; i < n; i++)
		search_take(&f->search, which[i]);
	for (int left; (left = count_pending(f)) > 0;)
		TRY(try(f, left < MAX_BATCH ? left : MAX_BATCH));
done:
	free(which);
	return status;
}

/* What is likely to be fast, at most half of the budget. */
static void take_seeds(struct field *f, int most)
{
	const struct race *race = f->race;
	for (int i = 0, n = 0; i < race->n_seeds && n < MAX_SEEDS && n < most / 2; i++) {
		if (f->search.taken[race->seeds[i]])
			continue;
		search_take(&f->search, race->seeds[i]);
		n++;
	}
}

/* As many as may be pending. What they are depends on how many are tried, not on who compiles how
 * fast. */
static enum status propose(struct field *f, int most)
{
	enum status status = STATUS_OK;
	struct search *search = &f->search;
	const int pending = f->m->worker->info.target.sm ? GPU_PENDING : HOST_PENDING;
	while (search->n_taken < most && count_pending(f) + BATCH <= pending) {
		const int before = search->n_taken, room = most - before;
		crew_leave(f->m->crew);
		status = f->race->strategy->propose(search, room < BATCH ? room : BATCH);
		crew_enter(f->m->crew);
		TRY(status);
		if (search->n_taken == before)
			break;
		TRY(measure_begin(f->m, search->order + before, search->n_taken - before));
	}
done:
	return status;
}

/* The default first, then the seeds, then what the strategy proposes, until it or the budget ends.
 */
static enum status search(struct field *f)
{
	enum status status;
	struct measuring *m = f->m;
	const struct race *race = f->race;
	struct search *search = &f->search;
	const int most = budget_evaluations(&race->budget, m->candidates->n);
	search_take(search, 0);
	if (race->prior) {
		TRY(screen_default(f));
		TRY(try_known(f));
	}
	take_seeds(f, most - search->n_taken);
	TRY(measure_begin(m, search->order + search->n_tried, count_pending(f)));
	if (!race->prior) {
		TRY(propose(f, most));
		TRY(screen_default(f));
	}
	while (search->n_tried < most &&
	       !(race->budget.seconds > 0 && m->seconds >= race->budget.seconds)) {
		TRY(propose(f, most));
		if (!count_pending(f))
			break;
		TRY(try(f, count_pending(f) < BATCH ? count_pending(f) : BATCH));
	}
done:
	measure_abandon(m);
	return status;
}

/* The finalists of an earlier race that are not in the field. */
static void enter_finalists(struct field *f, const struct prior *prior)
{
	for (int k = 0; k < prior->n_finalists && f->n < MAX_RACERS; k++) {
		int i = 0;
		while (i < f->n && f->racer[i].which != prior->finalist[k])
			i++;
		if (i == f->n)
			f->racer[f->n++] = (struct racer){.which = prior->finalist[k]};
	}
}

/* The default and the `keep` fastest of the screening, those far behind left out. */
static void enter(struct field *f, int keep)
{
	f->n = 0;
	f->racer[f->n++] = (struct racer){.which = 0};
	const double out = draws_differ(f) ? DRAWN_OUT : SCREENED_OUT;
	double best = INFINITY, last = -1;
	int last_which = -1;
	for (int i = 0; i < f->m->candidates->n; i++)
		best = f->search.us[i] < best ? f->search.us[i] : best;
	while (f->n <= keep && f->n < MAX_RACERS) {
		int next = -1; /* the smallest (us, which) after (last, last_which) */
		for (int i = 1; i < f->m->candidates->n; i++)
			if ((f->search.us[i] > last ||
			     (f->search.us[i] == last && i > last_which)) &&
			    (next < 0 || f->search.us[i] < f->search.us[next]))
				next = i;
		if (next < 0 || f->search.us[next] > out * best)
			break;
		last = f->search.us[next];
		last_which = next;
		f->racer[f->n++] = (struct racer){.which = next};
	}
}

static void drop_failed(struct field *f)
{
	int n = 1;
	for (int i = 1; i < f->n; i++)
		if (!f->racer[i].failed)
			f->racer[n++] = f->racer[i];
	f->n_failed += f->n - n;
	f->n = n;
}

/* A round that the journal has for some of the field alone was cut short. It is no pair of
 * anything; who failed in it stays out. */
static void pass_over(struct field *f)
{
	for (int i = 0; i < f->n; i++) {
		const struct journal_row *row = measure_row(f->m, f->round, f->racer[i].which);
		f->racer[i].failed |= row && strcmp(row->cell[JOURNAL_status], "ok");
	}
}

/* Runs until every racer has `target` complete rounds. */
static enum status run_rounds(struct field *f, int target)
{
	enum status status = STATUS_OK;
	int which[MAX_RACERS];
	double us[MAX_RACERS];
	while (f->n_rounds < target && f->n > 1) {
		for (int i = 0; i < f->n; i++)
			which[i] = f->racer[i].which;
		f->round++;
		int known = measure_known(f->m, f->round, which, f->n);
		if (known && known < f->n) {
			pass_over(f);
		} else {
			TRY(measure_round(f->m, f->round, f->race->plan->sweeps, which, f->n, us));
			for (int i = 0; i < f->n; i++) {
				f->racer[i].us[f->n_rounds] = us[i];
				f->racer[i].failed |= !isfinite(us[i]);
			}
			f->n_samples += f->n * f->race->plan->sweeps;
			f->n_rounds += !f->racer[0].failed;
		}
		if (f->racer[0].failed) {
			status =
			        fail(STATUS_UNSUPPORTED, "%s %s %s: the default failed in round %d",
			             f->m->task->kernel->name, f->m->task->case_text,
			             f->m->task->shape_text, f->round);
			goto done;
		}
		drop_failed(f);
		report(f);
	}
done:
	return status;
}

static int by_score(const void *left, const void *right)
{
	const struct racer *a = left, *b = right;
	int order = (a->score > b->score) - (a->score < b->score);
	return order ? order : a->which - b->which;
}

/* Times by the field's median of their round, which no single disturbance moves: their median, or
 * while there are FEW_ROUNDS their minimum, since disturbances only lengthen. */
static void rank(struct field *f)
{
	double level[MAX_ROUNDS], us[MAX_RACERS], ratio[MAX_ROUNDS];
	for (int r = 0; r < f->n_rounds; r++) {
		for (int i = 0; i < f->n; i++)
			us[i] = f->racer[i].us[r];
		level[r] = median(us, f->n);
	}
	for (int i = 0; i < f->n; i++) {
		double least = INFINITY;
		for (int r = 0; r < f->n_rounds; r++) {
			ratio[r] = f->racer[i].us[r] / level[r];
			least = fmin(least, ratio[r]);
		}
		f->racer[i].score = f->n_rounds <= FEW_ROUNDS ? least : median(ratio, f->n_rounds);
	}
	qsort(&f->racer[1], (size_t)f->n - 1, sizeof f->racer[0], by_score);
}

/* What the tests say of the finalists, ranked. */
struct judgement {
	bool beats_default[MAX_RACERS], behind_best[MAX_RACERS];
	bool settled;                    /* no comparison is open */
	double confidence, among_equals; /* of a comparison with the default, and with the best */
};

/* How the times of b in the rounds of the finalists relate to those of a. Notes when that is open:
 * neither told apart nor the same within what matters. */
static enum verdict test(const struct field *f, const struct racer *a, const struct racer *b,
                         double confidence, struct judgement *j)
{
	int first = f->first_final, n = f->n_rounds - first;
	enum verdict verdict =
	        compare_paired(a->us + first, b->us + first, n, confidence, RACE_NOISE).verdict;
	bool same =
	        compare_paired(a->us + first, b->us + first, n, confidence, RACE_MATTERS).verdict ==
	        VERDICT_SAME;
	j->settled &= verdict != VERDICT_UNSURE || same;
	return verdict;
}

static int count_looks(const struct field *f)
{
	const struct race_plan *plan = f->race->plan;
	return draws_differ(f) ? plan->n_drawn_looks : plan->n_looks;
}

static void judge(const struct field *f, struct judgement *j)
{
	const struct racer *best = NULL;
	const int tests = 2 * f->n_finalists * count_looks(f);
	const double confidence = 1 - RACE_ERROR / (tests ? tests : 1);
	*j = (struct judgement){
	        .settled = true,
	        .confidence = confidence,
	        .among_equals = draws_differ(f) ? 1 - RACE_TIE_ERROR : confidence,
	};
	for (int i = 1; i < f->n; i++) {
		j->beats_default[i] =
		        test(f, &f->racer[0], &f->racer[i], j->confidence, j) == VERDICT_FASTER;
		if (j->beats_default[i] && !best)
			best = &f->racer[i];
	}
	for (int i = 1; i < f->n && best; i++)
		if (&f->racer[i] != best)
			j->behind_best[i] =
			        test(f, best, &f->racer[i], j->among_equals, j) == VERDICT_SLOWER;
}

/* Where draws differ, rounds are many and dear: who is behind the best without doubt runs no more
 * of them, but for the first two, of which one may be the runner-up. */
static void dismiss(struct field *f, const struct judgement *j)
{
	const int first = f->first_final, n_rounds = f->n_rounds - first;
	const struct racer *best = &f->racer[1];
	int n = f->n < 3 ? f->n : 3;
	if (!draws_differ(f))
		return;
	for (int i = n; i < f->n; i++) {
		const struct racer *racer = &f->racer[i];
		if (compare_paired(best->us + first, racer->us + first, n_rounds, j->confidence,
		                   RACE_NOISE)
		            .verdict != VERDICT_SLOWER)
			f->racer[n++] = *racer;
	}
	f->n = n;
}

/* Among those that beat the default and are not behind the best, the first in the order of
 * candidates wins. */
static void conclude(const struct field *f, const struct judgement *j, struct outcome *o)
{
	int winner = 0, equals = 0;
	for (int i = 1; i < f->n; i++) {
		if (!j->beats_default[i] || j->behind_best[i])
			continue;
		equals++;
		if (!winner || f->racer[i].which < f->racer[winner].which)
			winner = i;
	}
	o->verdict = !winner ? "default" : equals > 1 ? "tie" : "win";
	o->winner = f->racer[winner].which;
	o->rounds = f->n_rounds;
	o->runner_up = -1;
	o->us = o->default_us = f->search.us[0];
	o->runner_up_us = NAN;
	if (f->n < 2) {
		snprintf(o->reason, sizeof o->reason, "no other candidate came near");
		return;
	}
	const struct racer *second = &f->racer[winner != 1 ? 1 : f->n > 2 ? 2 : 0];
	o->us = median(f->racer[winner].us, f->n_rounds);
	o->default_us = median(f->racer[0].us, f->n_rounds);
	o->runner_up = second->which;
	o->runner_up_us = median(second->us, f->n_rounds);
	snprintf(o->reason, sizeof o->reason,
	         "runner-up takes %+.2f %%, default %+.2f %%; %d rounds, %d equal, %.2f %% "
	         "confidence per test, %.4g %% among equals",
	         100 * (second->score / f->racer[winner].score - 1),
	         100 * (f->racer[0].score / f->racer[winner].score - 1), f->n_rounds,
	         equals > 1 ? equals : 0, 100 * j->confidence, 100 * j->among_equals);
}

static enum status race(struct field *f, struct outcome *outcome)
{
	enum status status = STATUS_OK;
	const struct race_plan *plan = f->race->plan;
	struct judgement judgement = {0};
	const double before = f->m->seconds;
	enter(f, plan->stage[0].keep);
	if (f->race->prior) {
		enter_finalists(f, f->race->prior);
		f->round = f->race->prior->last_round;
	}
	for (int s = 0; s < plan->n_stages; s++) {
		if (s && f->n > plan->stage[s].keep + 1)
			f->n = plan->stage[s].keep + 1;
		TRY(run_rounds(f, plan->stage[s].rounds * (draws_differ(f) ? 2 : 1)));
		if (f->n_rounds)
			rank(f);
	}
	f->first_final = f->n_rounds;
	f->n_finalists = f->n - 1;
	for (int l = 0; l < count_looks(f) && f->n > 1; l++) {
		if (l >= plan->n_looks && f->m->seconds - before > DRAWN_SECONDS)
			break;
		if (l)
			dismiss(f, &judgement);
		TRY(run_rounds(f, f->first_final + plan->look[l]));
		rank(f);
		judge(f, &judgement);
		if (judgement.settled)
			break;
	}
	conclude(f, &judgement, outcome);
done:
	return status;
}

enum status race_run(const struct race *options, struct measuring *m, struct outcome *outcome)
{
	enum status status;
	const struct prior *prior = options->prior;
	struct field *f;
	*outcome = prior ? prior->outcome : (struct outcome){0};
	if (prior && outcome->tried >= budget_evaluations(&options->budget, m->candidates->n))
		return STATUS_OK;
	f = calloc(1, sizeof *f);
	if (!f)
		return fail(STATUS_NO_MEMORY, "no memory for a race");
	f->race = options;
	f->m = m;
	TRY(open_points(m, &f->points));
	TRY(search_open(options->strategy, &f->points, options->seed, &f->search));
	TRY(search(f));
	if (prior && f->search.n_tried <= outcome->tried)
		goto done;
	*outcome = (struct outcome){0};
	TRY(race(f, outcome));
	outcome->tried = f->search.n_tried;
	outcome->failed = f->n_failed;
	outcome->samples = f->n_samples;
done:
	search_close(options->strategy, &f->search);
	points_close(&f->points);
	free(f);
	return status;
}
