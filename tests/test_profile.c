/* The window that --profile opens for a profiler: which launches are inside. The linker puts the
 * functions below before those of the device. */
#include "device/device.h"
#include "model/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MODEL SOURCE_DIR "/tests/data/golden/q8_0-g2-d64-long.gguf"

enum { LAUNCHES = 1 + 2 * 5 + 2 }; /* of a step of the model, which has two layers */

static int opened, closed, inside, outside;
static bool is_open;

enum status __real_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes,
                                 struct launch_options options);
enum status __wrap_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes,
                                 struct launch_options options);
enum status __real_device_profile(struct device *device, bool on);
enum status __wrap_device_profile(struct device *device, bool on);

enum status __wrap_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes, struct launch_options options)
{
	if (is_open)
		inside++;
	else
		outside++;
	return __real_device_launch(device, entry, grid, args, args_bytes, options);
}

enum status __wrap_device_profile(struct device *device, bool on)
{
	opened += on;
	closed += !on;
	is_open = on;
	return __real_device_profile(device, on);
}

static void decode(const char *option)
{
	const char *argv[] = {"warpsmith-run", "-q",    "-m",   MODEL,
	                      "--tokens",      "5,6,7", "-n",   "5",
	                      "--device",      "auto",  option, "--ignore-eos"};
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
	decode("--profile");
	assert_int_equal(opened, 1);
	assert_int_equal(closed, 1);
	assert_int_equal(outside, 3 * LAUNCHES);
	assert_int_equal(inside, 4 * LAUNCHES); /* the fifth token is not decoded */
}

static void others_open_none(void **state)
{
	(void)state;
	decode("--no-graph");
	assert_int_equal(opened + closed + inside, 0);
	assert_int_equal(outside, 7 * LAUNCHES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_window_holds_what_follows_the_prompt),
	        cmocka_unit_test(others_open_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
