/* The kernels of the decode step under the race detector: whole steps, launch by launch and
 * replayed, in which every launch is dependent on the one before; and without the wait of one
 * kernel. Linked with kernels that are instrumented (see CMakeLists.txt). */
#include "core/table.h"
#include "device/host_check.h"
#include "device/race.h"
#include "model/prefill.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

enum { STEPS = 40, AFTER_FILL = 3, CHUNK = 70, PROMPT = 100 };

/* Of tests/planted. */
const struct variant *bulk_attention(int *n), *bulk_gemv(int *n);

static struct device *device;
const char *without_wait_of; /* see planted/watched.h */

/* Instances that replace those of the tables. */
struct planted {
	const char *kernel;
	const struct variant *all;
	int n, found;
};

/* Instances of the tables, but those of `user` for the cases that it has. */
static const struct variant *find(void *user, const struct kernel *kernel, const struct kase *kase,
                                  const struct shape *shape)
{
	struct planted *p = user;
	for (int i = 0; p && !strcmp(kernel->name, p->kernel) && i < p->n; i++)
		if (!memcmp(kase, &p->all[i].kase, sizeof *kase)) {
			assert_true(kernel->valid(shape, kase->value, p->all[i].config.value,
			                          device_info(device)));
			p->found |= 1 << i;
			return &p->all[i];
		}
	return table_lookup(kernel, device_info(device), kase->value, shape, true);
}

/* Keys and values that had not arrived, or were those of a launch in flight, are NaN. */
static void expect_finite(const struct decoder *decoder)
{
	const int n = decoder->model->hparams.vocab;
	float *logits = malloc((size_t)n * sizeof *logits);
	assert_non_null(logits);
	OK(decoder_logits(decoder, logits));
	for (int i = 0; i < n; i++)
		assert_true(isfinite(logits[i]));
	free(logits);
}

static void watch_steps(struct decoder *decoder, const char *path, int n)
{
	race_begin();
	for (int i = 0; i < n; i++)
		OK(decoder_step(decoder, i ? -1 : 5, NULL, 0));
	race_end();
	if (race_count())
		fail_msg("%s: %lu races: %s", path, race_count(), race_message());
	expect_finite(decoder);
}

/* Decodes from an empty cache, then behind a cache filled so far that attention has several splits;
 * what is behind the position is NaN. */
static void decode(const char *path, int kv, struct planted *planted, bool graphs,
                   struct sampling sampling)
{
	struct model model;
	struct decoder decoder;
	const struct decoder_options options = {
	        .capacity = 512,
	        .kv = kv,
	        .use_bias = true,
	        .use_tuned = true,
	        .graphs = graphs,
	        .sampling = sampling,
	        .quiet = true,
	        .find = find,
	        .find_user = planted,
	};
	OK(model_open(path, &model));
	OK(decoder_open(device, &model, &options, &decoder));
	const size_t bytes = decoder.state.cache_layer_bytes * (size_t)model.hparams.layers;
	OK(device_fill(device, decoder.state.k_cache, 0xff, bytes));
	OK(device_fill(device, decoder.state.v_cache, 0xff, bytes));
	watch_steps(&decoder, path, STEPS);
	OK(decoder_fill_cache(&decoder, 500, NULL, NULL));
	OK(decoder_seek(&decoder, 500));
	watch_steps(&decoder, path, AFTER_FILL);
	decoder_close(&decoder);
	model_close(&model);
}

static void no_races_in_a_decode_step(void **state)
{
	static const char *const models[] = {
	        SOURCE_DIR "/models/warpsmith-tiny.gguf",
	        SOURCE_DIR "/tests/data/golden/q8_0-g2-d64-long.gguf",
	        SOURCE_DIR "/tests/data/golden/f32-g5-d40-untied.gguf",
	        SOURCE_DIR "/tests/data/golden/bf16-g1-d128-tied.gguf",
	};
	(void)state;
	OK(device_open("auto", true, &device));
	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
		for (int graphs = 0; graphs < 2; graphs++)
			decode(models[i], DTYPE_BF16, NULL, graphs, (struct sampling){0});
	decode(models[0], DTYPE_BF16, NULL, true, (struct sampling){0.8, 0, 1, 1});
	decode(models[1], DTYPE_BF16, NULL, false, (struct sampling){0.8, 40, 0.9, 1});
	decode(models[0], DTYPE_Q8_0, NULL, true, (struct sampling){0});
	decode(models[3], DTYPE_Q8_0, NULL, false, (struct sampling){0});
	device_close(&device);
}

/* Copies that are asked for before the position is known, and where the launch before writes. */
static void no_races_with_bulk_copies(void **state)
{
	int n;
	const struct variant *all = bulk_attention(&n);
	(void)state;
	OK(device_open("auto", true, &device));
	for (int i = 0; i < n; i++) {
		struct planted one = {"gqa_attention", &all[i], 1, 0};
		decode(all[i].kase.value[0] == 128
		               ? SOURCE_DIR "/tests/data/golden/bf16-g1-d128-tied.gguf"
		               : SOURCE_DIR "/tests/data/golden/q8_0-g7-d64-tied.gguf",
		       DTYPE_BF16, &one, true, (struct sampling){0});
		assert_int_equal(one.found, 1);
	}
	device_close(&device);
}

