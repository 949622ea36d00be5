#define _GNU_SOURCE
#include "tuner/decode_stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/progress.h"
#include "core/table.h"
#include "tuner/strategy.h"

enum { MAX_TRIALS = 96, FINALISTS = 8, SAMPLES = 48, MAX_DRAWS = 20000, MAX_TRIED = 4096 };
/* A trial that takes no more of the step's time just missed; so many are followed in vain. */
static const double NEAR_MISS = 1.01;
enum { MOST_FOLLOWED = 128 };

/* Of a trial: most are worse, and end after one round of four samples. */
static const struct timer_options trial_options = {
        .min_samples = 8,
        .max_samples = 16,
        .limit_seconds = 2,
        .health_seconds = 1,
        .noise = STEP_MATTERS,
        .error = 0.05,
        .seeks_faster = true,
};
/* Of what is reported. */
static const struct timer_options final_options = {
        .min_samples = 8,
        .max_samples = 32,
        .limit_seconds = 2,
        .health_seconds = 0.1,
        .noise = STEP_MATTERS,
        .error = 0.05,
};

/* What a round tries of a choice. */
struct trials {
	struct config config[MAX_TRIALS];
	int n;
};

/* A configuration tried in the step as it is. One that just missed may be faster with another
 * change besides. */
struct tried {
	int choice;
	struct config config;
	double ratio; /* of the trial's time to the step's */
	bool followed;
};

struct stage {
	struct stepper stepper;
	struct journal *journal;
	const struct decode_stage_options *options;
	struct selection selection; /* of the plan as it is */
	struct step step;           /* captured */
	struct trials trials[MAX_CHOICES];
	struct tried tried[MAX_TRIED];
	int n_here; /* of them */
	struct gains gains;
	int n_asked; /* choices to decide on */
	int n_tried;
	struct progress progress;
	double started;
};

static bool is_by_step(const char *const *cell)
{
	return !strcmp(cell[JOURNAL_method], DECODE_METHOD);
}

/* Whatever it runs beside: alone, or in the step of any model. */
static bool is_of(const struct choice *c, const char *const *cell)
{
	return !strcmp(cell[JOURNAL_kernel], c->task.kernel->name) &&
	       !strcmp(cell[JOURNAL_case], c->task.case_text) &&
	       shape_alike(cell[JOURNAL_shape], c->task.shape_text);
}

static bool is_verdict_on(const struct choice *c, const char *const *cell)
{
	return !cell[JOURNAL_round][0] && cell[JOURNAL_config][0] && is_of(c, cell);
}

/* The journal's latest verdict on the launch alone, of the present sources and whole space; NULL
 * when there is none. */
static const struct journal_row *find_alone(const struct stage *s, const struct choice *c)
{
	struct provenance now;
	provenance_of(c->task.kernel, device_info(s->stepper.device), &now);
	for (int i = s->journal->n_rows; i-- > 0;) {
		const char *const *cell = s->journal->rows[i].cell;
		if (is_verdict_on(c, cell) && !is_by_step(cell) &&
		    !strcmp(cell[JOURNAL_key], now.key) &&
		    !strstr(cell[JOURNAL_method], SUBSPACE_METHOD))
			return &s->journal->rows[i];
	}
	return NULL;
}

/* The latest of the decode loop, with whatever sources: beside the same weights or, where there is
 * none, beside others. */
static const struct journal_row *find_by_step(const struct stage *s, const struct choice *c)
{
	const struct journal_row *other = NULL;
	for (int i = s->journal->n_rows; i-- > 0;) {
		const struct journal_row *row = &s->journal->rows[i];
		if (!is_verdict_on(c, row->cell) || !is_by_step(row->cell))
			continue;
		if (!strcmp(row->cell[JOURNAL_shape], c->task.shape_text))
			return row;
		other = other ? other : row;
	}
	return other;
}

