#include "tuner/decode_stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/problem.h"
#include "bench/statistics.h"
#include "core/progress.h"
#include "model/decoder.h"
#include "tuner/instances.h"
#include "tuner/strategy.h"

enum {
	MAX_CHOICES = 32,
	MAX_TRIALS = 64,
	SAMPLES = 48,
	MAX_DRAWS = 20000,
	CONFIRMATIONS = 5,
	MAX_PAIRS = 8,
	SEED = 1
};
/* A sample is this long; a neighbour must save this share to be looked at again, and this to stay.
 */
static const double SAMPLE_S = 0.01, PROMISING = 0.002, BETTER = 0.0015;

/* One kernel, case and shape of the plan with the instance that it has now. */
struct choice {
	struct task task;
	struct instances instances;
	struct problem *problem;
	struct config trial[MAX_TRIALS]; /* of this round */
	int n_trials;
	struct variant variant, before;
	double gain; /* of the changes that stayed: time before / time after */
};

struct stage {
	struct device *device;
	struct journal *journal;
	const struct decode_stage_options *options;
	struct decoder decoder;
	struct choice choice[MAX_CHOICES];
	int n_choices, steps, n_tried;
	struct graph *graph; /* of the plan as it is */
	struct progress progress;
	double started;
};

/* The configuration of the journal's latest verdict on the task, of whatever kernel sources, or the
 * default. */
static void first_config(const struct stage *s, const struct task *task, struct config *config)
{
	const struct kernel *kernel = task->kernel;
	struct config plain = {0};
	for (int p = 0; p < kernel->n_params; p++)
		plain.value[p] = kernel->params[p].default_value;
	*config = plain;
	for (int i = s->journal->n_rows; i-- > 0;) {
		const char *const *cell = s->journal->rows[i].cell;
		if (cell[JOURNAL_round][0] || !cell[JOURNAL_config][0] ||
		    strcmp(cell[JOURNAL_kernel], kernel->name) ||
		    strcmp(cell[JOURNAL_case], task->case_text) ||
		    strcmp(cell[JOURNAL_shape], task->shape_text))
			continue;
		if (params_parse(kernel->params, kernel->n_params, cell[JOURNAL_config],
		                 config->value) == STATUS_OK)
			return;
		*config = plain;
	}
}

static bool can_run(const struct stage *s, const struct choice *c, const struct config *config)
{
	const struct device_info *info = device_info(s->device);
	const struct task *t = &c->task;
	return t->kernel->legal(t->kase.value, config->value, info->target) &&
	       t->kernel->valid(&t->shape, t->kase.value, config->value, info);
}

/* Such an instance is no row: tests/sass.c asks it of all. */
static bool spills(const struct stage *s, const struct choice *c, const struct variant *v)
{
	const struct device_info *info = device_info(s->device);
	const struct task *t = &c->task;
	const struct grid grid = t->kernel->grid(&t->shape, t->kase.value, v->config.value, info);
	struct entry_resources has = {0};
	return device_resources(s->device, v->entry, grid, &has) != STATUS_OK ||
	       has.spill_bytes > 0;
}

static bool find_entry(struct choice *c)
{
	return instances_find(&c->instances, &c->variant.config, &c->variant.entry) == STATUS_OK;
}

/* What table_lookup() is to the runner. */
static const struct variant *find_variant(void *user, const struct kernel *kernel,
                                          const struct kase *kase, const struct shape *shape)
{
	struct stage *s = user;
	for (int i = 0; i < s->n_choices; i++) {
		const struct task *t = &s->choice[i].task;
		if (t->kernel == kernel && !memcmp(&t->kase, kase, sizeof *kase) &&
		    !memcmp(&t->shape, shape, sizeof *shape))
			return &s->choice[i].variant;
	}
	if (s->n_choices == MAX_CHOICES)
		return NULL;
	struct choice *c = &s->choice[s->n_choices++];
	*c = (struct choice){.task = {.kernel = kernel, .kase = *kase, .shape = *shape}, .gain = 1};
	struct shape named = *shape;
	if (named.len)
		named.len = s->options->length; /* the plan's is an upper bound */
	params_format(kernel->fields, kernel->n_fields, kase->value, c->task.case_text);
	kernel->format_shape(&named, c->task.shape_text);
	instances_open(s->device, &c->task, &c->instances);
	c->variant.kase = *kase;
	c->variant.device = device_info(s->device)->name;
	first_config(s, &c->task, &c->variant.config);
	bool found =
	        can_run(s, c, &c->variant.config) && find_entry(c) && !spills(s, c, &c->variant);
	if (!found) {
		for (int p = 0; p < kernel->n_params; p++)
			c->variant.config.value[p] = kernel->params[p].default_value;
		found = find_entry(c);
	}
	if (!found) {
		s->n_choices--;
		return NULL;
	}
	c->before = c->variant;
	return &c->variant;
}