/* Weights that are asked for before the wait. */
static void no_races_with_bulk_weights(void **state)
{
	struct planted products = {"gemv", NULL, 0, 0};
	products.all = bulk_gemv(&products.n);
	(void)state;
	OK(device_open("auto", true, &device));
	decode(SOURCE_DIR "/tests/data/golden/q8_0-g7-d64-tied.gguf", DTYPE_BF16, &products, true,
	       (struct sampling){0});
	assert_int_equal(products.found, (1 << products.n) - 1);
	device_close(&device);
}

/* Chunks of which the last is no whole tile, behind each other, then a step. */
static void process(const char *path, int product, int kv)
{
	struct model model;
	struct decoder decoder;
	struct prefill *prefill;
	int32_t ids[PROMPT];
	const struct decoder_options options = {
	        .capacity = 128, .kv = kv, .use_bias = true, .graphs = true, .quiet = true};
	for (int i = 0; i < PROMPT; i++)
		ids[i] = 5 + i;
	OK(model_open(path, &model));
	OK(decoder_open(device, &model, &options, &decoder));
	OK(prefill_open(&decoder, CHUNK, product, &prefill));
	race_begin();
	OK(prefill_run(prefill, ids, PROMPT));
	OK(decoder_step(&decoder, 5, NULL, 0));
	race_end();
	if (race_count())
		fail_msg("%s: %lu races: %s", path, race_count(), race_message());
	prefill_close(&prefill);
	decoder_close(&decoder);
	model_close(&model);
}

/* With bf16 operands and tensor cores, and without either. */
static void no_races_in_a_prompt(void **state)
{
	(void)state;
	OK(device_open("auto", true, &device));
	process(SOURCE_DIR "/models/warpsmith-tiny.gguf", DTYPE_BF16, DTYPE_BF16);
	process(SOURCE_DIR "/models/warpsmith-tiny.gguf", DTYPE_BF16, DTYPE_Q8_0);
	process(SOURCE_DIR "/tests/data/golden/f32-g5-d40-untied.gguf", DTYPE_F32, DTYPE_BF16);
	device_close(&device);
}

/* A step in which attention has several splits. */
static enum status step_once(bool unfused, double temperature, int kv)
{
	struct model model;
	struct decoder decoder;
	const struct decoder_options options = {.capacity = 512,
	                                        .kv = kv,
	                                        .use_bias = true,
	                                        .use_tuned = true,
	                                        .unfused = unfused,
	                                        .sampling = {temperature, 0, 1, 1},
	                                        .graphs = true,
	                                        .quiet = true};
	OK(model_open(SOURCE_DIR "/models/warpsmith-tiny.gguf", &model));
	OK(decoder_open(device, &model, &options, &decoder));
	OK(decoder_fill_cache(&decoder, 500, NULL, NULL));
	OK(decoder_seek(&decoder, 500));
	race_begin();
	const enum status status = decoder_step(&decoder, 5, NULL, 0);
	race_end();
	decoder_close(&decoder);
	model_close(&model);
	return status;
}

/* But for embed's: the first launch of a step is not dependent. */
static void no_wait_can_be_left_out(void **state)
{
	static const struct {
		const char *kernel;
		bool unfused;
		double temperature;
		int kv;
	} waits[] = {
	        {"gemv", false, 0, DTYPE_BF16},         {"gqa_attention", false, 0, DTYPE_BF16},
	        {"advance", false, 0, DTYPE_BF16},      {"rms_norm", true, 0, DTYPE_BF16},
	        {"rope", true, 0, DTYPE_BF16},          {"argmax", true, 0, DTYPE_BF16},
	        {"sample", false, 1, DTYPE_BF16},       {"kv_append", false, 0, DTYPE_Q8_0},
	        {"gqa_attention", false, 0, DTYPE_Q8_0}};
	const struct host_check before = host_check_get();
	struct host_check check = before;
	(void)state;
	OK(device_open("auto", true, &device));
	OK(step_once(true, 1, DTYPE_BF16));
	assert_int_equal(race_count(), 0);
	for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
		without_wait_of = waits[i].kernel;
		check.checked = true;
		host_check_set(check);
		assert_int_equal(step_once(waits[i].unfused, waits[i].temperature, waits[i].kv),
		                 STATUS_VIOLATION);
		assert_non_null(strstr(fail_message(), "never waited"));
		check.checked = false; /* leaves it to the detector */
		host_check_set(check);
		OK(step_once(waits[i].unfused, waits[i].temperature, waits[i].kv));
		if (!race_count())
			fail_msg("no race without the wait of %s", waits[i].kernel);
		if (!strstr(race_message(), "grid_wait()"))
			fail_msg("without the wait of %s: %s", waits[i].kernel, race_message());
		host_check_set(before);
	}
	without_wait_of = NULL;
	device_close(&device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(no_races_in_a_decode_step),
	        cmocka_unit_test(no_races_with_bulk_copies),
	        cmocka_unit_test(no_races_with_bulk_weights),
	        cmocka_unit_test(no_races_in_a_prompt),
	        cmocka_unit_test(no_wait_can_be_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
