/* Logits and greedy ids of every fixture against the oracle's, with default and tuned rows,
 * replayed and launched one by one; the cache types are --check's business. */
#include "tests/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct device *device;

/* A build that verifies looks for what no other build would find: it takes turns, and goes no
 * farther than SOME_POSITIONS. */
enum { SOME_POSITIONS = 32 };

static bool all(void)
{
	return !VERIFIES || getenv("WARPSMITH_TEST_ALL");
}

static void check(int row, bool use_tuned, bool graphs)
{
	const struct golden_run run = {.device = device,
	                               .use_tuned = use_tuned,
	                               .graphs = graphs,
	                               .positions = all() ? 0 : SOME_POSITIONS};
	char why[GOLDEN_WHY];
	const bool right = golden_fixture(&run, row, why);
	print_message("%s\n", why);
	assert_true(right);
}

static void logits_match_the_oracle(void **state)
{
	(void)state;
	const bool both = all();
	const int n = golden_open();
	assert_true(n > 0);
	for (int row = 0; row < n; row++) {
		if (both || row % 2)
			check(row, false, true);
		if (both || row % 2 == 0)
			check(row, true, false);
	}
}

/* With what a user gets by default: a bf16 cache and tuned rows. */
static void the_bundled_model_answers(void **state)
{
	const struct golden_run run = {.device = device, .use_tuned = true, .graphs = true};
	char why[GOLDEN_WHY];
	(void)state;
	if (!golden_answers(&run, why))
		fail_msg("%s", why);
}

static void margins_exceed_the_tolerance(void **state)
{
	(void)state;
	golden_margins_exceed_tolerance();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(logits_match_the_oracle),
	        cmocka_unit_test(the_bundled_model_answers),
	        cmocka_unit_test(margins_exceed_the_tolerance),
	};
	if (device_open(getenv("WARPSMITH_TEST_DEVICE") ? getenv("WARPSMITH_TEST_DEVICE") : "auto",
	                true, &device) != STATUS_OK) {
		fprintf(stderr, "%s\n", fail_message());
		return 1;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	device_close(&device);
	golden_close();
	return failed;
}