/* Gives every launch of the choice the instance that it has now. */
static void regrid(struct stage *s, const struct choice *c)
{
	struct plan *plan = &s->decoder.plans[0];
	for (int i = 0; i < plan->n; i++)
		if (plan->launches[i].variant == &c->variant)
			launch_regrid(&plan->launches[i], device_info(s->device));
	plan_look_ahead(plan);
}

/* Microseconds of one token. */
static enum status sample(struct stage *s, struct graph *graph, double *us)
{
	enum status status;
	struct event *from = NULL, *to = NULL;
	TRY(event_open(s->device, &from));
	TRY(event_open(s->device, &to));
	TRY(decoder_seek(&s->decoder, s->options->length - 1));
	TRY(event_record(from));
	for (int i = 0; i < s->steps; i++)
		TRY(graph_launch(graph));
	TRY(event_record(to));
	TRY(event_elapsed_us(from, to, us));
	*us /= s->steps;
done:
	event_close(&from);
	event_close(&to);
	return status;
}

/* Median over pairs a b b a of time(b) / time(a). */
static enum status compare(struct stage *s, struct graph *a, struct graph *b, int pairs,
                           double *ratio)
{
	enum status status = STATUS_OK;
	double ratios[MAX_PAIRS], us[4];
	for (int p = 0; p < pairs; p++) {
		for (int i = 0; i < 4; i++)
			TRY(sample(s, i == 0 || i == 3 ? a : b, &us[i]));
		ratios[p] = (us[1] + us[2]) / (us[0] + us[3]);
	}
	*ratio = median(ratios, pairs);
done:
	return status;
}

/* All legal configurations that differ in one tunable. */
static void list_neighbours(const struct stage *s, struct choice *c)
{
	const struct kernel *kernel = c->task.kernel;
	c->n_trials = 0;
	for (int p = 0; p < kernel->n_params; p++)
		for (int v = 0; v < kernel->params[p].n_values && c->n_trials < MAX_TRIALS; v++) {
			struct config config = c->variant.config;
			config.value[p] = kernel->params[p].values[v];
			if (config.value[p] != c->variant.config.value[p] && can_run(s, c, &config))
				c->trial[c->n_trials++] = config;
		}
}

/* Random legal configurations. */
static void list_samples(const struct stage *s, struct choice *c)
{
	const struct kernel *kernel = c->task.kernel;
	uint64_t random = s->options->seed + (uint64_t)(c - s->choice);
	c->n_trials = 0;
	for (int draws = 0; draws < MAX_DRAWS && c->n_trials < SAMPLES; draws++) {
		struct config config = {0};
		for (int p = 0; p < kernel->n_params; p++) {
			const int v = random_below(&random, kernel->params[p].n_values);
			config.value[p] = kernel->params[p].values[v];
		}
		if (can_run(s, c, &config))
			c->trial[c->n_trials++] = config;
	}
}

static bool is_default(const struct choice *c)
{
	const struct kernel *kernel = c->task.kernel;
	for (int p = 0; p < kernel->n_params; p++)
		if (c->variant.config.value[p] != kernel->params[p].default_value)
			return false;
	return true;
}

/* What a round tries of each choice, all of it being compiled from now on. */
static enum status prepare_round(struct stage *s, int round)
{
	enum status status = STATUS_OK;
	const struct device_info *info = device_info(s->device);
	for (int i = 0; i < s->n_choices; i++) {
		struct choice *c = &s->choice[i];
		if (round == 0 && is_default(c))
			list_samples(s, c); /* nothing is known of it */
		else
			list_neighbours(s, c);
		if (info->target.sm)
			TRY(instances_prepare(&c->instances, c->trial, c->n_trials));
	}
done:
	return status;
}

/* A row for each trial. */
static enum status record_trial(struct stage *s, const struct choice *c,
                                const struct config *config, double ratio)
{
	const struct kernel *kernel = c->task.kernel;
	char text[CONFIG_TEXT], round[32], reason[64];
	const char *cell[N_JOURNAL_COLUMNS] = {0};
	struct provenance provenance;
	provenance_of(kernel, device_info(s->device), &provenance);
	params_format(kernel->params, kernel->n_params, config->value, text);
	snprintf(round, sizeof round, "decode %d.%d", s->options->length, s->n_tried);
	snprintf(reason, sizeof reason, "step takes %.5f of before", ratio);
	cell[JOURNAL_key] = provenance.key;
	cell[JOURNAL_kernel] = kernel->name;
	cell[JOURNAL_case] = c->task.case_text;
	cell[JOURNAL_shape] = c->task.shape_text;
	cell[JOURNAL_config] = text;
	cell[JOURNAL_round] = round;
	cell[JOURNAL_status] = "trial";
	cell[JOURNAL_reason] = reason;
	return journal_append(s->journal, cell);
}

