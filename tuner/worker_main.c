/* The worker process: sets a task up, checks and times its candidates on the device (worker.h has
 * the protocol). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/ceiling.h"
#include "bench/problem.h"
#include "bench/timer.h"
#include "kernels/stream.h"
#include "tuner/candidates.h"
#include "tuner/cold.h"
#include "tuner/instances.h"
#include "tuner/worker.h"

enum { MAX_SWEEPS = 64, MAX_PREPARED = 128 };
static const size_t CEILING_BYTES = (size_t)1 << 30; /* read by one launch */

/* Starting a graph takes about 20 us of a GPU, which its launches share. */
#define LEAST_US 500
/* Of a race where draws differ. It warms up in every round. On the host a graph starts at once, and
 * this is a thousand times the clock's resolution; longer graphs of short launches only outgrow the
 * caches and the processor's memory of branches. A screening would be over in a moment's
 * disturbance. */
#define DRAWN_LEAST_US       20
#define DRAWN_WARMUP_SECONDS 0.002

static const struct timer_options screening_options = {
        .min_samples = 3,
        .max_samples = 7,
        .half_width = 0.01,
        .limit_seconds = 0.1,
        .warmup_seconds = 0.02,
        .sample_seconds = 0.05,
        .launches = 20,
        .least_us = LEAST_US,
};
static const struct timer_options racing_options = {
        .min_samples = 1,
        .max_samples = 1,
        .warmup_seconds = 0.02,
        .sample_seconds = 0.05,
        .launches = 20,
        .least_us = LEAST_US,
};

struct rig;

/* Compiled candidates of a kernel and case. */
struct compiled {
	struct compiled *next;
	struct task task; /* its shape is nobody's */
	struct instances instances;
};

/* A candidate that can be launched. */
struct runnable {
	const struct rig *rig;
	struct config config;
	const void *entry;
	struct prepared prepared; /* while it races */
};

/* The worker's state. */
struct rig {
	FILE *out;
	struct device *device;
	struct timer screening, racing;
	struct task task;
	struct problem *problem;
	struct compiled *compiled; /* of all kernels and cases so far, the task's first */
	size_t bytes;              /* of one set of buffers */
	int copies;
	bool cold;
	struct runnable racer[MAX_RACERS];
	int n_racers;
};

static void reply_ok(const struct rig *rig, double value, int samples)
{
	fprintf(rig->out, "ok\t%.9g\t%d\n", value, samples);
	fflush(rig->out);
}

/* The candidate with this index is about to run. */
static void tell_at(const struct rig *rig, int index)
{
	fprintf(rig->out, "at\t%d\n", index);
	fflush(rig->out);
}

/* The row's status for a failure of ours. */
static void reply_failure(const struct rig *rig, enum status status)
{
	const char *name = status == STATUS_VIOLATION     ? "wrong"
	                   : status == STATUS_NO_MEMORY   ? "memory"
	                   : status == STATUS_UNSUPPORTED ? "compile"
	                                                  : "launch";
	char reason[256];
	snprintf(reason, sizeof reason, "%.255s", fail_message());
	for (char *c = reason; *c; c++)
		if (*c == '\t' || *c == '\n' || *c == '\r')
			*c = ' ';
	fprintf(rig->out, "%s\t%s\n", name, reason);
	fflush(rig->out);
}

static void close_racers(struct rig *rig)
{
	for (int i = 0; i < rig->n_racers; i++)
		prepared_close(&rig->racer[i].prepared);
	rig->n_racers = 0;
}

static void close_problem(struct rig *rig)
{
	close_racers(rig);
	problem_close(&rig->problem);
}

static void close_all(struct rig *rig)
{
	close_problem(rig);
	while (rig->compiled) {
		struct compiled *next = rig->compiled->next;
		instances_close(&rig->compiled->instances);
		free(rig->compiled);
		rig->compiled = next;
	}
}

/* Shapes do not matter: one program serves them all. */
static bool is_of(const struct compiled *compiled, const struct task *task)
{
	return compiled->task.kernel == task->kernel &&
	       !memcmp(&compiled->task.kase, &task->kase, sizeof task->kase);
}

/* Where the list has this task's, which is put to its end when it has none. */
static enum status find_compiled(struct rig *rig, const struct task *task, struct compiled ***place)
{
	struct compiled **at = &rig->compiled;
	while (*at && !is_of(*at, task))
		at = &(*at)->next;
	*place = at;
	if (*at)
		return STATUS_OK;
	struct compiled *c = *at = calloc(1, sizeof *c);
	if (!c)
		return fail(STATUS_NO_MEMORY, "no memory for compiled candidates");
	c->task = *task;
	instances_open(rig->device, &c->task, &c->instances);
	return STATUS_OK;
}

