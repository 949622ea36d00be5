/* NVTX ranges as a profiler sees them, whose place the test takes (planted/nvtx.h). */
#define _POSIX_C_SOURCE 200809L
#include "model/decoder.h"
#include "tests/command.h"
#include "tests/planted/nvtx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS = 3, MAX_LAUNCHES = 32 };

static uint64_t launch_bytes_of[STEPS][MAX_LAUNCHES]; /* of the plan's launches, at each position */

int (*InitializeInjectionNvtx2_fnptr)(nvtx_export_table get) = InitializeInjectionNvtx2;

static void decode(struct device *device, bool graphs, bool unfused)
{
	const struct hparams h = {.name = "random",
	                          .layers = 2,
	                          .hidden = 64,
	                          .heads = 2,
	                          .kv_heads = 1,
	                          .head_dim = 32,
	                          .ffn = 64,
	                          .vocab = 50,
	                          .context = 64,
	                          .rope_base = 10000,
	                          .eps = 1e-6};
	struct decoder_options options = {.capacity = 8,
	                                  .kv = DTYPE_BF16,
	                                  .use_bias = true,
	                                  .unfused = unfused,
	                                  .graphs = graphs,
	                                  .quiet = true};
	struct model model;
	struct decoder d;
	assert_int_equal(model_make_random(&qwen2, &h, DTYPE_BF16, &model), STATUS_OK);
	assert_int_equal(decoder_open(device, &model, &options, &d), STATUS_OK);
	nvtx_seen.n_ranges = 0;
	for (int i = 0; i < STEPS; i++) {
		const struct plan *plan = decoder_plan(&d, i);
		assert_true(plan->n <= MAX_LAUNCHES);
		for (int l = 0; l < plan->n; l++)
			launch_bytes_of[i][l] = (uint64_t)launch_bytes(&plan->launches[l], i + 1);
		assert_int_equal(decoder_step(&d, i ? -1 : 1, NULL, 0), STATUS_OK);
	}
	decoder_close(&d);
	model_close(&model);
	assert_int_equal(nvtx_seen.depth, 0);
	assert_int_equal(nvtx_seen.n_domains, 1);
	assert_string_equal(nvtx_seen.domain_name, "warpsmith");
}

static void expect_range(const struct nvtx_range *r, int at_depth, uint64_t payload,
                         const char *name)
{
	if (r->depth != at_depth || r->payload != payload || strncmp(r->name, name, strlen(name)))
		fail_msg("range '%s' with %d at depth %d, expected '%s' with %d at %d", r->name,
		         (int)r->payload, r->depth, name, (int)payload, at_depth);
}

/* Ranges of a step's launches, each with its bytes and the configuration's first tunable; those
 * around them have the position. */
static void expect_tokens(int n_layer, const char *const *layer_ops, int n_end,
                          const char *const *ends)
{
	const struct nvtx_range *r = nvtx_seen.ranges;
	assert_int_equal(nvtx_seen.n_ranges, STEPS * (1 + 1 + 2 * (1 + n_layer) + n_end));
	for (uint64_t position = 0; position < STEPS; position++) {
		const uint64_t *bytes = launch_bytes_of[position];
		expect_range(r++, 0, position, "token");
		expect_range(r++, 1, *bytes++, "embed: warps=");
		for (int layer = 0; layer < 2; layer++) {
			expect_range(r++, 1, position, layer ? "layer 1" : "layer 0");
			for (int i = 0; i < n_layer; i++)
				expect_range(r++, 2, *bytes++, layer_ops[i]);
		}
		for (int i = 0; i < n_end; i++)
			expect_range(r++, 1, *bytes++, ends[i]);
	}
}

static void launches_nest_in_layers_and_tokens(void **state)
{
	static const char *const ops[] = {"qkv: math=", "attention: splits=", "attn_out: math=",
	                                  "gate_up: math=", "down: math="};
	static const char *const ends[] = {"head: math=", "advance: warps="};
	decode(*state, false, false);
	expect_tokens(5, ops, 2, ends);
}