/* The row's configuration, the default where there is none that can run. */
static struct config config_of(const struct stage *s, const struct choice *c,
                               const struct journal_row *row)
{
	const struct kernel *kernel = c->task.kernel;
	const struct config plain = config_default(kernel);
	struct config config = plain;
	if (!row || params_parse(kernel->params, kernel->n_params, row->cell[JOURNAL_config],
	                         config.value) != STATUS_OK)
		return plain;
	return choice_can_run(&s->stepper, c, &config) ? config : plain;
}

static bool same_config(const struct config *a, const struct config *b)
{
	return !memcmp(a, b, sizeof *a);
}

static bool is_default(const struct choice *c, const struct config *config)
{
	const struct config plain = config_default(c->task.kernel);
	return same_config(config, &plain);
}

/* Whether the stage decides on choice i. */
static bool is_asked(const struct stage *s, int i)
{
	const struct task *task = &s->stepper.choice[i].task;
	return name_listed(s->options->kernels, task->kernel->name) &&
	       (task->shape.len || !s->options->by_length);
}

static bool is_fresh(const struct stage *s, const struct choice *c, const struct journal_row *row)
{
	struct provenance now;
	provenance_of(c->task.kernel, device_info(s->stepper.device), &now);
	return !strcmp(row->cell[JOURNAL_key], now.key);
}

/* The row that the runner would have. */
static struct config config_of_table(const struct stage *s, const struct choice *c)
{
	struct shape shape = c->task.shape;
	if (shape.len)
		shape.len = s->stepper.length; /* the plan's is an upper bound */
	const struct variant *row = table_lookup(c->task.kernel, device_info(s->stepper.device),
	                                         c->task.kase.value, &shape, true);
	return row && choice_can_run(&s->stepper, c, &row->config) ? row->config
	                                                           : config_default(c->task.kernel);
}

/* What choice i starts with: where the stage decides, what a loop chose last, else what won alone;
 * elsewhere what the next header has. */
static struct config first_config(const struct stage *s, int i, const struct journal_row *alone)
{
	const struct choice *c = &s->stepper.choice[i];
	const struct journal_row *by_step = find_by_step(s, c);
	if (by_step && (is_asked(s, i) || is_fresh(s, c, by_step)))
		return config_of(s, c, by_step);
	return is_asked(s, i) || alone ? config_of(s, c, alone) : config_of_table(s, c);
}

/* What won alone, and what the search starts with; they are being compiled from now on. */
static enum status read_journal(struct stage *s)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < s->stepper.n_choices; i++) {
		struct choice *c = &s->stepper.choice[i];
		struct launch_gain *gain = &s->gains.launch[i];
		const struct journal_row *row = find_alone(s, c);
		struct config *const first = &s->selection.config[i];
		*first = first_config(s, i, row);
		gain->winner = config_of(s, c, row);
		gain->alone_percent = NAN;
		if (row)
			gain->alone_percent = 100 * (journal_number(row, JOURNAL_default_us) /
			                                     journal_number(row, JOURNAL_us) -
			                             1);
		if (!is_default(c, &gain->winner))
			TRY(instances_prepare(&c->instances, &gain->winner, 1));
		if (!is_default(c, first) && !same_config(first, &gain->winner))
			TRY(instances_prepare(&c->instances, first, 1));
	}
done:
	return status;
}

static bool has_launch_of(const struct stage *s, const char *kernel)
{
	for (int i = 0; i < s->stepper.n_choices; i++)
		if (!strcmp(s->stepper.choice[i].task.kernel->name, kernel))
			return true;
	return false;
}

static enum status check_kernels(const struct stage *s)
{
	const char *list = s->options->kernels ? s->options->kernels : "";
	char name[ITEM_TEXT];
	while (next_listed(&list, name))
		if (!has_launch_of(s, name))
			return fail(STATUS_USAGE, "--kernel: a decode step of %s has no '%s'",
			            s->options->name, name);
	return STATUS_OK;
}