/* What was compiled for other shapes serves the task at hand too. */
static enum status choose_compiled(struct rig *rig)
{
	enum status status;
	struct compiled **place;
	TRY(find_compiled(rig, &rig->task, &place));
	struct compiled *chosen = *place;
	*place = chosen->next;
	chosen->next = rig->compiled;
	rig->compiled = chosen;
done:
	return status;
}

static enum status parse_case(const char *name, const char *kase, struct task *task)
{
	*task = (struct task){.kernel = name ? kernel_find(name) : NULL};
	if (!task->kernel || !kase)
		return fail(STATUS_USAGE, "no such task");
	return params_parse(task->kernel->fields, task->kernel->n_fields, kase, task->kase.value);
}

/* "task KERNEL CASE SHAPE" */
static enum status open_task(struct rig *rig, char *rest)
{
	enum status status;
	struct task *task = &rig->task;
	const char *name = strsep(&rest, "\t"), *kase = strsep(&rest, "\t");
	close_problem(rig);
	TRY(parse_case(name, kase, task));
	if (!rest)
		return fail(STATUS_USAGE, "no such task");
	const struct kernel *kernel = task->kernel;
	TRY(kernel_read_shape(kernel, rest, &task->shape));
	TRY(choose_compiled(rig));
	rig->bytes =
	        problem_bytes(kernel, task->kase.value, &task->shape, device_info(rig->device));
	rig->copies = cold_copies(task, device_info(rig->device));
	rig->cold = rig->copies > 0;
	if (!rig->cold)
		rig->copies = 1;
	TRY(problem_open(rig->device, kernel, task->kase.value, &task->shape, 1, rig->copies,
	                 &rig->problem));
done:
	return status;
}

static enum status parse_config(const struct rig *rig, const char *text, struct config *config)
{
	const struct kernel *kernel = rig->task.kernel;
	*config = (struct config){0};
	if (!text || !rig->problem)
		return fail(STATUS_USAGE, "no task or configuration");
	return params_parse(kernel->params, kernel->n_params, text, config->value);
}

/* "prepare CONFIG ..." */
static enum status prepare(struct rig *rig, char *rest)
{
	enum status status = STATUS_OK;
	struct config config[MAX_PREPARED];
	int n = 0;
	for (char *text; n < MAX_PREPARED && (text = strsep(&rest, "\t")); n++)
		TRY(parse_config(rig, text, &config[n]));
	TRY(instances_prepare(&rig->compiled->instances, config, n));
done:
	return status;
}

/* "ahead KERNEL CASE CONFIG ..." */
static enum status prepare_ahead(struct rig *rig, char *rest)
{
	enum status status;
	struct task task;
	struct compiled **place;
	struct config config[MAX_PREPARED] = {0};
	int n = 0;
	const char *name = strsep(&rest, "\t"), *kase = strsep(&rest, "\t");
	TRY(parse_case(name, kase, &task));
	for (char *text; n < MAX_PREPARED && (text = strsep(&rest, "\t")); n++)
		TRY(params_parse(task.kernel->params, task.kernel->n_params, text,
		                 config[n].value));
	TRY(find_compiled(rig, &task, &place));
	TRY(instances_prepare(&(*place)->instances, config, n));
done:
	return status;
}

/* What nobody waits for is not compiled. */
static void drop(struct rig *rig)
{
	for (struct compiled *c = rig->compiled; c; c = c->next)
		instances_withdraw(&c->instances);
	reply_ok(rig, 0, 0);
}

static enum status launch(void *user, int copy)
{
	const struct runnable *r = user;
	return problem_launch(r->rig->problem, r->entry, r->config.value, copy);
}

static struct workload workload_of(struct runnable *r, int copies)
{
	const struct rig *rig = r->rig;
	return (struct workload){.run = launch,
	                         .user = r,
	                         .copies = copies,
	                         .footprint_bytes = (size_t)copies * rig->bytes,
	                         .cold = rig->cold};
}

static bool is_default(const struct rig *rig, const struct config *config)
{
	for (int i = 0; i < rig->task.kernel->n_params; i++)
		if (config->value[i] != rig->task.kernel->params[i].default_value)
			return false;
	return true;
}

/* What the compiled code says of itself, before any launch; `reason` stays "" when it can run well.
 * The default is spared: it is the measure of the others. */
static enum status check_resources(const struct runnable *r, char reason[128])
{
	enum status status;
	const struct rig *rig = r->rig;
	const struct device_info *info = device_info(rig->device);
	struct entry_resources has = {0};
	struct grid grid = rig->task.kernel->grid(&rig->task.shape, rig->task.kase.value,
	                                          r->config.value, info);
	reason[0] = 0;
	if (!info->target.sm || is_default(rig, &r->config))
		return STATUS_OK;
	TRY(device_resources(rig->device, r->entry, grid, &has));
	if (has.spill_bytes > 0)
		snprintf(reason, 128, "%d bytes of spills per thread", has.spill_bytes);
	else if ((int)grid.threads > has.max_threads)
		snprintf(reason, 128, "%u threads per block, %d registers allow %d", grid.threads,
		         has.registers, has.max_threads);
	else if (has.blocks_per_sm < 1)
		snprintf(reason, 128, "no block fits a multiprocessor");
done:
	return status;
}

