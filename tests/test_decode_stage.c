/* The decode stage on a small model whose steps take planted times: what it keeps, what it says of
 * it, and what that costs. Every configuration is compiled and checked; the clock alone is not
 * true.
 */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/arch.h"
#include "tuner/decode_stage.h"
#include "tuner/emit.h"
#include "tuner/strategy.h"
#include "tuner/verify.h"

#include <cmocka.h> /* last: it takes the name `fail` */

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

static char folder[] = "/tmp/decode-XXXXXX";
static struct device *device;

static int open_device(void **state)
{
	(void)state;
	return device_open(SIMT_WARP == 1 ? "host" : "host32", true, &device);
}

static int close_device(void **state)
{
	(void)state;
	device_close(&device);
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/decode-XXXXXX");
	return !mkdtemp(folder);
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

/* What a tunable's value adds to a launch, in microseconds, alone or beside another's; the last row
 * has no kernel. */
struct effect {
	const char *kernel, *shape, *param;
	int value;
	double us;
	const char *beside;
	int beside_value;
};

/* Of every launch without effects. */
static const double LAUNCH_US = 10, SECONDS_PER_SAMPLE = 1e-3;

struct machine {
	const struct effect *effects;
	double jitter, drift; /* relative; drift: of a period of DRIFT_SAMPLES */
	uint64_t random;
	long n_samples;
};
enum { DRIFT_SAMPLES = 400 };

static bool has_value(const struct kernel *kernel, const struct config *config, const char *param,
                      int value)
{
	for (int p = 0; p < kernel->n_params; p++)
		if (!strcmp(param, kernel->params[p].name))
			return config->value[p] == value;
	return false;
}

static double launch_us(const struct effect *effects, const struct choice *c,
                        const struct config *config)
{
	const struct kernel *kernel = c->task.kernel;
	double us = LAUNCH_US;
	for (const struct effect *e = effects; e->kernel; e++)
		if (!strcmp(e->kernel, kernel->name) && !strcmp(e->shape, c->task.shape_text) &&
		    has_value(kernel, config, e->param, e->value) &&
		    (!e->beside || has_value(kernel, config, e->beside, e->beside_value)))
			us += e->us;
	return us;
}

static enum status sample(void *user, void *workload, double *us)
{
	struct machine *m = user;
	const struct step *step = workload;
	*us = 0;
	for (int i = 0; i < step->of->n_choices; i++)
		if (i != step->selection.left_out)
			*us += step->of->choice[i].n_launches *
			       launch_us(m->effects, &step->of->choice[i],
			                 &step->selection.config[i]);
	*us *= 1 + m->jitter * 2 * (random_unit(&m->random) - 0.5) +
	       m->drift * sin(2 * M_PI * (double)m->n_samples / DRIFT_SAMPLES);
	m->n_samples++;
	return STATUS_OK;
}

/* The simulated machine's own. */
static double seconds(void *user)
{
	return SECONDS_PER_SAMPLE * (double)((struct machine *)user)->n_samples;
}

static const struct hparams small = {.name = "small",
                                     .layers = 2,
                                     .hidden = 96,
                                     .heads = 7,
                                     .kv_heads = 1,
                                     .head_dim = 64,
                                     .ffn = 160,
                                     .vocab = 70,
                                     .context = 512,
                                     .rope_base = 10000,
                                     .eps = 1e-6};
#define DOWN    "96x160"
#define GATE_UP "320x96"
#define QKV     "576x96"
#define OUT     "96x448"

static void journal_path(char path[256])
{
	snprintf(path, 256, "%s/%s/journal.csv", folder, device_info(device)->slug);
}

/* Runs the stage on a model of these weights, at 64 unless the options say otherwise; what it
 * prints is in *text, to be freed. */
static enum status run_stage_with(struct machine *m, int dtype, struct decode_stage_options options,
                                  char **text)
{
	static const volatile sig_atomic_t never;
	const struct timer_source source = {sample, seconds, m};
	options.name = "small";
	options.length = options.length ? options.length : 64;
	options.seed = 1;
	options.quiet = true;
	options.interrupted = &never;
	options.source = &source;
	struct model model;
	struct journal journal;
	struct csv_log log;
	char path[256];
	size_t bytes;
	FILE *to = open_memstream(text, &bytes);
	journal_path(path);
	OK(journal_open(path, &journal));
	OK(gains_open_log(folder, device_info(device), &log));
	OK(model_make_random(&qwen2, &small, dtype, &model));
	const enum status status = decode_stage(device, &model, &journal, &log, &options, to);
	model_close(&model);
	csv_log_close(&log);
	journal_close(&journal);
	fclose(to);
	return status;
}

static void run_stage_of(struct machine *m, int dtype, char **text)
{
	OK(run_stage_with(m, dtype, (struct decode_stage_options){0}, text));
}

static void run_stage(struct machine *m, char **text)
{
	run_stage_of(m, DTYPE_BF16, text);
}

static void run_silently(struct machine *m)
{
	char *text;
	run_stage(m, &text);
	free(text);
}

/* The default but for these. */
static struct config gemv_with(int rows, int tiles)
{
	const struct kernel *gemv = kernel_find("gemv");
	struct config config = config_default(gemv);
	char changes[64];
	snprintf(changes, sizeof changes, "rows=%d tiles=%d", rows, tiles);
	OK(params_parse(gemv->params, gemv->n_params, changes, config.value));
	return config;
}

static const char *gemv_config(int rows, int tiles)
{
	static char text[4][CONFIG_TEXT];
	static int turn;
	const struct kernel *gemv = kernel_find("gemv");
	const struct config config = gemv_with(rows, tiles);
	turn = (turn + 1) % 4;
	return params_format(gemv->params, gemv->n_params, config.value, text[turn]);
}

#define RESIDUAL_CASE "w=bf16 x=f32 norm=0 epilogue=residual"
#define QKV_CASE      "w=bf16 x=f32 norm=1 epilogue=qkv"

#define ALONE "guided + race"

/* Of these sources, or of others. */
static void put_row_of_sources(bool fresh, const char *kernel_name, const char *kase,
                               const char *shape, const char *config, const char *method,
                               const char *round, const char *status)
{
	struct journal journal;
	struct provenance provenance;
	char path[256];
	const char *cell[N_JOURNAL_COLUMNS] = {0};
	const struct kernel *kernel = kernel_find(kernel_name);
	journal_path(path);
	provenance_of(kernel, device_info(device), &provenance);
	if (!fresh)
		strcpy(provenance.key, "0123456789abcdef");
	OK(journal_open(path, &journal));
	OK(journal_key(&journal, kernel, &provenance));
	cell[JOURNAL_key] = provenance.key;
	cell[JOURNAL_kernel] = kernel_name;
	cell[JOURNAL_case] = kase;
	cell[JOURNAL_shape] = shape;
	cell[JOURNAL_config] = config;
	cell[JOURNAL_us] = "8";
	cell[JOURNAL_default_us] = "10";
	cell[JOURNAL_status] = status;
	cell[JOURNAL_method] = method;
	cell[JOURNAL_round] = round;
	OK(journal_append(&journal, cell));
	journal_close(&journal);
}

static void put_row_of(const char *kernel, const char *kase, const char *shape, const char *config,
                       const char *method, const char *round, const char *status)
{
	put_row_of_sources(true, kernel, kase, shape, config, method, round, status);
}

static void put_row(const char *kase, const char *shape, const char *config, const char *method,
                    const char *round, const char *status)
{
	put_row_of("gemv", kase, shape, config, method, round, status);
}

static void put_verdict(const char *kase, const char *shape, const char *config, const char *method)
{
	put_row(kase, shape, config, method, "", "win");
}

/* A cell of the last row of a CSV whose kernel and shape are these. */
static const char *cell_of(const char *file, const char *kernel, const char *shape,
                           const char *column, char text[512])
{
	struct csv_table table;
	char path[256];
	snprintf(path, sizeof path, "%s/%s/%s", folder, device_info(device)->slug, file);
	OK(csv_read(path, &table));
	text[0] = 0;
	for (int r = 0; r < table.n_rows; r++)
		if (!strcmp(csv_cell(&table, r, csv_column(&table, "kernel")), kernel) &&
		    !strcmp(csv_cell(&table, r, csv_column(&table, "shape")), shape))
			snprintf(text, 512, "%s", csv_cell(&table, r, csv_column(&table, column)));
	csv_close(&table);
	return text;
}

static double number_of(const char *kernel, const char *shape, const char *column)
{
	char text[512];
	return atof(cell_of("gains.csv", kernel, shape, column, text));
}

static void assert_verdict(const char *kernel, const char *shape, const char *verdict,
                           const char *config)
{
	char text[512];
	assert_string_equal(cell_of("journal.csv", kernel, shape, "status", text), verdict);
	assert_string_equal(cell_of("gains.csv", kernel, shape, "verdict", text), verdict);
	assert_non_null(strstr(cell_of("journal.csv", kernel, shape, "config", text), config));
	assert_non_null(strstr(cell_of("gains.csv", kernel, shape, "config", text), config));
	assert_string_equal(cell_of("journal.csv", kernel, shape, "method", text), "decode loop");
}

/* Builds that verify lack some of the configurations that are planted as the best. */
#ifdef WARPSMITH_SPACE_PAIRS
#define NEEDS_EVERY_POINT() skip()
enum { FEWEST_TRIALS = 16 }; /* of eight stages in which nothing stays */
#else
#define NEEDS_EVERY_POINT()
enum { FEWEST_TRIALS = 300 };
#endif

/* A launch that gets faster in the step, one whose winner alone is slower there, and one whose
 * winner alone is faster there too. */
static const struct effect effects[] = {{"gemv", GATE_UP, "rows", 4, -3},
                                        {"gemv", GATE_UP, "tiles", 1, -2},
                                        {"gemv", DOWN, "rows", 1, 2},
                                        {"gemv", QKV, "rows", 1, -4},
                                        {0}};

static void the_step_decides(void **state)
{
	struct machine m = {.effects = effects, .jitter = 0.004, .drift = 0.05};
	char *text, cell[512];
	(void)state;
	NEEDS_EVERY_POINT();
	put_verdict(RESIDUAL_CASE, DOWN, gemv_config(1, 4), ALONE);
	put_verdict(RESIDUAL_CASE, OUT, gemv_config(4, 4), ALONE);
	put_verdict(QKV_CASE, QKV, gemv_config(1, 1), ALONE);
	put_verdict(QKV_CASE, QKV, gemv_config(1, 4), "decode loop");
	run_stage(&m, &text);
	assert_verdict("gemv", GATE_UP, "win", gemv_config(4, 1));
	assert_verdict("gemv", DOWN, "default", gemv_config(2, 4));
	assert_verdict("gqa_attention", "7/1/64@64 beside bf16", "default", "");
	/* came with a configuration that is no better than the default */
	assert_verdict("gemv", OUT, "default", gemv_config(2, 4));
	assert_non_null(strstr(cell_of("journal.csv", "gemv", OUT, "reason", cell), "rows=4 "));
	/* an earlier decode loop's and the winner's take as long */
	assert_verdict("gemv", QKV, "tie", gemv_config(1, 4));

	/* 13 launches of 10 us with defaults */
	double all = 130, rest = all - 2 * 5 - 2 * 4;
	assert_true(fabs(number_of("gemv", GATE_UP, "percent") - 100 * 2 * 5 / rest) < 0.5);
	assert_true(number_of("gemv", GATE_UP, "percent_lo") > 0);
	assert_true(number_of("gemv", GATE_UP, "rounds") >= 8);
	assert_true(fabs(number_of("gemv", GATE_UP, "launch_us") - 5) < 0.5);
	assert_int_equal(number_of("gemv", GATE_UP, "launches"), 2);
	assert_true(fabs(number_of("gemv", DOWN, "alone_percent") - 25) < 0.1);
	assert_true(fabs(number_of("gemv", DOWN, "winner_percent") + 100 * 2 * 2 / (rest + 4)) <
	            0.5);
	assert_true(fabs(number_of("gemv", QKV, "winner_percent") - 100 * 2 * 4 / rest) < 0.5);
	/* whole steps: the last row is that of the confirmed plan */
	assert_string_equal(cell_of("gains.csv", "step", "", "config", cell), "confirmed");
	assert_true(fabs(number_of("step", "", "tok_s") - 1e6 / rest) < 0.1 * 1e6 / rest);
	assert_true(fabs(number_of("step", "", "percent") - 100 * (all / rest - 1)) < 1);
	double tok_s, percent;
	assert_non_null(strstr(text, "defaults: "));
	char *winners = strstr(text, "winners: ");
	assert_non_null(winners);
	assert_int_equal(sscanf(winners, "winners: %lf tokens/s, %lf", &tok_s, &percent), 2);
	assert_true(fabs(percent - 100 * (all / (all + 2 * 2 - 2 * 4) - 1)) < 0.5);
	assert_non_null(strstr(text, "to the winners\n"));
	free(text);
}

/* Two tunables that are better together alone: no neighbour of the default is the way there. What
 * was fastest alone is tried first, and so is what the decode loop chose before its last choice. */
static void what_the_journal_knows_is_tried_first(void **state)
{
	static const struct effect valley[] = {
	        {"gemv", DOWN, "rows", 4, 1, 0, 0},        {"gemv", DOWN, "tiles", 1, 1, 0, 0},
	        {"gemv", DOWN, "rows", 4, -6, "tiles", 1}, {"gemv", OUT, "rows", 4, 1, 0, 0},
	        {"gemv", OUT, "tiles", 1, 1, 0, 0},        {"gemv", OUT, "rows", 4, -6, "tiles", 1},
	        {"gemv", QKV, "rows", 4, 1, 0, 0},         {"gemv", QKV, "tiles", 2, 1, 0, 0},
	        {"gemv", QKV, "rows", 4, -6, "tiles", 2},  {0}};
	struct machine m = {.effects = valley, .jitter = 0.001};
	char *text;
	(void)state;
	NEEDS_EVERY_POINT();
	put_row(RESIDUAL_CASE, DOWN, gemv_config(4, 1), "", "0", "ok");
	put_row(RESIDUAL_CASE, DOWN, gemv_config(1, 4), ALONE, "", "win");
	put_verdict(RESIDUAL_CASE, OUT, gemv_config(4, 1), "decode loop");
	put_verdict(RESIDUAL_CASE, OUT, gemv_config(1, 4), "decode loop");
	put_verdict(QKV_CASE, QKV, gemv_config(1, 4), "decode loop");
	run_stage(&m, &text);
	assert_verdict("gemv", DOWN, "win", gemv_config(4, 1));
	assert_verdict("gemv", OUT, "win", gemv_config(4, 1));
	assert_verdict("gemv", QKV, "default", gemv_config(2, 4)); /* as far as neighbours lead */
	free(text);
}

/* The header, to be freed. */
static char *emitted(void)
{
	char path[256], *text = NULL;
	size_t bytes = 0;
	int n;
	snprintf(path, sizeof path, "%s/tuned.h", folder);
	OK(emit_header(folder, path, &n));
	FILE *file = fopen(path, "r");
	assert_true(file && getdelim(&text, &bytes, 0, file) > 0);
	fclose(file);
	return text;
}

/* The header's row of a shape has this configuration of gemv and this remark. */
static void assert_row(const char *header, const char *shape, int rows, int tiles,
                       const char *remark)
{
	const struct kernel *gemv = kernel_find("gemv");
	const struct config config = gemv_with(rows, tiles);
	char values[256];
	int n = snprintf(values, sizeof values, "%s", shape);
	for (int i = 0; i < gemv->n_params; i++)
		n += snprintf(values + n, sizeof values - (size_t)n, i ? ", %d" : "%d",
		              config.value[i]);
	const char *row = strstr(header, values);
	assert_non_null(row);
	const char *found = strstr(row, remark);
	assert_true(found && found < strchr(row, '\n'));
}

#define HEADS     "7/1/64@64"
#define ATTENTION "head_dim=64 group=7 kv=bf16"

/* The default but for these, which the host has compiled. */
static const char *attention_config(int splits, int warps)
{
	static char text[4][CONFIG_TEXT];
	static int turn;
	const struct kernel *kernel = kernel_find("gqa_attention");
	struct config config = config_default(kernel);
	char changes[64];
	snprintf(changes, sizeof changes, "splits=%d warps=%d", splits, warps);
	OK(params_parse(kernel->params, kernel->n_params, changes, config.value));
	turn = (turn + 1) % 4;
	return params_format(kernel->params, kernel->n_params, config.value, text[turn]);
}

/* Two models with the same heads need other attention. Each has a row of its own, whichever was
 * searched last, and a second loop starts with its own. */
static void models_have_their_own_attention(void **state)
{
	static const struct effect of_models[] = {
	        {"gqa_attention", HEADS " beside bf16", "splits", 2, -4},
	        {"gqa_attention", HEADS " beside q8_0", "splits", 8, -4},
	        {0}};
	static const struct effect none[] = {{0}};
	struct machine m = {.effects = of_models, .jitter = 0.001}, flat = {.effects = none};
	char *text, cell[512];
	(void)state;
	NEEDS_EVERY_POINT();
	for (int i = 0; i < 2; i++) {
		run_stage_of(&m, i ? DTYPE_Q8_0 : DTYPE_BF16, &text);
		free(text);
	}
	assert_verdict("gqa_attention", HEADS " beside bf16", "win", "splits=2 ");
	assert_verdict("gqa_attention", HEADS " beside q8_0", "win", "splits=8 ");
	assert_string_equal(cell_of("journal.csv", "gqa_attention", HEADS, "status", cell), "");
	text = emitted();
	assert_non_null(strstr(text, " 7, 1, 1, 131072, BESIDE_BF16, 2, "));
	assert_non_null(strstr(text, " 7, 1, 1, 131072, BESIDE_Q8_0, 8, "));
	free(text);
	/* nothing is faster than what it starts with */
	run_stage_of(&flat, DTYPE_BF16, &text);
	free(text);
	cell_of("journal.csv", "gqa_attention", HEADS " beside bf16", "reason", cell);
	assert_non_null(strstr(cell, "nothing beat the default; splits=2 "));
}

static void put_two_loops(const char *shape)
{
	put_row_of("gqa_attention", ATTENTION, shape, attention_config(2, 1), "decode loop", "",
	           "win");
	put_row_of("gqa_attention", ATTENTION, shape, attention_config(8, 1), "decode loop", "",
	           "win");
}

/* Where it has none it starts with that of another model, whether a row says which or is of a
 * journal that did not yet; what these chose before is tried too. */
static void other_models_are_where_a_loop_begins(void **state)
{
	static const char *const shapes[] = {HEADS, HEADS " beside q4_k"};
	static const struct effect valley[] = {
	        {"gqa_attention", HEADS " beside bf16", "splits", 2, 1},
	        {"gqa_attention", HEADS " beside bf16", "warps", 1, 1},
	        {"gqa_attention", HEADS " beside bf16", "splits", 2, -6, "warps", 1},
	        {0}};
	static const struct effect none[] = {{0}};
	(void)state;
	NEEDS_EVERY_POINT();
	for (int i = 0; i < 2; i++) {
		struct machine m = {.effects = valley, .jitter = 0.001}, flat = {.effects = none};
		char cell[512], path[256];
		put_two_loops(shapes[i]);
		run_silently(&m);
		assert_verdict("gqa_attention", HEADS " beside bf16", "win",
		               attention_config(2, 1));
		journal_path(path);
		assert_int_equal(unlink(path), 0);
		put_two_loops(shapes[i]);
		run_silently(&flat);
		cell_of("journal.csv", "gqa_attention", HEADS " beside bf16", "reason", cell);
		assert_non_null(strstr(cell, "nothing beat the default; splits=8 "));
		assert_int_equal(unlink(path), 0);
	}
}

/* Two tunables that are better together, each alone hardly worse than neither: the way over what
 * just missed is found. */
static void what_just_missed_is_followed(void **state)
{
	static const struct effect valley[] = {{"gemv", DOWN, "rows", 4, 0.2},
	                                       {"gemv", DOWN, "tiles", 1, 0.2},
	                                       {"gemv", DOWN, "rows", 4, -6, "tiles", 1},
	                                       {"gemv", QKV, "rows", 4, -3},
	                                       {0}};
	struct machine m = {.effects = valley, .jitter = 0.001};
	(void)state;
	NEEDS_EVERY_POINT();
	run_silently(&m);
	assert_verdict("gemv", DOWN, "win", gemv_config(4, 1));
	assert_verdict("gemv", QKV, "win", gemv_config(4, 4));
}

/* No configuration is tried twice in one step: between two that stay, each is there once. */
static void nothing_is_tried_twice(void **state)
{
	struct machine m = {.effects = effects, .jitter = 0.001};
	struct journal journal;
	char path[256];
	int since = 0;
	(void)state;
	NEEDS_EVERY_POINT();
	run_silently(&m);
	journal_path(path);
	OK(journal_read(path, &journal));
	for (int i = 0; i < journal.n_rows; i++) {
		const char *const *cell = journal.rows[i].cell;
		if (strcmp(cell[JOURNAL_status], "trial") != 0)
			continue;
		for (int j = since; j < i; j++) {
			const char *const *other = journal.rows[j].cell;
			assert_false(!strcmp(other[JOURNAL_status], "trial") &&
			             !strcmp(other[JOURNAL_kernel], cell[JOURNAL_kernel]) &&
			             !strcmp(other[JOURNAL_case], cell[JOURNAL_case]) &&
			             !strcmp(other[JOURNAL_shape], cell[JOURNAL_shape]) &&
			             !strcmp(other[JOURNAL_config], cell[JOURNAL_config]));
		}
		if (atof(cell[JOURNAL_step_percent]) >
		    1) /* it stays: what is planted brings more */
			since = i + 1;
	}
	assert_true(since > 0 && since < journal.n_rows);
	journal_close(&journal);
}

/* What the loop chose at another length is tried too. */
static void other_lengths_are_where_a_loop_looks(void **state)
{
	static const struct effect valley[] = {
	        {"gqa_attention", HEADS " beside bf16", "splits", 2, 1},
	        {"gqa_attention", HEADS " beside bf16", "warps", 1, 1},
	        {"gqa_attention", HEADS " beside bf16", "splits", 2, -6, "warps", 1},
	        {0}};
	struct machine m = {.effects = valley, .jitter = 0.001};
	(void)state;
	NEEDS_EVERY_POINT();
	put_row_of("gqa_attention", ATTENTION, "7/1/64@4096 beside bf16", attention_config(2, 1),
	           "decode loop", "", "win");
	run_silently(&m);
	assert_verdict("gqa_attention", HEADS " beside bf16", "win", attention_config(2, 1));
}

/* By length only attention is decided on, of --kernel only what it names; all else keeps its row
 * and has no verdict. */
static void only_what_is_asked_for_is_decided(void **state)
{
	static const struct effect all[] = {
	        {"gemv", GATE_UP, "rows", 4, -3},
	        {"gqa_attention", "7/1/64@128 beside bf16", "splits", 2, -4},
	        {0}};
	static const struct decode_stage_options asked[] = {
	        {.length = 128, .by_length = true}, {.length = 128, .kernels = "gqa_attention"}};
	(void)state;
	NEEDS_EVERY_POINT();
	for (int i = 0; i < 2; i++) {
		struct machine m = {.effects = all, .jitter = 0.001};
		char *text, cell[512], path[256];
		put_verdict(RESIDUAL_CASE, DOWN, gemv_config(4, 1), "decode loop");
		OK(run_stage_with(&m, DTYPE_BF16, asked[i], &text));
		assert_null(strstr(text, GATE_UP));
		free(text);
		assert_verdict("gqa_attention", "7/1/64@128 beside bf16", "win", "splits=2 ");
		/* the chance of a false alarm is all its own */
		assert_float_equal(
		        number_of("gqa_attention", "7/1/64@128 beside bf16", "error_percent"), 5,
		        0);
		assert_string_equal(cell_of("journal.csv", "gemv", GATE_UP, "status", cell), "");
		assert_string_equal(cell_of("gains.csv", "gemv", GATE_UP, "verdict", cell), "");
		assert_non_null(
		        strstr(cell_of("journal.csv", "gemv", DOWN, "config", cell), "rows=4 "));
		/* whole steps are compared all the same: 13 launches, of which 2 are faster */
		assert_true(fabs(number_of("step", "", "percent") - 100 * (130. / 122 - 1)) < 0.5);
		journal_path(path);
		assert_int_equal(unlink(path), 0);
	}
	struct machine m = {.effects = all};
	char *text;
	assert_int_equal(run_stage_with(&m, DTYPE_BF16,
	                                (struct decode_stage_options){.kernels = "rope"}, &text),
	                 STATUS_USAGE);
	free(text);
	assert_non_null(strstr(fail_message(), "--kernel"));
}

/* A launch that is not decided on has the row that the header has: the loop's, unless that is of
 * other sources and what won alone is not. */
static void others_are_as_in_the_header(void **state)
{
	static const char swiglu[] = "w=bf16 x=f32 norm=1 epilogue=swiglu";
	static const struct effect faster[] = {{"gemv", GATE_UP, "rows", 4, -3}, {0}};
	(void)state;
	NEEDS_EVERY_POINT();
	for (int fresh = 0; fresh < 2; fresh++) {
		struct machine m = {.effects = faster, .jitter = 0.001};
		char *text, path[256];
		put_row(swiglu, GATE_UP, gemv_config(2, 4), ALONE, "", "win");
		put_row_of_sources(fresh, "gemv", swiglu, GATE_UP, gemv_config(4, 4), "decode loop",
		                   "", "win");
		OK(run_stage_with(&m, DTYPE_BF16,
		                  (struct decode_stage_options){.kernels = "gqa_attention"},
		                  &text));
		free(text);
		assert_true(fabs(number_of("step", "", "percent") -
		                 (fresh ? 100 * (130. / 124 - 1) : 0)) < 0.5);
		journal_path(path);
		assert_int_equal(unlink(path), 0);
	}
}

/* What is confirmed is in the header, and says so. */
static void the_header_says_what_was_confirmed(void **state)
{
	struct machine m = {.effects = effects, .jitter = 0.001};
	char *text;
	(void)state;
	NEEDS_EVERY_POINT();
	run_silently(&m);
	text = emitted();
	assert_row(text, "320, 96, 0, 0, BESIDE_NONE, ", 4, 1,
	           ", win, in the step of small at 64 +");
	assert_row(text, "320, 96, 0, 0, BESIDE_NONE, ", 4, 1, " % tokens/s (+");
	assert_row(text, "96, 160, 0, 0, BESIDE_NONE, ", 2, 4,
	           ", default, in the step of small at 64 */");
	free(text);
}

/* What explain() prints; to be freed. */
static char *explained(const char *words)
{
	FILE *file = tmpfile();
	fflush(stdout);
	const int saved = dup(STDOUT_FILENO);
	assert_true(file && saved >= 0);
	dup2(fileno(file), STDOUT_FILENO);
	const enum status status = explain(folder, words);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	rewind(file);
	char *text = NULL;
	size_t bytes = 0;
	OK(status);
	assert_true(getdelim(&text, &bytes, 0, file) > 0);
	fclose(file);
	return text;
}

/* A row of the step is explained by the step, by the winner alone, and by every trial. */
static void a_row_is_explained(void **state)
{
	struct machine m = {.effects = effects, .jitter = 0.001};
	char *text, alone[CONFIG_TEXT + 64];
	(void)state;
	put_verdict(QKV_CASE, QKV, gemv_config(1, 1), ALONE);
	run_silently(&m);
	text = explained("gemv " QKV);
	assert_non_null(strstr(text, " us of the step of small at 64, +"));
	snprintf(alone, sizeof alone, "alone      %s, 8 us, the default takes 10 us",
	         gemv_config(1, 1));
	assert_non_null(strstr(text, alone));
	const char *list = strstr(text, "in step, %");
	assert_non_null(list);
	const char *line = strstr(list, gemv_config(4, 1));
	assert_true(line && line > list + 16); /* 8 us of 112 to 122 longer */
	assert_non_null(memmem(line - 16, 16, " -6.", 4));
	assert_null(strstr(list, "trial"));
	free(text);
}

/* The launch alone and the same in the step are two rows; that of the step shows both, and no other
 * model's. */
static void a_row_of_one_model_is_explained(void **state)
{
	static const struct effect of_models[] = {
	        {"gqa_attention", HEADS " beside bf16", "splits", 2, -4},
	        {"gqa_attention", HEADS " beside q8_0", "splits", 8, -4},
	        {0}};
	struct machine m = {.effects = of_models, .jitter = 0.001};
	char *text, alone[CONFIG_TEXT + 64];
	(void)state;
	NEEDS_EVERY_POINT();
	put_row_of("gqa_attention", ATTENTION, HEADS, attention_config(32, 4), ALONE, "", "win");
	for (int i = 0; i < 2; i++) {
		run_stage_of(&m, i ? DTYPE_Q8_0 : DTYPE_BF16, &text);
		free(text);
	}
	text = explained("gqa_attention " HEADS " beside bf16");
	snprintf(alone, sizeof alone, "alone      %s, 8 us", attention_config(32, 4));
	assert_non_null(strstr(text, alone));
	assert_non_null(strstr(text, "row        splits=2 "));
	assert_null(strstr(text, "row        splits=8 "));
	const char *trial = strstr(strstr(text, "in step, %"), "splits=8 ");
	assert_true(trial && trial > text + 16);
	assert_null(memmem(trial - 16, 16, " +", 2)); /* no gain, as beside q8_0 */
	free(text);
	text = explained("gqa_attention " HEADS);
	assert_non_null(strstr(text, "\ngqa_attention " HEADS " beside q8_0 "));
	free(text);
}

/* Nothing is faster than anything: nothing wins, and a trial ends after few samples. */
static void equals_do_not_win_and_cost_little(void **state)
{
	static const struct effect none[] = {{0}};
	int n_trials = 0, n_rounds = 0;
	(void)state;
	for (uint64_t seed = 0; seed < 8; seed++) {
		struct machine m = {
		        .effects = none, .jitter = 0.01, .drift = 0.05, .random = seed << 32};
		char path[256];
		struct journal journal;
		run_silently(&m);
		journal_path(path);
		OK(journal_read(path, &journal));
		for (int i = 0; i < journal.n_rows; i++) {
			const char *const *cell = journal.rows[i].cell;
			int rounds;
			assert_string_not_equal(cell[JOURNAL_status], "win");
			if (strcmp(cell[JOURNAL_status], "trial") != 0)
				continue;
			n_trials++;
			assert_int_equal(
			        sscanf(strrchr(cell[JOURNAL_reason], ',') + 1, "%d", &rounds), 1);
			n_rounds += rounds;
		}
		journal_close(&journal);
		assert_int_equal(unlink(path), 0);
	}
	assert_true(n_trials > FEWEST_TRIALS);
	assert_true(n_rounds < 6 * n_trials);
}

#define STAGE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	if (SIMT_WARP > 1)
		return 0; /* other configurations are compiled */
	const struct CMUnitTest tests[] = {
	        STAGE_TEST(the_step_decides),
	        STAGE_TEST(what_the_journal_knows_is_tried_first),
	        STAGE_TEST(models_have_their_own_attention),
	        STAGE_TEST(other_models_are_where_a_loop_begins),
	        STAGE_TEST(what_just_missed_is_followed),
	        STAGE_TEST(nothing_is_tried_twice),
	        STAGE_TEST(other_lengths_are_where_a_loop_looks),
	        STAGE_TEST(only_what_is_asked_for_is_decided),
	        STAGE_TEST(others_are_as_in_the_header),
	        STAGE_TEST(the_header_says_what_was_confirmed),
	        STAGE_TEST(a_row_is_explained),
	        STAGE_TEST(a_row_of_one_model_is_explained),
	        STAGE_TEST(equals_do_not_win_and_cost_little),
	};
	return cmocka_run_group_tests(tests, open_device, close_device);
}