static enum status count_asked(struct stage *s)
{
	enum status status;
	TRY(check_kernels(s));
	for (int i = 0; i < s->stepper.n_choices; i++)
		s->n_asked += is_asked(s, i);
	if (!s->n_asked)
		status = fail(STATUS_USAGE, "--kernel: '%s' names nothing to decide on at %d",
		              s->options->kernels, s->options->length);
done:
	return status;
}

/* What does not compute what it should is replaced by the default. */
static enum status start(struct stage *s)
{
	enum status status;
	s->selection.left_out = -1;
	TRY(read_journal(s));
	for (int i = 0; i < s->stepper.n_choices; i++) {
		struct choice *c = &s->stepper.choice[i];
		struct config *configs[] = {&s->gains.launch[i].winner, &s->selection.config[i]};
		for (int j = 0; j < 2; j++)
			if (choice_check(&s->stepper, c, configs[j]) != STATUS_OK)
				*configs[j] = config_default(c->task.kernel);
	}
	TRY(step_open(&s->stepper, &s->selection, &s->step));
done:
	return status;
}

/* The configuration of a row of the choice's kernel, unless it cannot run or is what the step has.
 */
static bool find_config(const struct stage *s, int i, const char *const *cell,
                        struct config *config)
{
	const struct choice *c = &s->stepper.choice[i];
	const struct kernel *kernel = c->task.kernel;
	*config = config_default(kernel);
	return params_parse(kernel->params, kernel->n_params, cell[JOURNAL_config],
	                    config->value) == STATUS_OK &&
	       !same_config(config, &s->selection.config[i]) &&
	       choice_can_run(&s->stepper, c, config);
}

/* What was fastest alone, of the present sources; the fastest first. */
static void list_fastest(const struct stage *s, int i, struct trials *trials)
{
	double us[FINALISTS + 1];
	struct provenance now;
	provenance_of(s->stepper.choice[i].task.kernel, device_info(s->stepper.device), &now);
	for (int r = 0; r < s->journal->n_rows; r++) {
		const struct journal_row *row = &s->journal->rows[r];
		struct config config;
		if (strcmp(row->cell[JOURNAL_key], now.key) ||
		    strcmp(row->cell[JOURNAL_round], "0") ||
		    strcmp(row->cell[JOURNAL_status], "ok") ||
		    !is_of(&s->stepper.choice[i], row->cell) ||
		    !find_config(s, i, row->cell, &config))
			continue;
		int at = trials->n;
		for (; at > 0 && us[at - 1] > journal_number(row, JOURNAL_us); at--) {
			us[at] = us[at - 1];
			trials->config[at] = trials->config[at - 1];
		}
		us[at] = journal_number(row, JOURNAL_us);
		trials->config[at] = config;
		trials->n += trials->n < FINALISTS;
	}
}

/* Won of the launch. */
static bool won_here(const struct choice *c, const char *const *cell)
{
	return !cell[JOURNAL_round][0] && is_of(c, cell);
}

/* Won in the decode loop of another launch of the kernel: another length, matrix or model. */
static bool won_elsewhere(const struct choice *c, const char *const *cell)
{
	return !cell[JOURNAL_round][0] && is_by_step(cell) && !is_of(c, cell) &&
	       !strcmp(cell[JOURNAL_kernel], c->task.kernel->name);
}

/* What won before, with whatever sources; the latest first. */
static void list_winners(const struct stage *s, int i,
                         bool (*won)(const struct choice *c, const char *const *cell),
                         struct trials *trials)
{
	const int most = trials->n + FINALISTS;
	for (int r = s->journal->n_rows; r-- > 0 && trials->n < most;) {
		const char *const *cell = s->journal->rows[r].cell;
		struct config config;
		bool is_new = won(&s->stepper.choice[i], cell) && find_config(s, i, cell, &config);
		for (int t = 0; t < trials->n && is_new; t++)
			is_new = !same_config(&config, &trials->config[t]);
		if (is_new)
			trials->config[trials->n++] = config;
	}
}

