#define _GNU_SOURCE
#include "tuner/tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tuner/breakpoints.h"
#include "tuner/cold.h"

double tune_expected_us(const struct tune *t, const struct task *task)
{
	const struct device_info *info = &t->worker.info;
	double gbps = info->bus_gbps > 0 ? info->bus_gbps : 10;
	return 3 + 1e-3 * task->kernel->bytes(&task->shape, task->kase.value) / gbps;
}

/* What is left of a task: candidates without a row at the cost of a screening, and the race. */
static double expected_seconds(const struct tune *t, int i, int *left)
{
	const struct candidates *candidates = &t->candidates[i];
	const struct race_plan *plan = t->race.plan;
	double us = tune_expected_us(t, &t->tasks.task[i]);
	int n = budget_evaluations(&t->race.budget, candidates->n), known = 0;
	struct provenance provenance;
	struct measuring m = {.task = &t->tasks.task[i],
	                      .candidates = candidates,
	                      .provenance = &provenance,
	                      .journal = (struct journal *)&t->journal};
	provenance_of(m.task->kernel, &t->worker.info, &provenance);
	for (int c = 0; c < candidates->n; c++)
		known += measure_row(&m, SCREENING, c) != NULL;
	*left = n > known ? n - known : 0;
	double sample = fmin(20 * us, 1e4) * 1e-6;
	int rounds = 2 * plan->look[0] * plan->stage[plan->n_stages - 1].keep * plan->sweeps;
	return *left * (0.05 + 6 * sample) + rounds * sample + 0.5;
}

/* Learns from finished tasks what one takes: a + b times what was expected. */
static void learn_pace(struct tune *t, int i, double seconds)
{
	double e = t->seconds[i];
	struct pace *p = &t->pace;
	p->n++;
	p->e += e;
	p->s += seconds;
	p->ee += e * e;
	p->es += e * seconds;
	double spread = p->n * p->ee - p->e * p->e;
	p->b = spread > 1e-6 * p->ee ? (p->n * p->es - p->e * p->s) / spread : 0;
	p->a = (p->s - p->b * p->e) / p->n;
	if (p->n == 1 || p->a < 0) {
		p->a = 0;
		p->b = p->s / p->e;
	} else if (p->b < 0) {
		p->a = p->s / p->n;
		p->b = 0;
	}
}

/* Seconds from now on: of the task under way what is left of what it should take, a tenth at least,
 * and the tasks after it. */
static double seconds_left(const struct tune *t)
{
	const struct pace *p = &t->pace;
	double left = 0;
	for (int i = t->current; i < t->tasks.n; i++) {
		double seconds = p->a + p->b * t->seconds[i];
		double spent = i == t->current ? seconds_now() - t->task_started : 0;
		left += fmax(seconds - spent, 0.1 * seconds);
	}
	return left + p->a * t->n_later + p->b * t->later_seconds;
}

static enum status open_tasks(struct tune *t)
{
	enum status status;
	TRY(tasks_open(&t->options->request, &t->worker.info, &t->tasks));
	t->candidates = calloc((size_t)t->tasks.n, sizeof *t->candidates);
	t->seconds = calloc((size_t)t->tasks.n, sizeof *t->seconds);
	t->outcome = calloc((size_t)t->tasks.n, sizeof *t->outcome);
	if (!t->candidates || !t->seconds || !t->outcome) {
		status = fail(STATUS_NO_MEMORY, "no memory for %d tasks", t->tasks.n);
		goto done;
	}
	for (int i = 0; i < t->tasks.n; i++)
		TRY(candidates_open(&t->tasks.task[i], &t->worker.info, &t->candidates[i]));
done:
	return status;
}

void print_duration(double seconds)
{
	if (seconds < 90)
		printf("%.0f s", seconds);
	else
		printf("%.0f min", seconds / 60);
}

void tune_print_plan(const struct tune *t)
{
	double total = 0, lengths;
	for (int i = 0; i < t->tasks.n; i++) {
		const struct task *task = &t->tasks.task[i];
		const struct candidates *c = &t->candidates[i];
		int left;
		double seconds = expected_seconds(t, i, &left);
		total += seconds;
		printf("%s %s %s: %d points", task->kernel->name, task->shape_text, task->case_text,
		       c->n_space);
		for (int r = 0; r < c->n_reasons; r++)
			printf(", %d pruned (%s)", c->pruned[r].n, c->pruned[r].reason);
		printf(", %d to try, %d to measure now, about ", c->n, left);
		print_duration(seconds);
		printf("\n");
	}
	breakpoints_print_plan(t);
	total += breakpoints_seconds(t, &lengths);
	if (t->race.budget.seconds > 0 && t->race.budget.seconds < total)
		total = t->race.budget.seconds;
	printf("%d launches on %s by %s, about ", t->tasks.n, t->worker.info.name,
	       t->race.strategy->name);
	print_duration(total);
	printf("\n");
}

