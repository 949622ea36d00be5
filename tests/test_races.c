/* The kernels of the decode step under the race detector: whole steps, launch by launch and
 * replayed, in which every launch is dependent on the one before. Linked with kernels that are
 * instrumented (see CMakeLists.txt). */
#include "device/race.h"
#include "model/decoder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

enum { STEPS = 40, AFTER_FILL = 3 };

static struct device *device;

/* Decodes from an empty cache, then behind a cache filled so far that attention has several splits.
 */
static void decode(const char *path, int kv, bool graphs)
{
	struct model model;
	struct decoder decoder;
	const struct decoder_options options = {
	        .capacity = 512,
	        .kv = kv,
	        .use_bias = true,
	        .use_tuned = true,
	        .graphs = graphs,
	        .quiet = true,
	};
	OK(model_open(path, &model));
	OK(decoder_open(device, &model, &options, &decoder));
	race_begin();
	for (int i = 0; i < STEPS; i++)
		OK(decoder_step(&decoder, i ? -1 : 5, NULL, 0));
	race_end();
	if (race_count())
		fail_msg("%s: %lu races: %s", path, race_count(), race_message());
	OK(decoder_fill_cache(&decoder, 500, NULL, NULL));
	OK(decoder_seek(&decoder, 500));
	race_begin();
	for (int i = 0; i < AFTER_FILL; i++)
		OK(decoder_step(&decoder, i ? -1 : 5, NULL, 0));
	race_end();
	if (race_count())
		fail_msg("%s: %lu races: %s", path, race_count(), race_message());
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
			decode(models[i], DTYPE_BF16, graphs);
	device_close(&device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(no_races_in_a_decode_step)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
