/* What --profile makes of stamps and of what they cost, and which launches are inside the window
 * that --window opens for a profiler. The linker puts the functions below before those of the
 * device. */
#define _POSIX_C_SOURCE 200809L
#include "bench/csv.h"
#include "device/device.h"
#include "device/stamp.h"
#include "model/decoder.h"
#include "model/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL SOURCE_DIR "/tests/data/golden/q8_0-g2-d64-long.gguf"

enum { LAUNCHES = 1 + 2 * 5 + 2 }; /* of a step of the model, which has two layers */
enum { MAX_STAMPED = 64 * LAUNCHES, MAX_GRAPHS = 64 };

static int opened, closed, inside, outside;
static bool is_open;
static int unstamped = -1; /* a launch that leaves no stamps */
static struct {
	const struct stamp *stamps;
	size_t blocks;
} stamped[MAX_STAMPED]; /* in the order of launching */
static int n_stamped;

/* Graphs of the profiled step, and a clock that their replays move by planted times. */
static const double PLAIN_US = 19.5, NOT_A_COST_US = 0.5, DRIFT_US = 1.0 / 64;
static struct planted_graph {
	const struct graph *graph;
	double us;
	enum op kind; /* whose launches stamp; N_OPS: of all or none */
	int replays;
} graphs[MAX_GRAPHS], *latest;
static int n_graphs;
static bool everything_stamps;
static double now_us, from_us, to_us, drift_us;
static int rounds, max_rounds; /* of the kinds; behind the last, time is up */

/* What a stamp costs a launch: one becomes faster, one costs in some rounds more and in some less
 * than nothing, two change by more than the launch itself takes. */
static double planted_cost(enum op op)
{
	return op == OP_EMBED       ? -0.25
	       : op == OP_QKV       ? 0.1
	       : op == OP_ATTENTION ? 0.2
	       : op == OP_ATTN_OUT  ? 0.3
	       : op == OP_DOWN      ? 0.05
	       : op == OP_HEAD      ? 3
	       : op == OP_ADVANCE   ? -3
	                            : 0;
}

static bool is_taken(enum op op)
{
	return op != OP_GATE_UP && op != OP_HEAD && op != OP_ADVANCE;
}

enum status __real_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes,
                                 struct launch_options options);
enum status __wrap_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes,
                                 struct launch_options options);
enum status __real_device_read(struct device *device, void *to, const void *from, size_t bytes);
enum status __wrap_device_read(struct device *device, void *to, const void *from, size_t bytes);
enum status __real_decoder_capture(struct decoder *decoder, const struct plan *plan,
                                   struct graph **graph);
enum status __wrap_decoder_capture(struct decoder *decoder, const struct plan *plan,
                                   struct graph **graph);
enum status __real_graph_launch(struct graph *graph);
enum status __wrap_graph_launch(struct graph *graph);
enum status __real_event_record(struct event *event);
enum status __wrap_event_record(struct event *event);
enum status __real_event_elapsed_us(struct event *from, struct event *to, double *us);
enum status __wrap_event_elapsed_us(struct event *from, struct event *to, double *us);
double __real_seconds_now(void);
double __wrap_seconds_now(void);
enum status __real_device_profile(struct device *device, bool on);
enum status __wrap_device_profile(struct device *device, bool on);

enum status __wrap_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes, struct launch_options options)
{
	if (is_open)
		inside++;
	else
		outside++;
	if (options.stamps && everything_stamps) {
		assert_true(n_stamped < MAX_STAMPED);
		stamped[n_stamped].stamps = options.stamps;
		stamped[n_stamped++].blocks = (size_t)grid.x * grid.y;
	}
	return __real_device_launch(device, entry, grid, args, args_bytes, options);
}

/* Launches of one operation stamp, of all, or of none. */
enum status __wrap_decoder_capture(struct decoder *decoder, const struct plan *plan,
                                   struct graph **graph)
{
	struct planted_graph *g = &graphs[n_graphs++];
	int n = 0;
	assert_in_range(n_graphs, 1, MAX_GRAPHS);
	*g = (struct planted_graph){.us = PLAIN_US, .kind = N_OPS};
	for (int i = 0; i < plan->n; i++)
		if (plan->launches[i].stamps) {
			g->kind = plan->launches[i].op;
			g->us += planted_cost(g->kind);
			n++;
		}
	everything_stamps = n == plan->n;
	for (int i = 0; i < plan->n && n && !everything_stamps; i++)
		assert_int_equal(!!plan->launches[i].stamps, plan->launches[i].op == g->kind);
	if (everything_stamps) {
		g->kind = N_OPS;
		g->us += NOT_A_COST_US;
	}
	const enum status status = __real_decoder_capture(decoder, plan, graph);
	g->graph = *graph;
	return status;
}

/* From the first graph of a kind on each replay is slower than the one before. */
enum status __wrap_graph_launch(struct graph *graph)
{
	struct planted_graph *g = graphs;
	while (g < graphs + n_graphs && g->graph != graph)
		g++;
	if (g < graphs + n_graphs) {
		if (g != latest) {
			g->replays++;
			if (g->kind != N_OPS)
				rounds = g->replays;
			drift_us += rounds ? DRIFT_US : 0;
		}
		latest = g;
		now_us += g->us + drift_us;
		if (g->kind == OP_GATE_UP)
			now_us += g->replays % 3 ? 0.25 : -0.25;
	}
	return __real_graph_launch(graph);
}

