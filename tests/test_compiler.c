/* Compiling in another process is the same as compiling here. Skipped without NVRTC. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/kernel.h"
#include "tuner/compiler.h"

#include <cmocka.h> /* last: it takes the name `fail` */

enum { N = 3, BAD = 1 };

/* XDG_CACHE_HOME, from which all but the first take the same images: NVRTC numbers its own. */
static char cache[] = "/tmp/warpsmith-compiler-XXXXXX";

static int use_own_cache(void **state)
{
	(void)state;
	return !mkdtemp(cache) || setenv("XDG_CACHE_HOME", cache, 1);
}

static int remove_cache(void **state)
{
	char command[64];
	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", cache);
	return system(command);
}

static struct kase kases[N];
static struct config configs[N];

/* Instances of rms_norm, one of which does not compile. */
static struct jit_request request_of(const char *name)
{
	const struct kernel *kernel = kernel_find("rms_norm");
	for (int i = 0; i < N; i++) {
		configs[i] = config_default(kernel);
		configs[i].value[0] = i == BAD ? -1 : 1 + i;
	}
	return (struct jit_request){.kernel = name,
	                            .n = N,
	                            .kases = kases,
	                            .configs = configs,
	                            .n_fields = kernel->n_fields,
	                            .n_params = kernel->n_params,
	                            .sm = 90};
}

static void assert_same(const struct jit_module *a, const struct jit_module *b)
{
	assert_int_equal(a->n_instances, N);
	assert_int_equal(b->n_instances, N);
	assert_int_equal(a->n_parts, b->n_parts);
	for (int i = 0; i < N; i++) {
		const struct jit_instance *x = &a->instances[i], *y = &b->instances[i];
		assert_int_equal(!x->symbol, i == BAD);
		assert_int_equal(!y->symbol, i == BAD);
		assert_true(i == BAD || !strcmp(x->symbol, y->symbol));
		assert_string_equal(x->reason, y->reason);
		assert_memory_equal(&x->resources, &y->resources, sizeof x->resources);
	}
	assert_true(a->instances[BAD].reason[0]);
	for (int i = 0; i < a->n_parts; i++) {
		assert_int_equal(a->parts[i].first, b->parts[i].first);
		assert_int_equal(a->parts[i].n, b->parts[i].n);
		assert_int_equal(a->parts[i].bytes, b->parts[i].bytes);
		assert_memory_equal(a->parts[i].image, b->parts[i].image, a->parts[i].bytes);
	}
}

static void it_is_the_same(void **state)
{
	struct compiler compiler = {0};
	struct jit_module here = {0}, there = {0};
	const struct jit_request request = request_of("rms_norm"), unknown = request_of("no_norm");
	char version[16];
	(void)state;
	if (jit_version(version) != STATUS_OK)
		skip();
	assert_int_equal(jit_compile(&request, &here), STATUS_OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(compiler_compile(&compiler, &request, &there), STATUS_OK);
		assert_true(compiler.pid > 0);
		assert_same(&here, &there);
		jit_close(&there);
	}
	assert_int_equal(compiler_compile(&compiler, &unknown, &there), STATUS_USAGE);
	assert_string_equal(fail_message(), "no kernel source kernels/no_norm.cu");
	jit_close(&here);
	compiler_stop(&compiler);
	assert_int_equal(compiler.pid, 0);
}

/* One that is ended costs time alone. */
static void it_may_end(void **state)
{
	struct compiler compiler = {0};
	struct jit_module first = {0}, second = {0}, third = {0};
	const struct jit_request request = request_of("rms_norm");
	siginfo_t info;
	char version[16];
	(void)state;
	if (jit_version(version) != STATUS_OK)
		skip();
	assert_int_equal(compiler_compile(&compiler, &request, &first), STATUS_OK);
	const pid_t pid = compiler.pid;
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(compiler_compile(&compiler, &request, &second), STATUS_OK);
	assert_int_equal(compiler.pid, 0);
	assert_int_equal(compiler_compile(&compiler, &request, &third), STATUS_OK);
	assert_true(compiler.pid > 0 && compiler.pid != pid);
	assert_same(&first, &second);
	assert_same(&first, &third);
	jit_close(&first);
	jit_close(&second);
	jit_close(&third);
	compiler_stop(&compiler);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(it_is_the_same),
	        cmocka_unit_test(it_may_end),
	};
	if (argc == 2 && !strcmp(argv[1], "--compiler"))
		return compiler_main();
	compiler_allow();
	return cmocka_run_group_tests(tests, use_own_cache, remove_cache);
}
