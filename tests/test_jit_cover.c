/* NVRTC compiles every pair of values of every kernel's lists for sm_90, and every value, or with
 * WARPSMITH_TEST_ALL every pair, for the oldest architecture; two programs at a time, without a
 * GPU. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "device/jit.h"
#include "tests/cover.h"

#include <cmocka.h>

enum { MAX_KERNELS = 24 };

/* Instances of one kernel for one architecture. */
struct compilation {
	const struct kernel *kernel;
	int sm;
	struct cover cover;
	struct jit_module module;
	enum status status;
	char message[256];
};

/* All kernels for one architecture; two of these run at the same time. */
struct campaign {
	int sm, n;
	bool pairs;
	struct compilation compilation[MAX_KERNELS];
};

static void *compile_covers(void *argument)
{
	struct campaign *campaign = argument;
	for (const struct kernel *const *k = kernels; *k; k++) {
		assert_true(campaign->n < MAX_KERNELS);
		struct compilation *c = &campaign->compilation[campaign->n++];
		const struct target target = {.sm = campaign->sm, .lanes = 32};
		*c = (struct compilation){.kernel = *k, .sm = campaign->sm};
		c->cover = campaign->pairs ? cover_pairs(*k, target) : cover_values(*k, target);
		const struct jit_request request = {
		        .kernel = (*k)->name,
		        .n = c->cover.n,
		        .kases = c->cover.kases,
		        .configs = c->cover.configs,
		        .n_fields = (*k)->n_fields,
		        .n_params = (*k)->n_params,
		        .sm = campaign->sm,
		};
		c->status = jit_compile(&request, &c->module);
		if (c->status != STATUS_OK)
			snprintf(c->message, sizeof c->message, "%s", fail_message());
	}
	return NULL;
}

/* Returns how many instances failed, each with a line that says why. */
static int check_compilation(const struct compilation *c)
{
	int n_bad = 0, n_spilling = 0, registers = 0;
	for (int i = 0; i < c->module.n_instances; i++) {
		const struct jit_instance *instance = &c->module.instances[i];
		const struct cubin_resources *r = &instance->resources;
		char kase[CONFIG_TEXT], config[CONFIG_TEXT];
		n_spilling += r->stack_bytes > 0;
		registers = r->registers > registers ? r->registers : registers;
		if (instance->symbol && r->registers > 0 && r->registers <= 255)
			continue;
		params_format(c->kernel->fields, c->kernel->n_fields, c->cover.kases[i].value,
		              kase);
		params_format(c->kernel->params, c->kernel->n_params, c->cover.configs[i].value,
		              config);
		print_error("%s, sm_%d: %s; %s: %s\n", c->kernel->name, c->sm, kase, config,
		            instance->reason);
		n_bad++;
	}
	print_message("%s, sm_%d: %d instances, at most %d registers, %d with a stack\n",
	              c->kernel->name, c->sm, c->module.n_instances, registers, n_spilling);
	return n_bad;
}

static void every_pair_of_values_compiles(void **state)
{
	struct campaign *campaigns = calloc(2, sizeof *campaigns);
	pthread_t thread;
	int n_bad = 0;
	(void)state;
	campaigns[0].sm = 80;
	campaigns[0].pairs = getenv("WARPSMITH_TEST_ALL") != NULL;
	campaigns[1].sm = 90;
	campaigns[1].pairs = true;
	assert_int_equal(pthread_create(&thread, NULL, compile_covers, &campaigns[0]), 0);
	compile_covers(&campaigns[1]);
	pthread_join(thread, NULL);
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < campaigns[i].n; k++) {
			struct compilation *c = &campaigns[i].compilation[k];
			if (c->status != STATUS_OK)
				print_error("%s: %s\n", c->kernel->name, c->message);
			n_bad += c->status != STATUS_OK;
			n_bad += check_compilation(c);
			jit_close(&c->module);
			cover_close(&c->cover);
		}
	free(campaigns);
	assert_int_equal(n_bad, 0);
}

int main(void)
{
	char version[16];
	/* Kept: a second run is quick until a kernel changes. */
	setenv("XDG_CACHE_HOME", BINARY_DIR "/cache", 1);
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_pair_of_values_compiles)};
	if (jit_version(version) != STATUS_OK) {
		print_message("skipped: %s\n", fail_message());
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