/* Whether the instance is right; its time as part of the step is compared only then. */
static enum status try_config(struct stage *s, struct choice *c, const struct config *config,
                              bool *stays)
{
	enum status status;
	const struct variant old = c->variant;
	struct graph *trial = NULL;
	struct variant variant = c->variant;
	double ratio;
	*stays = false;
	variant.config = *config;
	if (instances_find(&c->instances, config, &variant.entry) != STATUS_OK ||
	    spills(s, c, &variant) ||
	    problem_check(c->problem, variant.entry, config->value) != STATUS_OK)
		return STATUS_OK;
	s->n_tried++;
	c->variant = variant;
	regrid(s, c);
	TRY(decoder_capture(&s->decoder, &s->decoder.plans[0], &trial));
	TRY(compare(s, s->graph, trial, 1, &ratio));
	if (ratio < 1 - PROMISING)
		TRY(compare(s, s->graph, trial, CONFIRMATIONS, &ratio));
	*stays = ratio < 1 - BETTER;
	TRY(record_trial(s, c, config, ratio));
	if (*stays) {
		c->gain /= ratio;
		graph_close(&s->graph);
		s->graph = trial;
		trial = NULL;
	}
done:
	if (!*stays) {
		c->variant = old;
		regrid(s, c);
	}
	graph_close(&trial);
	return status;
}

/* Microseconds by which the step is longer for the launches of a choice. */
static enum status cost(struct stage *s, const struct choice *c, double *us)
{
	enum status status;
	struct plan *plan = &s->decoder.plans[0];
	struct graph *without = NULL;
	double ratio, all;
	for (int i = 0; i < plan->n; i++)
		plan->launches[i].left_out = plan->launches[i].variant == &c->variant;
	TRY(decoder_capture(&s->decoder, plan, &without));
	TRY(compare(s, s->graph, without, CONFIRMATIONS, &ratio));
	TRY(sample(s, s->graph, &all));
	*us = (1 - ratio) * all;
done:
	for (int i = 0; i < plan->n; i++)
		plan->launches[i].left_out = false;
	graph_close(&without);
	return status;
}

static int count_launches(const struct stage *s, const struct choice *c)
{
	const struct plan *plan = &s->decoder.plans[0];
	int n = 0;
	for (int i = 0; i < plan->n; i++)
		n += plan->launches[i].variant == &c->variant;
	return n;
}

static void show(struct stage *s, const struct choice *c)
{
	char note[256];
	double us = 0;
	if (sample(s, s->graph, &us) != STATUS_OK)
		return;
	snprintf(note, sizeof note, "%s %s: %d tried, %.1f tokens/s", c->task.kernel->name,
	         c->task.shape_text, s->n_tried, 1e6 / us);
	progress_update(&s->progress, seconds_now() - s->started, note);
}

/* Tries what the round has for a choice; how many stayed. */
static enum status improve(struct stage *s, struct choice *c, int *n_stayed)
{
	enum status status = STATUS_OK;
	*n_stayed = 0;
	if (c->n_trials && !c->problem)
		TRY(problem_open(s->device, c->task.kernel, c->task.kase.value, &c->task.shape,
		                 SEED, 1, &c->problem));
	for (int i = 0; i < c->n_trials && !*s->options->interrupted; i++) {
		bool stays;
		TRY(try_config(s, c, &c->trial[i], &stays));
		*n_stayed += stays;
		show(s, c);
	}
done:
	return status;
}