/* Changes one other tunable than p so that the configuration can run; false when none does. */
static bool repair(const struct stage *s, const struct choice *c, struct config *config, int p)
{
	const struct kernel *kernel = c->task.kernel;
	for (int q = 0; q < kernel->n_params; q++)
		for (int v = 0; q != p && v < kernel->params[q].n_values; v++) {
			struct config repaired = *config;
			repaired.value[q] = kernel->params[q].values[v];
			if (choice_can_run(&s->stepper, c, &repaired)) {
				*config = repaired;
				return true;
			}
		}
	return false;
}

/* All configurations that differ from one in a tunable, or in another besides if they must. */
static void list_neighbours(const struct stage *s, int i, const struct config *of,
                            struct trials *trials)
{
	const struct choice *c = &s->stepper.choice[i];
	const struct kernel *kernel = c->task.kernel;
	const struct config *now = &s->selection.config[i];
	for (int p = 0; p < kernel->n_params; p++)
		for (int v = 0; v < kernel->params[p].n_values && trials->n < MAX_TRIALS; v++) {
			struct config config = *of;
			config.value[p] = kernel->params[p].values[v];
			if (!same_config(&config, of) && !same_config(&config, now) &&
			    (choice_can_run(&s->stepper, c, &config) || repair(s, c, &config, p)))
				trials->config[trials->n++] = config;
		}
}

/* Random legal configurations. */
static void list_samples(const struct stage *s, int i, struct trials *trials)
{
	const struct choice *c = &s->stepper.choice[i];
	const struct kernel *kernel = c->task.kernel;
	uint64_t random = s->options->seed + (uint64_t)i;
	for (int draws = 0; draws < MAX_DRAWS && trials->n < SAMPLES; draws++) {
		struct config config = {0};
		for (int p = 0; p < kernel->n_params; p++) {
			const int v = random_below(&random, kernel->params[p].n_values);
			config.value[p] = kernel->params[p].values[v];
		}
		if (choice_can_run(&s->stepper, c, &config))
			trials->config[trials->n++] = config;
	}
}

/* What a round tries of each choice, all of it being compiled from now on: first what was fastest
 * alone and what has won, or anything when nothing is known. */
static enum status prepare_round(struct stage *s, int round)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < s->stepper.n_choices; i++) {
		struct choice *c = &s->stepper.choice[i];
		struct trials *trials = &s->trials[i];
		trials->n = 0;
		if (!is_asked(s, i))
			continue;
		if (round == 0) {
			list_fastest(s, i, trials);
			list_winners(s, i, won_here, trials);
			if (!trials->n && is_default(c, &s->selection.config[i]))
				list_samples(s, i, trials);
			list_winners(s, i, won_elsewhere, trials);
		} else {
			list_neighbours(s, i, &s->selection.config[i], trials);
		}
		TRY(instances_prepare(&c->instances, trials->config, trials->n));
	}
done:
	return status;
}

/* Cells of a row on a choice that a config text and the rest are put into. */
static void identify(const struct stage *s, const struct choice *c, struct provenance *provenance,
                     const char *cell[N_JOURNAL_COLUMNS])
{
	provenance_of(c->task.kernel, device_info(s->stepper.device), provenance);
	cell[JOURNAL_key] = provenance->key;
	cell[JOURNAL_kernel] = c->task.kernel->name;
	cell[JOURNAL_case] = c->task.case_text;
	cell[JOURNAL_shape] = c->task.shape_text;
}

/* The cells that say how much a step gained. */
struct gain_cells {
	char step[96], percent[32], lo[32], hi[32];
};