static enum status make_runnable(struct rig *rig, const char *text, struct runnable *r)
{
	enum status status;
	*r = (struct runnable){.rig = rig};
	TRY(parse_config(rig, text, &r->config));
	TRY(instances_find(&rig->compiled->instances, &r->config, &r->entry));
done:
	return status;
}

static enum status time_once(struct runnable *r, double *us)
{
	enum status status;
	const struct timer *timer = &r->rig->screening;
	TRY(event_record(timer->from));
	TRY(launch(r, 0));
	TRY(event_record(timer->to));
	TRY(event_elapsed_us(timer->from, timer->to, us));
done:
	return status;
}

/* "screen LIMIT_US CONFIG" */
static enum status screen(struct rig *rig, char *rest)
{
	enum status status;
	struct runnable r;
	struct timing timing;
	char reason[128];
	double once_us, limit_us = atof(strsep(&rest, "\t"));
	/* which the deadline of a launch does not allow for; meanwhile candidates are compiled */
	if (rig->problem)
		problem_compute_reference(rig->problem);
	TRY(make_runnable(rig, rest, &r));
	TRY(check_resources(&r, reason));
	if (reason[0]) {
		fprintf(rig->out, "pruned\t%s\n", reason);
		fflush(rig->out);
		goto done;
	}
	tell_at(rig, 0);
	TRY(problem_check(rig->problem, r.entry, r.config.value));
	TRY(time_once(&r, &once_us));
	if (limit_us > 0 && once_us > limit_us) {
		reply_ok(rig, once_us, 1);
		goto done;
	}
	struct workload workload = workload_of(&r, rig->copies);
	TRY(timer_measure(&rig->screening, &workload, &timing));
	reply_ok(rig, timing.us, timing.samples);
done:
	return status;
}

/* The racer with this configuration, made ready if it is new. */
static enum status find_racer(struct rig *rig, const char *text, struct runnable **racer)
{
	enum status status;
	struct config config;
	TRY(parse_config(rig, text, &config));
	for (int i = 0; i < rig->n_racers; i++)
		if (!memcmp(&rig->racer[i].config, &config, sizeof config)) {
			*racer = &rig->racer[i];
			return STATUS_OK;
		}
	if (rig->n_racers == MAX_RACERS)
		return fail(STATUS_NO_MEMORY, "more than %d racers", MAX_RACERS);
	struct runnable *r = *racer = &rig->racer[rig->n_racers];
	TRY(make_runnable(rig, text, r));
	struct workload workload = workload_of(r, rig->copies);
	TRY(prepared_open(&rig->racing, &workload, &r->prepared));
	rig->n_racers++;
done:
	return status;
}

/* One of a round's candidates. */
struct entrant {
	struct runnable *runnable;
	double us[MAX_SWEEPS];
	enum status status;
	char message[256];
};

static void note_failure(struct entrant *entrant, enum status status)
{
	entrant->status = status;
	if (status != STATUS_OK)
		snprintf(entrant->message, sizeof entrant->message, "%.255s", fail_message());
}

/* "round SWEEPS CONFIG ...": forwards and backwards by turns, so that a drift hits all alike. */
static void run_round(struct rig *rig, char *rest)
{
	static struct entrant entrant[MAX_RACERS];
	char *text[MAX_RACERS];
	int n = 0, sweeps = atoi(strsep(&rest, "\t"));
	if (sweeps > MAX_SWEEPS)
		sweeps = MAX_SWEEPS;
	while (n < MAX_RACERS && (text[n] = strsep(&rest, "\t")))
		n++;
	if (rig->n_racers + n > MAX_RACERS)
		close_racers(rig);
	for (int i = 0; i < n; i++) {
		tell_at(rig, i);
		note_failure(&entrant[i], find_racer(rig, text[i], &entrant[i].runnable));
	}
	for (int s = 0; s < sweeps; s++)
		for (int j = 0; j < n; j++) {
			int i = s % 2 ? n - 1 - j : j;
			if (entrant[i].status != STATUS_OK)
				continue;
			tell_at(rig, i);
			note_failure(&entrant[i], prepared_sample(&entrant[i].runnable->prepared,
			                                          &entrant[i].us[s]));
		}
	for (int i = 0; i < n; i++) {
		if (entrant[i].status == STATUS_OK) {
			reply_ok(rig, median(entrant[i].us, sweeps), sweeps);
			continue;
		}
		enum status status = fail(entrant[i].status, "%s", entrant[i].message);
		reply_failure(rig, status);
	}
}