/* The verdict; its time is what a launch adds to the step. */
static enum status record(struct stage *s, const struct choice *c, double cost_us)
{
	enum status status;
	const struct kernel *kernel = c->task.kernel;
	char config[CONFIG_TEXT], runner_up[CONFIG_TEXT], reason[256], method[64], date[32], us[32];
	const char *cell[N_JOURNAL_COLUMNS] = {0};
	struct provenance provenance;
	time_t now = time(NULL);
	struct tm tm;
	provenance_of(kernel, device_info(s->device), &provenance);
	TRY(journal_key(s->journal, kernel, &provenance));
	params_format(kernel->params, kernel->n_params, c->variant.config.value, config);
	params_format(kernel->params, kernel->n_params, c->before.config.value, runner_up);
	snprintf(reason, sizeof reason, "decode of %s at %d: %+.2f %% tokens/s", s->options->model,
	         s->options->length, 100 * (c->gain - 1));
	snprintf(method, sizeof method, "decode loop");
	strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &tm));
	cell[JOURNAL_key] = provenance.key;
	cell[JOURNAL_kernel] = kernel->name;
	cell[JOURNAL_case] = c->task.case_text;
	cell[JOURNAL_shape] = c->task.shape_text;
	cell[JOURNAL_config] = config;
	snprintf(us, sizeof us, "%.3f", cost_us);
	cell[JOURNAL_us] = us;
	cell[JOURNAL_status] = is_default(c) ? "default" : "win";
	cell[JOURNAL_reason] = reason;
	cell[JOURNAL_runner_up] = runner_up;
	cell[JOURNAL_method] = method;
	cell[JOURNAL_date] = date;
	status = journal_append(s->journal, cell);
done:
	return status;
}

static enum status report(struct stage *s, FILE *to)
{
	enum status status;
	double us = 0;
	for (int i = 0; i < s->n_choices; i++) {
		const struct choice *c = &s->choice[i];
		char config[CONFIG_TEXT];
		double cost_us = 0;
		int n = count_launches(s, c);
		params_format(c->task.kernel->params, c->task.kernel->n_params,
		              c->variant.config.value, config);
		TRY(cost(s, c, &cost_us));
		fprintf(to, "%s %s %s: %+.2f %%, %d x %.2f us of the step: %s\n",
		        c->task.kernel->name, c->task.shape_text, c->task.case_text,
		        100 * (c->gain - 1), n, cost_us / (n ? n : 1), config);
		TRY(record(s, c, cost_us / (n ? n : 1)));
	}
	TRY(sample(s, s->graph, &us));
	fprintf(to, "%s at %d: %.1f us, %.1f tokens/s after %d trials in %.0f s\n",
	        s->options->model, s->options->length, us, 1e6 / us, s->n_tried,
	        seconds_now() - s->started);
done:
	return status;
}

static enum status search(struct stage *s)
{
	enum status status = STATUS_OK;
	const double limit = s->options->seconds > 0 ? s->options->seconds : INFINITY;
	for (int round = 0, changed = 1; changed; round++) {
		changed = round == 0;
		TRY(prepare_round(s, round));
		for (int i = 0; i < s->n_choices; i++) {
			int n = 0;
			if (seconds_now() - s->started > limit || *s->options->interrupted)
				return STATUS_OK;
			TRY(improve(s, &s->choice[i], &n));
			changed += n;
		}
	}
done:
	return status;
}

enum status decode_stage(struct device *device, struct journal *journal,
                         const struct decode_stage_options *options, FILE *to)
{
	enum status status;
	struct model model = {0};
	struct stage *s = calloc(1, sizeof *s);
	if (!s)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	*s = (struct stage){.device = device, .journal = journal, .options = options, .steps = 1};
	const struct decoder_options decoder = {.capacity = options->length + 256,
	                                        .kv = DTYPE_BF16,
	                                        .use_bias = true,
	                                        .quiet = options->quiet,
	                                        .find = find_variant,
	                                        .find_user = s};
	double us;
	TRY(model_open_random(options->model, &model));
	TRY(decoder_open(device, &model, &decoder, &s->decoder));
	TRY(decoder_fill_cache(&s->decoder, options->length + 256, NULL, NULL));
	TRY(decoder_capture(&s->decoder, &s->decoder.plans[0], &s->graph));
	TRY(sample(s, s->graph, &us));
	TRY(sample(s, s->graph, &us));
	s->steps = (int)fmin(fmax(SAMPLE_S * 1e6 / us, 2), 256);
	fprintf(to, "%s at %d: %.1f us, %.1f tokens/s before\n", options->model, options->length,
	        us, 1e6 / us);
	fflush(to);
	s->started = seconds_now();
	progress_start(&s->progress, "decode loop", options->seconds > 0 ? options->seconds : 600,
	               options->quiet);
	TRY(search(s));
	progress_finish(&s->progress, NULL);
	TRY(report(s, to));
done:
	graph_close(&s->graph);
	decoder_close(&s->decoder);
	for (int i = 0; i < s->n_choices; i++) {
		problem_close(&s->choice[i].problem);
		instances_close(&s->choice[i].instances);
	}
	model_close(&model);
	free(s);
	return status;
}