static void so_do_those_without_fusion(void **state)
{
	static const char *const ops[] = {
	        "attn_norm: warps=", "qkv: math=",       "rope: warps=",   "attention: splits=",
	        "attn_out: math=",   "ffn_norm: warps=", "gate_up: math=", "down: math="};
	static const char *const ends[] = {
	        "final_norm: warps=", "head: math=", "argmax: warps=", "advance: warps="};
	decode(*state, false, true);
	expect_tokens(8, ops, 4, ends);
}

static void replay_has_tokens_alone(void **state)
{
	decode(*state, true, false);
	assert_int_equal(nvtx_seen.n_ranges, STEPS);
	for (int i = 0; i < STEPS; i++)
		expect_range(&nvtx_seen.ranges[i], 0, (uint64_t)i, "token");
}

/* Lines of the file that begin so. */
static int count_lines(const char *path, const char *with)
{
	char line[512];
	int n = 0;
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		n += !strncmp(line, with, strlen(with));
	fclose(file);
	return n;
}

/* The program itself, under a profiler that is a library, writes its ranges to the file. */
static void run_profiled(const char *path, const char *const *argv)
{
	setenv("NVTX_INJECTION64_PATH", PLANTED_NVTX, 1);
	setenv("PLANTED_RANGES", path, 1);
	struct command_result result = command_run(argv);
	if (result.exit_code)
		fail_msg("%s", result.err);
	command_free(&result);
	unsetenv("NVTX_INJECTION64_PATH");
}

static void make_file(char *path)
{
	const int file = mkstemp(path);
	assert_true(file >= 0);
	close(file);
}

#define ON_TINY RUN, "-q", "-m", SOURCE_DIR "/models/warpsmith-tiny.gguf"

/* Of 5 forwards through 3 layers. */
static void a_profiler_sees_them(void **state)
{
	char path[] = "/tmp/warpsmith-ranges-XXXXXX";
	(void)state;
	make_file(path);
	for (int replayed = 0; replayed < 2; replayed++) {
		const char *const argv[] = {ON_TINY,
		                            "--tokens",
		                            "5,6,7",
		                            "-n",
		                            "3",
		                            "--ignore-eos",
		                            replayed ? NULL : "--no-graph",
		                            NULL};
		run_profiled(path, argv);
		assert_int_equal(count_lines(path, "0 "), 5);
		assert_int_equal(count_lines(path, "0 4 token"), 1);
		assert_int_equal(count_lines(path, "1 4 layer 2"), !replayed);
		assert_int_equal(count_lines(path, "2 "), replayed ? 0 : 5 * 3 * 5);
	}
	unlink(path);
}

/* 637 predictions: 6 windows of 40 + 40 + 20 tokens and one of 37; or as many steps. */
static void perplexity_goes_by_chunks(void **state)
{
	char path[] = "/tmp/warpsmith-ranges-XXXXXX";
	(void)state;
	make_file(path);
	for (int chunk = 1; chunk <= 40; chunk += 39) {
		const char *const argv[] = {ON_TINY,
		                            "--ppl",
		                            SOURCE_DIR "/tests/data/perplexity/stories.txt",
		                            "-c",
		                            "100",
		                            "--chunk",
		                            chunk == 1 ? "1" : "40",
		                            NULL};
		run_profiled(path, argv);
		assert_int_equal(count_lines(path, "0 "), chunk == 1 ? 637 : 19);
		assert_int_equal(count_lines(path, "0 40 prompt"), chunk == 1 ? 0 : 6);
	}
	unlink(path);
}

int main(void)
{
	struct device *device;
	if (device_open("auto", true, &device) != STATUS_OK) {
		fprintf(stderr, "%s\n", fail_message());
		return 1;
	}
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_prestate(launches_nest_in_layers_and_tokens, device),
	        cmocka_unit_test_prestate(so_do_those_without_fusion, device),
	        cmocka_unit_test_prestate(replay_has_tokens_alone, device),
	        cmocka_unit_test(a_profiler_sees_them),
	        cmocka_unit_test(perplexity_goes_by_chunks),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	device_close(&device);
	return failed;
}
