/* Logits past a range boundary of the attention table. The table has ranges for few shapes and for
 * none of the fixtures', so here it has two for all, each with another configuration. */
#include "tests/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/table.h"

#include <cmocka.h>

enum { BOUNDARY = 130, MAX_FITTING = 64 };

static struct device *device;

int __wrap_table_ranges(const struct kernel *kernel, const struct device_info *info,
                        const int *kase, const struct shape *shapes, int n_shapes, int max_len,
                        int *upper, int max);
int __wrap_table_ranges(const struct kernel *kernel, const struct device_info *info,
                        const int *kase, const struct shape *shapes, int n_shapes, int max_len,
                        int *upper, int max)
{
	(void)kernel;
	(void)info;
	(void)kase;
	(void)shapes;
	(void)n_shapes;
	(void)max;
	upper[0] = BOUNDARY;
	upper[1] = max_len;
	return max_len > BOUNDARY ? 2 : 0;
}

/* What the plan of each range got. */
static const struct variant *chosen[2];

/* Of the instances that can run an attention, the first for the first range and the last for the
 * second; the defaults of all else. */
static const struct variant *find(void *user, const struct kernel *kernel, const struct kase *kase,
                                  const struct shape *shape)
{
	const struct device_info *info = device_info(device);
	const struct variant *all, *fitting[MAX_FITTING];
	int n = 0;
	(void)user;
	if (strcmp(kernel->name, "gqa_attention"))
		return table_lookup(kernel, info, kase->value, shape, false);
	const int n_all = kernel_variants(kernel, info, &all);
	for (int i = 0; i < n_all && n < MAX_FITTING; i++)
		if (!memcmp(&all[i].kase, kase, sizeof *kase) &&
		    kernel->valid(shape, kase->value, all[i].config.value, info))
			fitting[n++] = &all[i];
	assert_true(n > 0);
	const int range = shape->len > BOUNDARY;
	chosen[range] = fitting[range ? n - 1 : 0];
	return chosen[range];
}

static void logits_are_golden_past_a_boundary(void **state)
{
	const int n = golden_open();
	int n_differ = 0;
	(void)state;
	for (int row = 0; row < n; row++) {
		const struct golden_run run = {
		        .device = device, .use_tuned = true, .graphs = row % 2, .find = find};
		char why[GOLDEN_WHY];
		chosen[0] = chosen[1] = NULL;
		const bool right = golden_fixture(&run, row, why);
		const bool differ = chosen[1] && chosen[1] != chosen[0];
		print_message("%s%s\n", why, differ ? ", two configurations" : "");
		assert_true(right);
		n_differ += differ;
	}
	assert_true(n_differ >= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(logits_are_golden_past_a_boundary),
	};
	if (device_open("auto", true, &device) != STATUS_OK) {
		fprintf(stderr, "%s\n", fail_message());
		return 1;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	device_close(&device);
	golden_close();
	return failed;
}