static void put_gain(const struct stage *s, const struct gain *gain, struct gain_cells *text,
                     const char *cell[N_JOURNAL_COLUMNS])
{
	snprintf(text->step, sizeof text->step, "%s at %d", s->options->name, s->options->length);
	snprintf(text->percent, sizeof text->percent, "%.3f", gain->percent);
	snprintf(text->lo, sizeof text->lo, "%.3f", gain->lo);
	snprintf(text->hi, sizeof text->hi, "%.3f", gain->hi);
	cell[JOURNAL_step] = text->step;
	if (!isfinite(gain->percent))
		return;
	cell[JOURNAL_step_percent] = text->percent;
	cell[JOURNAL_step_percent_lo] = text->lo;
	cell[JOURNAL_step_percent_hi] = text->hi;
}

/* A row for each trial; its gain is over the step before it. */
static enum status record_trial(struct stage *s, const struct choice *c,
                                const struct config *config, const struct comparison *comparison)
{
	const struct kernel *kernel = c->task.kernel;
	const struct gain gain = gain_of(comparison);
	char text[CONFIG_TEXT], round[32], reason[64];
	const char *cell[N_JOURNAL_COLUMNS] = {0};
	struct gain_cells cells;
	struct provenance provenance;
	identify(s, c, &provenance, cell);
	snprintf(round, sizeof round, "decode %d.%d", s->options->length, s->n_tried);
	snprintf(reason, sizeof reason, "step takes %.5f of before, %d rounds",
	         comparison->ratio.median, comparison->rounds);
	cell[JOURNAL_config] = params_format(kernel->params, kernel->n_params, config->value, text);
	cell[JOURNAL_round] = round;
	cell[JOURNAL_status] = "trial";
	cell[JOURNAL_reason] = reason;
	put_gain(s, &gain, &cells, cell);
	return journal_append(s->journal, cell);
}

static bool was_tried(const struct stage *s, int i, const struct config *config)
{
	for (const struct tried *t = s->tried; t < s->tried + s->n_here; t++)
		if (t->choice == i && same_config(&t->config, config))
			return true;
	return false;
}

static void note_trial(struct stage *s, int i, const struct config *config, double ratio)
{
	if (s->n_here < MAX_TRIED)
		s->tried[s->n_here++] = (struct tried){.choice = i, *config, ratio};
}

/* The nearest miss that was not followed yet; NULL when there is none. */
static struct tried *nearest_miss(struct stage *s)
{
	struct tried *nearest = NULL;
	for (struct tried *t = s->tried; t < s->tried + s->n_here; t++)
		if (!t->followed && t->ratio < NEAR_MISS && (!nearest || t->ratio < nearest->ratio))
			nearest = t;
	return nearest;
}

/* Stays when the step is faster with it. A configuration that is wrong is not timed. */
static enum status try_config(struct stage *s, int i, const struct config *config, bool *stays)
{
	enum status status;
	struct choice *c = &s->stepper.choice[i];
	struct selection with = s->selection;
	struct step trial = {0};
	struct paired_timing timing;
	*stays = false;
	with.config[i] = *config;
	if (was_tried(s, i, config) || choice_check(&s->stepper, c, config) != STATUS_OK)
		return STATUS_OK;
	s->n_tried++;
	TRY(step_open(&s->stepper, &with, &trial));
	TRY(step_pair(&s->step, &trial, &trial_options, &timing));
	*stays = timing.comparison.verdict == VERDICT_FASTER;
	TRY(record_trial(s, c, config, &timing.comparison));
	note_trial(s, i, config, timing.comparison.ratio.median);
	if (*stays) {
		s->n_here = 0;
		step_close(&s->step);
		s->step = trial;
		s->selection = with;
		trial = (struct step){0};
	}
done:
	step_close(&trial);
	return status;
}

static void show(struct stage *s, const struct choice *c)
{
	char note[256];
	double us = 0;
	if (step_sample(&s->step, &us) != STATUS_OK)
		return;
	snprintf(note, sizeof note, "%s %s: %d tried, %.1f tokens/s", c->task.kernel->name,
	         c->task.shape_text, s->n_tried, 1e6 / us);
	progress_update(&s->progress, seconds_now() - s->started, note);
}

static bool is_over(const struct stage *s)
{
	const double limit = s->options->seconds > 0 ? s->options->seconds : INFINITY;
	return seconds_now() - s->started > limit || *s->options->interrupted;
}