enum status __wrap_event_record(struct event *event)
{
	from_us = to_us;
	to_us = now_us;
	return __real_event_record(event);
}

/* Other graphs do not move the clock. */
enum status __wrap_event_elapsed_us(struct event *from, struct event *to, double *us)
{
	const enum status status = __real_event_elapsed_us(from, to, us);
	if (to_us > from_us)
		*us = to_us - from_us;
	return status;
}

double __wrap_seconds_now(void)
{
	return __real_seconds_now() + (rounds > max_rounds ? 1e3 : 0);
}

enum status __wrap_device_profile(struct device *device, bool on)
{
	opened += on;
	closed += !on;
	is_open = on;
	return __real_device_profile(device, on);
}

/* Launch i of a step stores its results 1000 + 100 i ns after the one before; its first block
 * begins 10 i ns before that, but for the first launch's, and is past the wait i ns after it, the
 * first launch 50. */
static void plant_stamps(struct stamp *to)
{
	unsigned long long before = 1000000;
	for (int n = 0; n < n_stamped; n++) {
		const unsigned i = (unsigned)n % LAUNCHES;
		for (size_t b = 0; b < stamped[n].blocks; b++, to++) {
			const bool first = b == stamped[n].blocks / 2, last = b == 0;
			to->begin = i ? before - 10 * i + (first ? 0 : 5) : before + 40;
			to->ready = before + (i ? i : 50) + (first ? 0 : 7);
			to->end = before + 1000 + 100 * i - (last ? 0 : 3);
			if ((int)i == unstamped)
				*to = (struct stamp){0};
		}
		before += 1000 + 100 * i;
	}
}

enum status __wrap_device_read(struct device *device, void *to, const void *from, size_t bytes)
{
	if (n_stamped && from == stamped[0].stamps) {
		plant_stamps(to);
		return STATUS_OK;
	}
	return __real_device_read(device, to, from, bytes);
}

static void decode(const char *option)
{
	const char *argv[] = {"warpsmith-run", "-q",         "-m",  MODEL,      "--tokens",
	                      "5,6,7",         "-n",         "5",   "--device", "auto",
	                      "--ignore-eos",  "--no-graph", option};
	FILE *out = tmpfile();
	assert_non_null(out);
	opened = closed = inside = outside = 0;
	is_open = false;
	assert_int_equal(run(sizeof argv / sizeof *argv, (char **)argv, out), STATUS_OK);
	fclose(out);
}

static void the_window_holds_what_follows_the_prompt(void **state)
{
	(void)state;
	decode("--window");
	assert_int_equal(opened, 1);
	assert_int_equal(closed, 1);
	assert_int_equal(outside, 3 * LAUNCHES);
	assert_int_equal(inside, 4 * LAUNCHES); /* the fifth token is not decoded */
}

static void others_open_none(void **state)
{
	(void)state;
	decode("--quiet");
	assert_int_equal(opened + closed + inside, 0);
	assert_int_equal(outside, 7 * LAUNCHES);
}

static double number(const struct csv_table *csv, int row, const char *column)
{
	double value;
	assert_int_equal(csv_number(csv, row, csv_column(csv, column), &value), STATUS_OK);
	return value;
}

static void near(double value, double expected)
{
	if (!(value > expected - 1e-6 && value < expected + 1e-6))
		fail_msg("%g, expected %g", value, expected);
}

/* The only folder in one. */
static void only_folder(const char *in, char path[256])
{
	char command[256];
	snprintf(command, sizeof command, "ls -d %s/*/", in);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(path, 256, pipe));
	path[strcspn(path, "\n")] = '\0';
	pclose(pipe);
}

/* Into a folder of its own; *text is to be freed. */
static enum status profile_model(const char *folder, char **text)
{
	const char *argv[] = {"warpsmith-run", "-q",   "-m",    MODEL, "--profile", "--at", "20",
	                      "--device",      "auto", "--csv", folder};
	size_t bytes;
	FILE *out = open_memstream(text, &bytes);
	assert_non_null(out);
	n_stamped = n_graphs = 0;
	drift_us = now_us = from_us = to_us = 0;
	rounds = 0;
	latest = NULL;
	const enum status status = run(sizeof argv / sizeof *argv, (char **)argv, out);
	fclose(out);
	return status;
}

static const enum op ops[LAUNCHES] = {
        OP_EMBED,     OP_QKV,      OP_ATTENTION, OP_ATTN_OUT, OP_GATE_UP, OP_DOWN,    OP_QKV,
        OP_ATTENTION, OP_ATTN_OUT, OP_GATE_UP,   OP_DOWN,     OP_HEAD,    OP_ADVANCE,
};

