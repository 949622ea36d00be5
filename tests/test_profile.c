/* What --profile makes of stamps, and which launches are inside the window that --window opens for
 * a profiler. The linker puts the functions below before those of the device. */
#define _POSIX_C_SOURCE 200809L
#include "bench/csv.h"
#include "device/device.h"
#include "device/stamp.h"
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
enum { MAX_STAMPED = 64 * LAUNCHES };

static int opened, closed, inside, outside;
static bool is_open;
static int unstamped = -1; /* a launch that leaves no stamps */
static struct {
	const struct stamp *stamps;
	size_t blocks;
} stamped[MAX_STAMPED]; /* in the order of launching */
static int n_stamped;

enum status __real_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes,
                                 struct launch_options options);
enum status __wrap_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes,
                                 struct launch_options options);
enum status __real_device_read(struct device *device, void *to, const void *from, size_t bytes);
enum status __wrap_device_read(struct device *device, void *to, const void *from, size_t bytes);
enum status __real_device_profile(struct device *device, bool on);
enum status __wrap_device_profile(struct device *device, bool on);

enum status __wrap_device_launch(struct device *device, const void *entry, struct grid grid,
                                 const void *args, size_t args_bytes, struct launch_options options)
{
	if (is_open)
		inside++;
	else
		outside++;
	if (options.stamps) {
		assert_true(n_stamped < MAX_STAMPED);
		stamped[n_stamped].stamps = options.stamps;
		stamped[n_stamped++].blocks = (size_t)grid.x * grid.y;
	}
	return __real_device_launch(device, entry, grid, args, args_bytes, options);
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
	n_stamped = 0;
	const enum status status = run(sizeof argv / sizeof *argv, (char **)argv, out);
	fclose(out);
	return status;
}

/* A launch is charged from its predecessor's last store to its own. */
static void a_launch_has_the_time_behind_the_one_before(void **state)
{
	static const char *const ops[] = {"embed",    "qkv",     "attention",
	                                  "attn_out", "gate_up", "down"};
	char folder[] = "/tmp/warpsmith-profile-XXXXXX", path[300], *text = NULL;
	struct csv_table csv;
	double at = 0;
	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(profile_model(folder, &text), STATUS_OK);
	assert_int_equal(n_stamped % LAUNCHES, 0);

	only_folder(folder, path);
	strcat(path, "profile.csv");
	assert_int_equal(csv_read(path, &csv), STATUS_OK);
	assert_int_equal(csv.n_rows, LAUNCHES);
	for (int i = 0; i < LAUNCHES; i++) {
		const char *op = csv_cell(&csv, i, csv_column(&csv, "operation"));
		if (i < 6)
			assert_string_equal(op, ops[i]);
		near(number(&csv, i, "launch"), i);
		near(number(&csv, i, "at_us"), at);
		near(number(&csv, i, "us"), 1 + 0.1 * i);
		near(number(&csv, i, "begin_us"), i ? -0.01 * i : 0.04);
		near(number(&csv, i, "early_us"), 0.01 * i);
		near(number(&csv, i, "ready_us"), i ? 0.001 * i : 0.05);
		assert_true(number(&csv, i, "blocks") >= 1 && number(&csv, i, "percent") > 0);
		at += 1 + 0.1 * i;
	}
	csv_close(&csv);
	/* qkv is launch 1 and 6, all are 13 launches of 13 + 7.8 us */
	assert_non_null(strstr(text, "qkv                2       2.70"));
	assert_non_null(strstr(text, "all               13      20.80  100.0 %"));
	assert_null(strstr(text, "rms_norm"));
	free(text);
	unstamped = 4;
	assert_int_equal(profile_model(folder, &text), STATUS_FAILED);
	assert_string_equal(fail_message(), "launch 4 of the step, gate_up, was not stamped");
	unstamped = -1;
	free(text);
	snprintf(path, sizeof path, "rm -r %s", folder);
	assert_int_equal(system(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_launch_has_the_time_behind_the_one_before),
	        cmocka_unit_test(the_window_holds_what_follows_the_prompt),
	        cmocka_unit_test(others_open_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
