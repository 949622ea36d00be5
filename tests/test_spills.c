/* test_spills KERNEL ARCHITECTURE...: the default instances of a kernel keep in registers what they
 * have. Skipped where there is no NVRTC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/kernel.h"
#include "device/jit.h"
#include "kernels/images.h"

#include <cmocka.h>

enum { MAX_CASES = 128 };

static const char *kernel_name;
static char **architectures; /* NULL-terminated */

/* Those that are legal for an architecture; returns their number. */
static int collect_defaults(const struct kernel *kernel, int sm, struct kase *kases,
                            struct config *configs)
{
	const struct target target = {.sm = sm, .lanes = 32};
	int n_rows, n = 0;
	const struct variant *rows = cuda_table(kernel->name, &n_rows);
	for (int r = 0; r < n_rows; r++) {
		if (rows[r].device ||
		    !kernel->legal(rows[r].kase.value, rows[r].config.value, target))
			continue;
		assert_true(n < MAX_CASES);
		kases[n] = rows[r].kase;
		configs[n++] = rows[r].config;
	}
	return n;
}

static void defaults_do_not_spill(void **state)
{
	static struct kase kases[MAX_CASES];
	static struct config configs[MAX_CASES];
	const struct kernel *kernel = kernel_find(kernel_name);
	int n_spilling = 0;
	(void)state;
	assert_non_null(kernel);
	for (char **at = architectures; *at; at++) {
		struct jit_module module = {0};
		const int sm = atoi(*at);
		const struct jit_request request = {
		        .kernel = kernel->name,
		        .n = collect_defaults(kernel, sm, kases, configs),
		        .kases = kases,
		        .configs = configs,
		        .n_fields = kernel->n_fields,
		        .n_params = kernel->n_params,
		        .sm = sm,
		};
		assert_true(request.n > 0);
		if (jit_compile(&request, &module) != STATUS_OK)
			fail_msg("%s", fail_message());
		for (int i = 0; i < module.n_instances; i++) {
			const struct jit_instance *instance = &module.instances[i];
			char kase[CONFIG_TEXT];
			params_format(kernel->fields, kernel->n_fields, kases[i].value, kase);
			if (!instance->symbol || !instance->resources.registers)
				fail_msg("%s, sm_%d: %s", kase, sm, instance->reason);
			if (instance->resources.stack_bytes)
				print_error("%s, sm_%d: %d bytes spilled\n", kase, sm,
				            instance->resources.stack_bytes);
			n_spilling += instance->resources.stack_bytes > 0;
		}
		jit_close(&module);
	}
	assert_int_equal(n_spilling, 0);
}

int main(int argc, char **argv)
{
	char version[16];
	const struct CMUnitTest tests[] = {cmocka_unit_test(defaults_do_not_spill)};
	if (argc < 3)
		return 2;
	kernel_name = argv[1];
	architectures = argv + 2;
	if (jit_version(version) != STATUS_OK) {
		print_message("skipped: %s\n", fail_message());
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