/* Profiles into a folder of its own; the latest rows are to be closed, *text to be freed. */
static void profile_rows(char *folder, int limit, struct csv_table *csv, char **text)
{
	char path[300];
	max_rounds = limit;
	assert_int_equal(profile_model(folder, text), STATUS_OK);
	assert_int_equal(n_stamped % LAUNCHES, 0);
	only_folder(folder, path);
	strcat(path, "profile.csv");
	assert_int_equal(csv_read(path, csv), STATUS_OK);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(csv->n_rows, LAUNCHES);
}

static void remove_folder(const char *folder)
{
	char command[300];
	snprintf(command, sizeof command, "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

static void has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no '%s' in:\n%s", part, text);
}

/* A launch is charged from its predecessor's last store to its own, less what its stamp costs. */
static void a_launch_has_the_time_behind_the_one_before(void **state)
{
	char folder[] = "/tmp/warpsmith-profile-XXXXXX", *text = NULL;
	struct csv_table csv;
	double at = 0;
	(void)state;
	assert_non_null(mkdtemp(folder));
	profile_rows(folder, 1000, &csv, &text);
	for (int i = 0; i < LAUNCHES; i++) {
		const double raw = 1 + 0.1 * i,
		             us = raw - (is_taken(ops[i]) ? planted_cost(ops[i]) : 0);
		assert_string_equal(csv_cell(&csv, i, csv_column(&csv, "operation")),
		                    op_name(ops[i]));
		near(number(&csv, i, "launch"), i);
		near(number(&csv, i, "at_us"), at);
		near(number(&csv, i, "us"), us);
		near(number(&csv, i, "raw_us"), raw);
		near(number(&csv, i, "begin_us"), i ? -0.01 * i : 0.04);
		near(number(&csv, i, "early_us"), 0.01 * i);
		near(number(&csv, i, "ready_us"), i ? 0.001 * i : 0.05);
		assert_true(number(&csv, i, "blocks") >= 1 && number(&csv, i, "percent") > 0);
		near(number(&csv, i, "percent") * us * number(&csv, i, "ceiling_gbps") / 1e5,
		     number(&csv, i, "bytes") / 1e6);
		if (ops[i] != OP_GATE_UP)
			near(number(&csv, i, "stamp_us"), planted_cost(ops[i]));
		else
			assert_true(number(&csv, i, "stamp_lo_us") < 0 &&
			            number(&csv, i, "stamp_hi_us") > 0);
		/* 20.8 us, less 1.3 of eight launches, and 0.25 of one that its stamp makes faster
		 */
		near(number(&csv, i, "sum_us"), 19.75);
		near(number(&csv, i, "plain_us"), PLAIN_US);
		near(number(&csv, i, "stamped_us"), PLAIN_US + 1.3 - 0.25 + NOT_A_COST_US);
		at += us;
	}
	near(at, 19.75);
	for (int g = 0; g < n_graphs; g++)
		assert_true(graphs[g].replays > 0);
	csv_close(&csv);
	/* qkv is launch 1 and 6 */
	has(text, "qkv                2       2.50   12.7 %      1.25");
	has(text, "      2.70  0.100 (0.100 0.100)\n");
	has(text, "      2.10  3.000 (3.000 3.000) unsure\n");
	has(text, "all               13      19.75  100.0 %");
	has(text, "19.50 us per token; the launches above add up to 19.75 (+1.3 %).\n"
	          "With stamps 21.05 us (+7.9 %), of which the launches have 20.80 as stamped;");
	assert_null(strstr(text, "rms_norm"));
	free(text);
	unstamped = 4;
	assert_int_equal(profile_model(folder, &text), STATUS_FAILED);
	assert_string_equal(fail_message(), "launch 4 of the step, gate_up, was not stamped");
	unstamped = -1;
	free(text);
	remove_folder(folder);
}

/* Where time is up after few rounds no cost is told from none, after none there is no cost. */
static void a_cost_takes_rounds(void **state)
{
	char folder[] = "/tmp/warpsmith-profile-XXXXXX", *text = NULL;
	struct csv_table csv;
	(void)state;
	assert_non_null(mkdtemp(folder));
	for (int limit = 0; limit <= 3; limit += 3) {
		profile_rows(folder, limit, &csv, &text);
		for (int i = 0; i < LAUNCHES; i++) {
			near(number(&csv, i, "us"), number(&csv, i, "raw_us"));
			assert_int_equal(!!csv_cell(&csv, i, csv_column(&csv, "stamp_us"))[0],
			                 limit > 0);
			assert_int_equal(!!csv_cell(&csv, i, csv_column(&csv, "stamp_hi_us"))[0],
			                 limit > 0);
			near(number(&csv, i, "sum_us"), 20.8);
		}
		csv_close(&csv);
		has(text, limit ? "interval of 3 rounds" : "interval of 0 rounds");
		has(text, limit ? "      2.70  0.100 (0.100 0.100) unsure\n" : "      2.70  \n");
		free(text);
	}
	remove_folder(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_launch_has_the_time_behind_the_one_before),
	        cmocka_unit_test(a_cost_takes_rounds),
	        cmocka_unit_test(the_window_holds_what_follows_the_prompt),
	        cmocka_unit_test(others_open_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