/* Leaves the configurations with the default grid, a tenth of all: a share of the ceiling needs no
 * more. */
static void keep_default_grid(struct candidates *candidates)
{
	struct stream_config c, usual;
	int n = 0;
	memcpy(&usual, candidates->config[0].value, sizeof usual);
	for (int i = 0; i < candidates->n; i++) {
		memcpy(&c, candidates->config[i].value, sizeof c);
		if (c.blocks == usual.blocks && c.ranges == usual.ranges)
			candidates->config[n++] = candidates->config[i];
	}
	candidates->n = n;
}

/* What the fastest configuration of `stream` reads; a GPU's are compiled here, because this program
 * has none of them. */
static enum status compiled_ceiling(struct rig *rig, double *gbps)
{
	enum status status;
	struct candidates candidates = {0};
	struct timing timing;
	char task[64];
	snprintf(task, sizeof task, "stream\tcopy=0\t%zu", CEILING_BYTES / STREAM_SHAPE_BYTES);
	TRY(open_task(rig, task));
	TRY(candidates_open(&rig->task, device_info(rig->device), &candidates));
	keep_default_grid(&candidates);
	TRY(instances_prepare(&rig->compiled->instances, candidates.config, candidates.n));
	*gbps = 0;
	for (int i = 0; i < candidates.n; i++) {
		struct runnable r = {.rig = rig, .config = candidates.config[i]};
		struct workload workload = workload_of(&r, rig->copies);
		TRY(instances_find(&rig->compiled->instances, &r.config, &r.entry));
		TRY(problem_check(rig->problem, r.entry, r.config.value));
		TRY(timer_measure(&rig->screening, &workload, &timing));
		double bytes = rig->task.kernel->bytes(&rig->task.shape, rig->task.kase.value);
		*gbps = fmax(*gbps, 1e-3 * bytes / timing.us);
	}
done:
	candidates_close(&candidates);
	return status;
}

static enum status measure_ceiling(struct rig *rig)
{
	enum status status;
	struct ceilings ceilings = {0};
	if (device_info(rig->device)->target.sm)
		TRY(compiled_ceiling(rig, &ceilings.read.gbps));
	else
		TRY(ceilings_measure(rig->device, true, &ceilings));
	reply_ok(rig, ceilings.read.gbps, 0);
done:
	return status;
}

static void serve(struct rig *rig, char *line)
{
	char *rest = line;
	const char *verb = strsep(&rest, "\t");
	enum status status = STATUS_OK;
	if (!strcmp(verb, "ceiling")) {
		status = measure_ceiling(rig);
	} else if (!strcmp(verb, "drop")) {
		drop(rig);
	} else if (!rest) {
		status = fail(STATUS_USAGE, "no such request");
	} else if (!strcmp(verb, "screen")) {
		status = screen(rig, rest);
	} else if (!strcmp(verb, "round")) {
		run_round(rig, rest);
	} else {
		status = !strcmp(verb, "task")    ? open_task(rig, rest)
		         : !strcmp(verb, "ahead") ? prepare_ahead(rig, rest)
		                                  : prepare(rig, rest);
		if (status == STATUS_OK)
			reply_ok(rig, 0, 0);
	}
	if (status != STATUS_OK)
		reply_failure(rig, status);
}

/* Answers go where standard output went; what anything else prints goes to standard error. */
static FILE *take_output(void)
{
	int answers = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (answers < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return NULL;
	return fdopen(answers, "w");
}

static enum status open_timers(struct rig *rig)
{
	enum status status;
	struct timer_options racing = racing_options;
	if (device_info(rig->device)->draws_differ) {
		racing.least_us = DRAWN_LEAST_US;
		racing.warmup_seconds = DRAWN_WARMUP_SECONDS;
	}
	TRY(timer_open(&rig->screening, rig->device, &screening_options));
	TRY(timer_open(&rig->racing, rig->device, &racing));
done:
	return status;
}

int worker_main(const char *device)
{
	enum status status = STATUS_OK;
	static char line[WORKER_LINE];
	struct rig rig = {.out = take_output()};
	if (!rig.out)
		return STATUS_FAILED;
	TRY(device_open(device, false, &rig.device));
	TRY(open_timers(&rig));
	worker_print_info(rig.out, device_info(rig.device));
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		serve(&rig, line);
	}
done:
	if (status != STATUS_OK)
		reply_failure(&rig, status);
	close_all(&rig);
	timer_close(&rig.racing);
	timer_close(&rig.screening);
	device_close(&rig.device);
	return status > STATUS_VIOLATION ? STATUS_FAILED : (int)status;
}