static enum status try_all(struct stage *s, int i, int *changed)
{
	enum status status = STATUS_OK;
	const struct trials *trials = &s->trials[i];
	for (int t = 0; t < trials->n && !is_over(s); t++) {
		bool stays;
		TRY(try_config(s, i, &trials->config[t], &stays));
		*changed += stays;
	}
	if (trials->n && !is_over(s))
		show(s, &s->stepper.choice[i]);
done:
	return status;
}

/* Neighbour after neighbour of one choice after the other, until no round changes anything. */
static enum status climb(struct stage *s, int *round)
{
	enum status status = STATUS_OK;
	for (int changed = 1; changed && !is_over(s); ++*round) {
		changed = *round == 0;
		TRY(prepare_round(s, *round));
		for (int i = 0; i < s->stepper.n_choices; i++)
			TRY(try_all(s, i, &changed));
	}
done:
	return status;
}

/* Lists the neighbours of the nearest miss; they are being compiled from now on. */
static enum status prepare_miss(struct stage *s, struct tried **miss, struct trials *trials)
{
	enum status status = STATUS_OK;
	trials->n = 0;
	*miss = nearest_miss(s);
	if (!*miss)
		return STATUS_OK;
	const int i = (*miss)->choice;
	list_neighbours(s, i, &(*miss)->config, trials);
	TRY(instances_prepare(&s->stepper.choice[i].instances, trials->config, trials->n));
done:
	return status;
}

/* The neighbours of what just missed, the nearest first, until one of them stays. While those of
 * one are tried those of the next are compiled. */
static enum status follow_misses(struct stage *s, int *changed)
{
	enum status status = STATUS_OK;
	struct tried *miss;
	struct trials next;
	*changed = 0;
	if (is_over(s))
		return STATUS_OK;
	TRY(prepare_miss(s, &miss, &next));
	for (int n = 0; miss && n < MOST_FOLLOWED && !*changed && !is_over(s); n++) {
		const int i = miss->choice;
		miss->followed = true;
		s->trials[i] = next;
		TRY(prepare_miss(s, &miss, &next));
		TRY(try_all(s, i, changed));
	}
done:
	return status;
}

/* Climbs, and goes on from what nearly stayed. */
static enum status search(struct stage *s)
{
	enum status status = STATUS_OK;
	for (int round = 0, changed = 1; changed;) {
		TRY(climb(s, &round));
		TRY(follow_misses(s, &changed));
	}
done:
	return status;
}

/* Two selections as steps; what b's is to a's. */
static enum status pair(struct stage *s, const struct selection *a, const struct selection *b,
                        double error, struct paired_timing *timing)
{
	enum status status;
	struct step step_a = {0}, step_b = {0};
	struct timer_options options = final_options;
	options.error = error;
	TRY(step_open(&s->stepper, a, &step_a));
	TRY(step_open(&s->stepper, b, &step_b));
	TRY(step_pair(&step_a, &step_b, &options, timing));
done:
	step_close(&step_a);
	step_close(&step_b);
	return status;
}

/* The step as it is, but for configurations a and b of one choice. */
static enum status pair_configs(struct stage *s, int i, const struct config *a,
                                const struct config *b, struct comparison *comparison)
{
	enum status status;
	struct selection with_a = s->selection, with_b = s->selection;
	struct paired_timing timing;
	with_a.config[i] = *a;
	with_b.config[i] = *b;
	TRY(pair(s, &with_a, &with_b, s->gains.error, &timing));
	*comparison = timing.comparison;
done:
	return status;
}

/* The verdict on a choice: its configuration against the default and against what won alone, in
 * rounds that did not choose it. The default comes back when it is not beaten. */