/* The read ceiling, where it is one: not for launches that find their inputs in a cache. NaN
 * otherwise. */
static double ceiling_of(const struct tune *t, const struct task *task)
{
	return cold_copies(task, &t->worker.info) > 0 ? t->ceiling_gbps : NAN;
}

static double percent_of_ceiling(const struct tune *t, double us)
{
	const struct task *task = &t->tasks.task[t->current];
	double gbps = 1e-3 * task->kernel->bytes(&task->shape, task->kase.value) / us;
	return 100 * gbps / t->ceiling_gbps;
}

static void show_progress(void *user, int tried, int failed, double best_us)
{
	struct tune *t = user;
	const struct task *task = &t->tasks.task[t->current];
	const struct candidates *c = &t->candidates[t->current];
	int n = budget_evaluations(&t->race.budget, c->n);
	char note[256], percent[32] = "";
	if (ceiling_of(t, task) > 0)
		snprintf(percent, sizeof percent, " (%.0f %% of ceiling)",
		         percent_of_ceiling(t, best_us));
	snprintf(note, sizeof note, "%s %s: %d of %d tried, %d pruned, %d failed, best %.4g us%s",
	         task->kernel->name, task->shape_text, tried, n, c->n_space - c->n, failed, best_us,
	         percent);
	double spent = seconds_now() - t->progress.started;
	t->progress.total = spent + seconds_left(t);
	progress_update(&t->progress, spent, note);
}

static void number(char text[32], double value)
{
	text[0] = 0;
	if (isfinite(value))
		snprintf(text, 32, "%.6g", value);
}

/* Whether the journal's latest verdict on this launch by this method is this one. */
static bool is_latest(const struct journal *journal, const char *const cell[N_JOURNAL_COLUMNS])
{
	static const int same[] = {JOURNAL_key, JOURNAL_config, JOURNAL_us, JOURNAL_status,
	                           JOURNAL_reason};
	for (int i = journal->n_rows; i-- > 0;) {
		const char *const *old = journal->rows[i].cell;
		if (old[JOURNAL_round][0] || !strcmp(old[JOURNAL_status], "key") ||
		    strcmp(old[JOURNAL_kernel], cell[JOURNAL_kernel]) ||
		    strcmp(old[JOURNAL_case], cell[JOURNAL_case]) ||
		    strcmp(old[JOURNAL_shape], cell[JOURNAL_shape]) ||
		    strcmp(old[JOURNAL_method], cell[JOURNAL_method]))
			continue;
		for (size_t s = 0; s < sizeof same / sizeof *same; s++)
			if (strcmp(old[same[s]], cell[same[s]]))
				return false;
		return true;
	}
	return false;
}

enum status tune_record(struct tune *t, const struct measuring *m, const struct outcome *outcome,
                        const char *stage, double regret_percent)
{
	const struct task *task = m->task;
	const struct kernel *kernel = task->kernel;
	char config[CONFIG_TEXT], runner_up[CONFIG_TEXT] = "", us[32], default_us[32], samples[32];
	char runner_up_us[32], gbps[32], ceiling[32], seconds[32], method[64], date[32], regret[32];
	const struct config *configs = m->candidates->config;
	const char *cell[N_JOURNAL_COLUMNS] = {0};
	time_t now = time(NULL);
	struct tm tm;
	params_format(kernel->params, kernel->n_params, configs[outcome->winner].value, config);
	if (outcome->runner_up >= 0)
		params_format(kernel->params, kernel->n_params, configs[outcome->runner_up].value,
		              runner_up);
	number(us, outcome->us);
	number(default_us, outcome->default_us);
	number(runner_up_us, outcome->runner_up_us);
	number(gbps, 1e-3 * kernel->bytes(&task->shape, task->kase.value) / outcome->us);
	number(ceiling, ceiling_of(t, task));
	number(regret, regret_percent);
	snprintf(samples, sizeof samples, "%d", outcome->rounds * t->race.plan->sweeps);
	snprintf(seconds, sizeof seconds, "%.2f", m->seconds);
	snprintf(method, sizeof method, "%s + race%s%s", t->race.strategy->name, stage,
	         t->options->request.quick ? " (quick)" : "");
	strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &tm));
	cell[JOURNAL_key] = m->provenance->key;
	cell[JOURNAL_kernel] = kernel->name;
	cell[JOURNAL_case] = task->case_text;
	cell[JOURNAL_shape] = task->shape_text;
	cell[JOURNAL_config] = config;
	cell[JOURNAL_us] = us;
	cell[JOURNAL_status] = outcome->verdict;
	cell[JOURNAL_reason] = outcome->reason;
	cell[JOURNAL_samples] = samples;
	cell[JOURNAL_seconds] = seconds;
	cell[JOURNAL_gbps] = gbps;
	cell[JOURNAL_ceiling_gbps] = ceiling;
	cell[JOURNAL_default_us] = default_us;
	cell[JOURNAL_runner_up] = runner_up;
	cell[JOURNAL_runner_up_us] = runner_up_us;
	cell[JOURNAL_method] = method;
	cell[JOURNAL_date] = date;
	cell[JOURNAL_regret_percent] = regret;
	return is_latest(&t->journal, cell) ? STATUS_OK : journal_append(&t->journal, cell);
}

