#define _GNU_SOURCE
#include "tuner/tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tuner/breakpoints.h"
#include "tuner/cold.h"
#include "tuner/prior.h"
#include "tuner/ranks.h"
#include "tuner/seeds.h"
#include "tuner/subspace.h"

enum { METHOD_TEXT = 64 + SUBSPACE_TEXT };

double tune_expected_us(const struct tune *t, const struct task *task)
{
	const struct device_info *info = &t->worker.info;
	double gbps = info->bus_gbps > 0 ? info->bus_gbps : 10;
	return 3 + 1e-3 * task->kernel->bytes(&task->shape, task->kase.value) / gbps;
}

/* `stage`: "" or what else than the race a verdict is by. */
static void method_text(const struct tune *t, const char *stage, char text[METHOD_TEXT])
{
	const char *only = t->options->request.only;
	snprintf(text, METHOD_TEXT, "%s + race%s%s%s%s", t->race.strategy->name, stage,
	         t->options->request.quick ? " (quick)" : "", only ? SUBSPACE_METHOD : "",
	         only ? only : "");
}

/* The verdict that a race like this came to before; false when there is none. */
static bool find_prior(const struct tune *t, const struct measuring *m, struct prior *prior)
{
	char method[METHOD_TEXT];
	method_text(t, "", method);
	return prior_find(m, method, t->race.plan->sweeps, prior);
}

/* Of screening n candidates and the race, as far as one can know beforehand. */
static double task_seconds(const struct tune *t, int i, int n)
{
	const struct race_plan *plan = t->race.plan;
	double sample = fmin(20 * tune_expected_us(t, &t->tasks.task[i]), 1e4) * 1e-6;
	int rounds = 2 * plan->look[0] * plan->stage[plan->n_stages - 1].keep * plan->sweeps;
	return n * (0.05 + 6 * sample) + rounds * sample + 0.5;
}