static enum status confirm(struct stage *s, int i)
{
	enum status status = STATUS_OK;
	struct launch_gain *g = &s->gains.launch[i];
	const struct choice *c = &s->stepper.choice[i];
	const struct config plain = config_default(c->task.kernel);
	const struct gain none = {NAN, NAN, NAN, 0};
	struct comparison comparison;
	g->candidate = g->row = s->selection.config[i];
	g->in_step = g->confirmed = none;
	g->verdict = "default";
	if (!same_config(&g->row, &plain)) {
		TRY(pair_configs(s, i, &plain, &g->candidate, &comparison));
		g->confirmed = gain_of(&comparison);
		if (comparison.verdict == VERDICT_FASTER)
			g->verdict = "win";
		else
			g->row = s->selection.config[i] = plain;
	}
	if (same_config(&g->winner, &g->candidate)) {
		g->in_step = g->confirmed;
	} else if (!same_config(&g->winner, &plain)) {
		TRY(pair_configs(s, i, &plain, &g->winner, &comparison));
		g->in_step = gain_of(&comparison);
		TRY(pair_configs(s, i, &g->winner, &g->candidate, &comparison));
		if (!strcmp(g->verdict, "win") && comparison.verdict != VERDICT_FASTER)
			g->verdict = "tie";
	}
done:
	return status;
}

/* Microseconds by which the step is longer for each launch of a choice. */
static enum status cost(struct stage *s, int i)
{
	enum status status;
	struct selection without = s->selection;
	struct paired_timing timing;
	without.left_out = i;
	TRY(pair(s, &without, &s->selection, final_options.error, &timing));
	s->gains.launch[i].launch_us = timing.b.us * (1 - 1 / timing.comparison.ratio.median) /
	                               s->stepper.choice[i].n_launches;
done:
	return status;
}

/* Whole steps: defaults, winners, and what was confirmed. */
static enum status compare_plans(struct stage *s)
{
	enum status status;
	struct gains *g = &s->gains;
	struct selection plain = stepper_defaults(&s->stepper), winners = plain;
	struct paired_timing timing;
	for (int i = 0; i < s->stepper.n_choices; i++)
		winners.config[i] = g->launch[i].winner;
	const struct selection *const plan[] = {
	        [STEP_WINNERS] = &winners, [STEP_CONFIRMED] = &s->selection};
	g->plan[STEP_DEFAULTS].gain = (struct gain){NAN, NAN, NAN, 0};
	for (int p = STEP_WINNERS; p < N_STEP_PLANS; p++) {
		TRY(pair(s, &plain, plan[p], final_options.error, &timing));
		g->plan[STEP_DEFAULTS].tok_s = 1e6 / timing.a.us;
		g->plan[p].tok_s = 1e6 / timing.b.us;
		g->plan[p].gain = gain_of(&timing.comparison);
	}
	TRY(pair(s, &winners, &s->selection, final_options.error, &timing));
	g->over_winners = gain_of(&timing.comparison);
done:
	return status;
}

/* Why the verdict is what it is. */
static void explain_verdict(const struct stage *s, int i, char reason[512])
{
	const struct launch_gain *g = &s->gains.launch[i];
	const struct kernel *kernel = s->stepper.choice[i].task.kernel;
	const struct gain *gain = &g->confirmed;
	char candidate[CONFIG_TEXT];
	int n = snprintf(reason, 512, "decode of %s at %d: ", s->options->name, s->options->length);
	char *to = reason + n;
	size_t bytes = 512 - (size_t)n;
	params_format(kernel->params, kernel->n_params, g->candidate.value, candidate);
	if (!isfinite(gain->percent))
		snprintf(to, bytes, "nothing beat the default");
	else if (!strcmp(g->verdict, "default"))
		snprintf(to, bytes,
		         "nothing beat the default; %s: %+.2f %% speed (%+.2f to %+.2f, %d "
		         "rounds)",
		         candidate, gain->percent, gain->lo, gain->hi, gain->rounds);
	else
		snprintf(to, bytes, "%+.2f %% speed (%+.2f to %+.2f, %d rounds, error %.2g %%)%s",
		         gain->percent, gain->lo, gain->hi, gain->rounds, 100 * s->gains.error,
		         strcmp(g->verdict, "tie") ? "" : "; as good as the winner alone");
}