static void print_outcome(const struct tune *t, const struct outcome *o)
{
	const struct task *task = &t->tasks.task[t->current];
	const struct candidates *c = &t->candidates[t->current];
	char config[CONFIG_TEXT];
	params_format(task->kernel->params, task->kernel->n_params, c->config[o->winner].value,
	              config);
	if (t->progress.terminal && !t->options->quiet)
		fputs("\r\033[K", stderr);
	fprintf(t->options->out, "%s %s %s: %.4g us", task->kernel->name, task->shape_text,
	        task->case_text, o->us);
	if (ceiling_of(t, task) > 0)
		fprintf(t->options->out, " (%.0f %% of %.1f GB/s)", percent_of_ceiling(t, o->us),
		        t->ceiling_gbps);
	fprintf(t->options->out, ", %.2fx the default, %s, %d tried, %d failed: %s\n",
	        o->default_us / o->us, o->verdict, o->tried, o->failed, config);
	fflush(t->options->out);
}

/* A budget of seconds is for all tasks: each has a share by what it is expected to take. */
static struct budget share_of(const struct tune *t, const struct budget *budget, int i)
{
	struct budget share = *budget;
	double all = 0;
	for (int j = 0; j < t->tasks.n; j++)
		all += tune_expected_us(t, &t->tasks.task[j]) * t->candidates[j].n;
	share.seconds *= tune_expected_us(t, &t->tasks.task[i]) * t->candidates[i].n / all;
	return share;
}

static enum status tune_task(struct tune *t, int i)
{
	enum status status;
	struct provenance provenance;
	struct outcome outcome;
	struct race race = t->race;
	struct measuring m = {.journal = &t->journal,
	                      .worker = &t->worker,
	                      .task = &t->tasks.task[i],
	                      .candidates = &t->candidates[i],
	                      .provenance = &provenance,
	                      .interrupted = t->options->interrupted,
	                      .default_us = NAN};
	t->current = i;
	race.budget = share_of(t, &t->race.budget, i);
	provenance_of(m.task->kernel, &t->worker.info, &provenance);
	TRY(journal_key(&t->journal, m.task->kernel, &provenance));
	TRY(race_run(&race, &m, &outcome));
	TRY(tune_record(t, &m, &outcome, "", NAN));
	t->outcome[i] = outcome;
	print_outcome(t, &outcome);
done:
	return status;
}

/* A task that cannot be tuned does not keep the others from it. */
enum status tune_run(struct tune *t)
{
	enum status status;
	double total = 0;
	int left;
	t->later_seconds = breakpoints_seconds(t, &t->n_later);
	for (int i = 0; i < t->tasks.n; i++)
		total += t->seconds[i] = expected_seconds(t, i, &left);
	t->race.budget.seconds -= fmin(t->later_seconds, t->race.budget.seconds / 2);
	TRY(measure_ceiling(&t->worker, &t->ceiling_gbps));
	progress_start(&t->progress, "tune", total + t->later_seconds, t->options->quiet);
	for (int i = 0; i < t->tasks.n; i++) {
		t->task_started = seconds_now();
		enum status task_status = tune_task(t, i);
		if (task_status == STATUS_UNSUPPORTED) {
			fprintf(stderr, "%s: %s\n", "warpsmith-tune", fail_message());
			t->n_untunable++;
			task_status = STATUS_OK;
		}
		TRY(task_status);
		learn_pace(t, i, seconds_now() - t->task_started);
	}
	progress_finish(&t->progress, NULL);
done:
	return status;
}

enum status tune_open(const struct tune_options *options, struct tune *t)
{
	enum status status;
	*t = (struct tune){.options = options,
	                   .journal.log.file = -1,
	                   .ceiling_gbps = NAN,
	                   .race = options->race,
	                   .pace.b = 1};
	t->race.report = show_progress;
	t->race.user = t;
	TRY(worker_start(&t->worker, options->device));
	TRY(open_tasks(t));
done:
	if (status != STATUS_OK)
		tune_close(t);
	return status;
}

void tune_close(struct tune *t)
{
	worker_stop(&t->worker);
	for (int i = 0; t->candidates && i < t->tasks.n; i++)
		candidates_close(&t->candidates[i]);
	free(t->candidates);
	free(t->seconds);
	free(t->outcome);
	tasks_close(&t->tasks);
	journal_close(&t->journal);
	*t = (struct tune){.journal.log.file = -1};
}