/* Learns from a task what one takes: a + b times what was expected. */
static void learn_pace(struct tune *t, double e, double seconds)
{
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

/* Seconds that a task still takes; 0 when its verdict stands. */
static double paced_seconds(const struct tune *t, const struct job *job)
{
	return job->left > 0 ? t->pace.a + t->pace.b * job->left : 0;
}

/* What is left to do, and what the journal says of how long it takes. */
static void expect(struct tune *t)
{
	for (int i = 0; i < t->tasks.n; i++) {
		struct job *job = &t->job[i];
		struct measuring m = {.task = &t->tasks.task[i],
		                      .candidates = &job->candidates,
		                      .provenance = &job->provenance,
		                      .journal = &t->journal};
		int n = budget_evaluations(&t->race.budget, job->candidates.n), known = 0;
		provenance_of(m.task->kernel, &t->worker.info, &job->provenance);
		for (int c = 0; c < job->candidates.n; c++)
			known += measure_row(&m, SCREENING, c) != NULL;
		job->n_left = n > known ? n - known : 0;
		job->expected = task_seconds(t, i, n);
		job->left = task_seconds(t, i, job->n_left);
		struct prior prior;
		if (!find_prior(t, &m, &prior) || prior.outcome.tried < n)
			continue;
		job->n_left = 0;
		job->left = 0;
		if (prior.seconds > 0)
			learn_pace(t, task_seconds(t, i, prior.outcome.tried), prior.seconds);
	}
	t->later_seconds = breakpoints_seconds(t, &t->n_later);
}

/* Seconds from now on: of tasks under way what is left of what they should take, a tenth at least,
 * and the tasks not begun, by all workers together. */
static double seconds_left(const struct tune *t)
{
	double left = 0;
	int n_workers = 1;
	for (int i = 0; i < t->tasks.n; i++) {
		const struct job *job = &t->job[i];
		double seconds = paced_seconds(t, job);
		double spent = job->state == RUNNING ? seconds_now() - job->started : 0;
		if (job->state != ENDED)
			left += fmax(seconds - spent, 0.1 * seconds);
	}
	for (int i = 0; i < t->n_others; i++)
		n_workers += !t->others[i].lost;
	return (left + t->pace.a * t->n_later + t->pace.b * t->later_seconds) / n_workers;
}

static enum status open_tasks(struct tune *t)
{
	enum status status;
	int *parent = NULL;
	const struct tasks_request *request = &t->options->request;
	TRY(tasks_open(request, &t->worker.info, &t->tasks));
	t->job = calloc((size_t)t->tasks.n, sizeof *t->job);
	if (!t->job) {
		status = fail(STATUS_NO_MEMORY, "no memory for %d tasks", t->tasks.n);
		goto done;
	}
	TRY(subspace_check(request->only, &t->tasks));
	for (int i = 0; i < t->tasks.n; i++) {
		struct candidates *candidates = &t->job[i].candidates;
		TRY(candidates_open(&t->tasks.task[i], &t->worker.info, candidates));
		subspace_restrict(request->only, t->tasks.task[i].kernel, candidates);
	}
	parent = calloc((size_t)t->tasks.n + 1, sizeof *parent);
	if (!parent) {
		status = fail(STATUS_NO_MEMORY, "no memory for %d tasks", t->tasks.n);
		goto done;
	}
	seeds_choose_parents(&t->tasks, parent);
	for (int i = 0; i < t->tasks.n; i++)
		t->job[i].parent = parent[i];
done:
	free(parent);
	return status;
}

void print_duration(double seconds)
{
	if (seconds < 90)
		printf("%.0f s", seconds);
	else
		printf("%.0f min", seconds / 60);
}

void tune_print_plan(struct tune *t)
{
	double total = 0;
	expect(t);
	for (int i = 0; i < t->tasks.n; i++) {
		const struct task *task = &t->tasks.task[i];
		const struct candidates *c = &t->job[i].candidates;
		double seconds = paced_seconds(t, &t->job[i]);
		total += seconds;
		printf("%s %s %s: %d points", task->kernel->name, task->shape_text, task->case_text,
		       c->n_space);
		for (int r = 0; r < c->n_reasons; r++)
			printf(", %d pruned (%s)", c->pruned[r].n, c->pruned[r].reason);
		printf(", %d to try, %d to measure now, about ", c->n, t->job[i].n_left);
		print_duration(seconds);
		printf("\n");
	}
	breakpoints_print_plan(t);
	total += t->pace.a * t->n_later + t->pace.b * t->later_seconds;
	total /= 1 + t->n_others;
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

static double percent_of_ceiling(const struct tune *t, const struct task *task, double us)
{
	double gbps = 1e-3 * task->kernel->bytes(&task->shape, task->kase.value) / us;
	return 100 * gbps / t->ceiling_gbps;
}

/* Whose search reports: `user` of struct race. */
struct reporter {
	struct tune *tune;
	int i;
};

static void show_progress(void *user, int tried, int failed, double best_us)
{
	const struct reporter *reporter = user;
	struct tune *t = reporter->tune;
	const struct task *task = &t->tasks.task[reporter->i];
	const struct candidates *c = &t->job[reporter->i].candidates;
	int n = budget_evaluations(&t->race.budget, c->n);
	char note[256], percent[32] = "";
	if (ceiling_of(t, task) > 0)
		snprintf(percent, sizeof percent, " (%.0f %% of ceiling)",
		         percent_of_ceiling(t, task, best_us));
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

/* Whether the journal's latest verdict on the launch by this method is this one. */
static bool is_latest(const struct journal *journal, const struct task *task,
                      const char *const cell[N_JOURNAL_COLUMNS])
{
	static const int same[] = {JOURNAL_key,    JOURNAL_config, JOURNAL_us,
	                           JOURNAL_status, JOURNAL_reason, JOURNAL_tried};
	const struct journal_row *row = latest_verdict(journal, task, cell[JOURNAL_method]);
	for (size_t s = 0; row && s < sizeof same / sizeof *same; s++)
		if (strcmp(row->cell[same[s]], cell[same[s]]))
			return false;
	return row != NULL;
}

enum status tune_record(struct tune *t, const struct measuring *m, const struct outcome *outcome,
                        const char *stage, double regret_percent)
{
	const struct task *task = m->task;
	const struct kernel *kernel = task->kernel;
	char config[CONFIG_TEXT], runner_up[CONFIG_TEXT] = "", us[32], default_us[32], samples[32];
	char runner_up_us[32], gbps[32], ceiling[32], seconds[32], date[32], regret[32];
	char tried[16] = "", method[METHOD_TEXT];
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
	if (outcome->tried)
		snprintf(tried, sizeof tried, "%d", outcome->tried);
	snprintf(seconds, sizeof seconds, "%.2f", m->seconds + m->setup_seconds);
	method_text(t, stage, method);
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
	cell[JOURNAL_tried] = tried;
	return is_latest(&t->journal, task, cell) ? STATUS_OK : journal_append(&t->journal, cell);
}

static void print_outcome(const struct tune *t, int i)
{
	const struct task *task = &t->tasks.task[i];
	const struct outcome *o = &t->job[i].outcome;
	char config[CONFIG_TEXT];
	params_format(task->kernel->params, task->kernel->n_params,
	              t->job[i].candidates.config[o->winner].value, config);
	progress_clear(&t->progress);
	fprintf(t->options->out, "%s %s %s: %.4g us", task->kernel->name, task->shape_text,
	        task->case_text, o->us);
	if (ceiling_of(t, task) > 0)
		fprintf(t->options->out, " (%.0f %% of %.1f GB/s)",
		        percent_of_ceiling(t, task, o->us), t->ceiling_gbps);
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
		all += tune_expected_us(t, &t->tasks.task[j]) * t->job[j].candidates.n;
	share.seconds *= tune_expected_us(t, &t->tasks.task[i]) * t->job[i].candidates.n / all;
	return share;
}

/* What the task's search begins with. */
static int find_seeds(const struct tune *t, int i, int which[MAX_SEEDS])
{
	const struct task *ancestors[MAX_ANCESTORS];
	int n = 0;
	for (int p = t->job[i].parent; p >= 0 && n < MAX_ANCESTORS; p = t->job[p].parent)
		ancestors[n++] = &t->tasks.task[p];
	return seeds_find(&t->job[i].measuring, ancestors, n, which);
}

static enum status tune_task(struct tune *t, int i, struct worker *worker)
{
	enum status status;
	struct job *job = &t->job[i];
	struct measuring *m = &job->measuring;
	struct outcome outcome;
	struct reporter reporter = {t, i};
	struct race race = t->race;
	struct prior prior;
	int seeds[MAX_SEEDS];
	race.report = show_progress;
	race.user = &reporter;
	race.budget = share_of(t, &t->race.budget, i);
	*m = (struct measuring){.crew = &t->crew,
	                        .journal = &t->journal,
	                        .worker = worker,
	                        .task = &t->tasks.task[i],
	                        .candidates = &job->candidates,
	                        .provenance = &job->provenance,
	                        .interrupted = t->options->interrupted,
	                        .default_us = NAN};
	TRY(journal_key(&t->journal, m->task->kernel, &job->provenance));
	if (find_prior(t, m, &prior))
		race.prior = &prior;
	race.seeds = seeds;
	race.n_seeds = find_seeds(t, i, seeds);
	TRY(race_run(&race, m, &outcome));
	if (!outcome.recalled)
		TRY(tune_record(t, m, &outcome, "", NAN));
	job->outcome = outcome;
	print_outcome(t, i);
done:
	return status;
}

static void complain(const struct tune *t, const char *text)
{
	progress_clear(&t->progress);
	fprintf(stderr, "warpsmith-tune: %s\n", text);
}

static void complain_lost(const struct tune *t, const struct worker *worker)
{
	char text[512];
	snprintf(text, sizeof text, "rank %d on %s is lost; the others take over its work",
	         worker->rank, ranks_host(worker->rank));
	complain(t, text);
}

/* Tunes a task. A rank that is lost leaves it to another, which finds in the journal what has been
 * measured. A task that cannot be tuned does not keep the others from it. */
static void run_job(struct tune *t, int i, struct worker *worker)
{
	struct job *job = &t->job[i];
	job->state = RUNNING;
	job->started = seconds_now();
	enum status status = tune_task(t, i, worker);
	job->state = ENDED;
	if (status == STATUS_OK) {
		if (job->left > 0)
			learn_pace(t, job->expected,
			           job->measuring.seconds + job->measuring.setup_seconds);
	} else if (worker->lost) {
		job->state = WAITING;
	} else if (status == STATUS_UNSUPPORTED) {
		complain(t, fail_message());
		t->n_untunable++;
	} else {
		crew_fail(&t->crew, status);
	}
	crew_changed(&t->crew);
}

/* Screens some of another worker's candidates. */
static void help(struct tune *t, struct job *job, struct worker *worker)
{
	enum status status = measure_help(&job->measuring, worker);
	if (status == STATUS_OK || worker->lost)
		return;
	if (status == STATUS_UNSUPPORTED)
		job->no_help = true;
	else
		crew_fail(&t->crew, status);
}

/* Whether what the task is to learn from is there. */
static bool is_ready(const struct tune *t, const struct job *job)
{
	return job->state == WAITING && (job->parent < 0 || t->job[job->parent].state == ENDED);
}

/* The task to begin next, with several workers the longest first; -1 when none is ready. */
static int next_task(const struct tune *t)
{
	int next = -1;
	for (int i = 0; i < t->tasks.n; i++)
		if (is_ready(t, &t->job[i]) &&
		    (next < 0 || (t->n_others && t->job[i].left > t->job[next].left)))
			next = i;
	return next;
}

/* The search to help with: one that the worker is set up for, else that with most to do. */
static struct job *needs_help(const struct tune *t, const struct worker *worker)
{
	struct job *job = NULL;
	for (int i = 0; i < t->tasks.n; i++) {
		struct job *other = &t->job[i];
		int n_free = measure_free(&other->measuring);
		if (!n_free || other->no_help)
			continue;
		if (worker->task == other->measuring.task)
			return other;
		if (!job || n_free > measure_free(&job->measuring))
			job = other;
	}
	return job;
}

static bool any_running(const struct tune *t)
{
	for (int i = 0; i < t->tasks.n; i++)
		if (t->job[i].state == RUNNING)
			return true;
	return false;
}

/* What a worker does until there is nothing left for it. */
static void work(void *user, struct worker *worker)
{
	struct tune *t = user;
	while (t->crew.status == STATUS_OK && !worker->lost) {
		int i = next_task(t);
		struct job *job = needs_help(t, worker);
		if (i >= 0)
			run_job(t, i, worker);
		else if (job)
			help(t, job, worker);
		else if (any_running(t))
			crew_wait(&t->crew);
		else
			break;
	}
}

struct member {
	pthread_t thread;
	struct tune *tune;
	struct worker *worker;
	void (*work)(void *user, struct worker *worker);
	void *user;
};

static void take_part(const struct member *member)
{
	struct worker *worker = member->worker;
	worker->from.lock = &member->tune->crew.lock;
	member->work(member->user, worker);
	worker->from.lock = NULL;
	if (worker->lost)
		complain_lost(member->tune, worker);
}

static void *run_member(void *user)
{
	struct member *member = user;
	crew_enter(&member->tune->crew);
	take_part(member);
	crew_leave(&member->tune->crew);
	return NULL;
}

/* This process's own worker in this thread, since a worker process dies with the thread that
 * started it. */
enum status tune_together(struct tune *t, void (*work)(void *user, struct worker *worker),
                          void *user)
{
	enum status status;
	int n = 0;
	const struct member own = {.tune = t, .worker = &t->worker, .work = work, .user = user};
	struct member *members = calloc((size_t)t->n_others + 1, sizeof *members);
	if (!members)
		return fail(STATUS_NO_MEMORY, "no memory for %d workers", t->n_others + 1);
	crew_open(&t->crew);
	for (int i = 0; i < t->n_others; i++) {
		if (t->others[i].lost)
			continue;
		members[n] = own;
		members[n].worker = &t->others[i];
		if (pthread_create(&members[n].thread, NULL, run_member, &members[n])) {
			crew_fail(&t->crew, fail(STATUS_FAILED, "cannot start a thread"));
			break;
		}
		n++;
	}
	take_part(&own);
	crew_leave(&t->crew);
	for (int i = 0; i < n; i++)
		pthread_join(members[i].thread, NULL);
	crew_enter(&t->crew);
	status = crew_status(&t->crew);
	crew_close(&t->crew);
	free(members);
	return status;
}

enum status tune_run(struct tune *t)
{
	enum status status;
	expect(t);
	t->race.budget.seconds -= fmin(t->later_seconds, t->race.budget.seconds / 2);
	TRY(measure_ceiling(&t->worker, &t->ceiling_gbps));
	progress_start(&t->progress, "tune", seconds_left(t), t->options->quiet);
	TRY(tune_together(t, work, t));
	progress_finish(&t->progress, NULL);
done:
	return status;
}

/* Two ranks of one machine with the same device. CPUs have no PCI id, and all ranks share them. */
static enum status check_shared(const struct worker *a, const struct worker *b)
{
	const char *host = ranks_host(a->rank);
	if (a->lost || b->lost || strcmp(host, ranks_host(b->rank)) ||
	    strcmp(a->info.pci_bus_id, b->info.pci_bus_id))
		return STATUS_OK;
	if (a->info.pci_bus_id[0])
		return fail(STATUS_USAGE,
		            "ranks %d and %d share the GPU %s of %s: one rank per GPU", a->rank,
		            b->rank, a->info.pci_bus_id, host);
	warn_once("ranks share the CPUs of %s: their times disturb each other", host);
	return STATUS_OK;
}

/* Rows stand for one model of device. */
static enum status check_model(const struct worker *a, const struct worker *b)
{
	const struct device_info *x = &a->info, *y = &b->info;
	if (b->lost)
		return STATUS_OK;
	if (strcmp(x->name, y->name) || x->sm_count != y->sm_count)
		return fail(STATUS_USAGE,
		            "rank %d on %s has %s with %d multiprocessors, rank %d has %s with %d: "
		            "all must be of one model",
		            b->rank, ranks_host(b->rank), y->name, y->sm_count, a->rank, x->name,
		            x->sm_count);
	if (strcmp(x->driver, y->driver) || strcmp(x->toolkit, y->toolkit))
		return fail(
		        STATUS_USAGE,
		        "rank %d on %s has driver %s and toolkit %s, rank %d has %s and %s: all "
		        "must have the same",
		        b->rank, ranks_host(b->rank), y->driver, y->toolkit, a->rank, x->driver,
		        x->toolkit);
	return STATUS_OK;
}

static enum status check_devices(const struct tune *t)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < t->n_others; i++) {
		TRY(check_model(&t->worker, &t->others[i]));
		TRY(check_shared(&t->worker, &t->others[i]));
		for (int j = 0; j < i; j++)
			TRY(check_shared(&t->others[j], &t->others[i]));
	}
done:
	return status;
}

/* The workers of the other ranks, on the kind of device that this rank has. Ranks that were lost
 * are left out. */
static enum status open_others(struct tune *t)
{
	const char *device = t->options->device;
	int n = ranks_count() - 1;
	if (!strcmp(device, "auto"))
		device = t->worker.info.target.sm ? "cuda" : t->worker.info.slug;
	t->others = calloc((size_t)n + 1, sizeof *t->others);
	if (!t->others)
		return fail(STATUS_NO_MEMORY, "no memory for %d workers", n);
	t->n_others = n;
	for (int i = 0; i < 2 * n; i++) { /* all start, then all are waited for */
		struct worker *worker = &t->others[i % n];
		worker->rank = 1 + i % n;
		if (worker->lost)
			continue;
		enum status status = i < n ? worker_launch(worker, device) : worker_greet(worker);
		if (worker->lost)
			complain_lost(t, worker);
		else if (status != STATUS_OK)
			return fail(status, "rank %d on %s: %s", worker->rank,
			            ranks_host(worker->rank), fail_message());
	}
	return check_devices(t);
}

enum status tune_open(const struct tune_options *options, struct tune *t)
{
	enum status status;
	*t = (struct tune){.options = options,
	                   .journal.log.file = -1,
	                   .ceiling_gbps = NAN,
	                   .race = options->race,
	                   .pace.b = 1};
	TRY(worker_start(&t->worker, options->device));
	TRY(open_others(t));
	TRY(open_tasks(t));
done:
	if (status != STATUS_OK)
		tune_close(t);
	return status;
}

void tune_close(struct tune *t)
{
	worker_stop(&t->worker);
	for (int i = 0; i < t->n_others; i++)
		worker_stop(&t->others[i]);
	free(t->others);
	for (int i = 0; t->job && i < t->tasks.n; i++)
		candidates_close(&t->job[i].candidates);
	free(t->job);
	tasks_close(&t->tasks);
	journal_close(&t->journal);
	*t = (struct tune){.journal.log.file = -1};
}