/* The verdict; its time is what a launch adds to the step. */
static enum status record(struct stage *s, int i)
{
	enum status status;
	const struct choice *c = &s->stepper.choice[i];
	const struct kernel *kernel = c->task.kernel;
	const struct launch_gain *g = &s->gains.launch[i];
	const struct gain none = {NAN, NAN, NAN, 0};
	const bool beaten = !strcmp(g->verdict, "default");
	char config[CONFIG_TEXT], runner_up[CONFIG_TEXT], reason[512], date[32], us[32],
	        samples[32];
	char error[32];
	const char *cell[N_JOURNAL_COLUMNS] = {0};
	struct gain_cells cells;
	struct provenance provenance;
	time_t now = time(NULL);
	struct tm tm;
	identify(s, c, &provenance, cell);
	TRY(journal_key(s->journal, kernel, &provenance));
	explain_verdict(s, i, reason);
	strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &tm));
	snprintf(us, sizeof us, "%.3f", g->launch_us);
	snprintf(error, sizeof error, "%.3g", 100 * s->gains.error);
	snprintf(samples, sizeof samples, "%d", 2 * g->confirmed.rounds);
	cell[JOURNAL_config] =
	        params_format(kernel->params, kernel->n_params, g->row.value, config);
	cell[JOURNAL_us] = us;
	cell[JOURNAL_status] = g->verdict;
	cell[JOURNAL_reason] = reason;
	if (!beaten)
		cell[JOURNAL_samples] = samples;
	if (!is_default(c, &g->winner) && !same_config(&g->winner, &g->row))
		cell[JOURNAL_runner_up] =
		        params_format(kernel->params, kernel->n_params, g->winner.value, runner_up);
	cell[JOURNAL_method] = DECODE_METHOD;
	cell[JOURNAL_date] = date;
	put_gain(s, beaten ? &none : &g->confirmed, &cells, cell);
	cell[JOURNAL_step_error_percent] = error;
	status = journal_append(s->journal, cell);
done:
	return status;
}

static enum status conclude(struct stage *s, struct csv_log *log, FILE *to)
{
	enum status status = STATUS_OK;
	const int n = s->stepper.n_choices;
	s->gains.error = STEP_ERROR / s->n_asked;
	for (int i = 0; i < n; i++)
		if (is_asked(s, i))
			TRY(confirm(s, i));
	for (int i = 0; i < n; i++)
		if (is_asked(s, i))
			TRY(cost(s, i));
	TRY(compare_plans(s));
	for (int i = 0; i < n; i++)
		if (is_asked(s, i))
			TRY(record(s, i));
	TRY(gains_write(&s->gains, log));
	gains_print(&s->gains, to);
done:
	return status;
}

enum status decode_stage(struct device *device, const struct model *model, struct journal *journal,
                         struct csv_log *log, const struct decode_stage_options *options, FILE *to)
{
	enum status status;
	struct stage *s = calloc(1, sizeof *s);
	if (!s)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	s->journal = journal;
	s->options = options;
	s->gains.model = options->name;
	s->gains.stepper = &s->stepper;
	TRY(stepper_open(device, model, options->length, options->quiet, options->source,
	                 &s->stepper));
	TRY(count_asked(s));
	TRY(start(s));
	s->started = seconds_now();
	progress_start(&s->progress, "decode loop", options->seconds > 0 ? options->seconds : 600,
	               options->quiet);
	TRY(search(s));
	progress_finish(&s->progress, NULL);
	fprintf(to, "%s at %d: %d configurations tried in %.0f s\n", options->name, options->length,
	        s->n_tried, seconds_now() - s->started);
	TRY(conclude(s, log, to));
done:
	step_close(&s->step);
	stepper_close(&s->stepper);
	free(s);
	return status;
}
