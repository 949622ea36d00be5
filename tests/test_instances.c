/* What is compiled, and how often. A GPU and its compiler are replaced. */
#define _GNU_SOURCE
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/jit.h"
#include "kernels/list.h"
#include "tuner/candidates.h"
#include "tuner/instances.h"

#include <cmocka.h> /* last: it takes the name `fail` */

static atomic_int n_compiled, n_programs;
static bool slow; /* compiling takes a while */

const struct device_info *__wrap_device_info(const struct device *device);
const struct device_info *__wrap_device_info(const struct device *device)
{
	static const struct device_info gpu = {.target.sm = 90};
	(void)device;
	return &gpu;
}

/* A machine with 16 processors. */
int __wrap_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *mine);
int __wrap_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *mine)
{
	(void)pid;
	memset(mine, 0, bytes);
	for (int i = 0; i < 16; i++)
		CPU_SET(i, mine);
	return 0;
}

enum status __wrap_jit_compile(const struct jit_request *request, struct jit_module *module);
enum status __wrap_jit_compile(const struct jit_request *request, struct jit_module *module)
{
	n_compiled += request->n;
	n_programs++;
	if (slow)
		usleep(20000);
	module->n_instances = request->n;
	module->instances = calloc((size_t)request->n, sizeof *module->instances);
	for (int i = 0; i < request->n; i++)
		module->instances[i].entry = "an entry";
	return STATUS_OK;
}

enum status __wrap_jit_load(struct device *device, struct jit_module *module);
enum status __wrap_jit_load(struct device *device, struct jit_module *module)
{
	(void)device;
	(void)module;
	return STATUS_OK;
}

void __wrap_jit_close(struct jit_module *module);
void __wrap_jit_close(struct jit_module *module)
{
	free(module->instances);
}

static void nothing_is_compiled_twice(void **state)
{
	struct instances instances;
	const struct task task = {.kernel = kernel_find("rms_norm")};
	struct config config[5];
	const void *entry;
	(void)state;
	for (int i = 0; i < 5; i++) {
		config[i] = config_default(task.kernel);
		config[i].value[0] = i;
	}
	instances_open(NULL, &task, &instances);
	assert_int_equal(instances_prepare(&instances, config, 3), STATUS_OK);
	assert_int_equal(instances_prepare(&instances, config + 1, 3), STATUS_OK);
	assert_int_equal(instances_prepare(&instances, config, 4), STATUS_OK);
	for (int i = 0; i < 5; i++) /* the last was not announced */
		assert_int_equal(instances_find(&instances, &config[i], &entry), STATUS_OK);
	assert_int_equal(n_compiled, 5);
	instances_close(&instances);
}

/* Blocks of a grid are no part of the code, and 1 block per multiprocessor is another than none. */
static void what_has_one_code_is_compiled_once(void **state)
{
	static const char *const texts[] = {"blocks=1",         "blocks=2",
	                                    "blocks=8",         "blocks=0",
	                                    "blocks=4 ahead=1", "blocks=1 ahead=3 ahead_mb=16"};
	struct instances instances;
	const struct task task = {.kernel = kernel_find("gemv")};
	struct config config[6];
	const void *entry;
	(void)state;
	n_compiled = 0;
	for (int i = 0; i < 6; i++) {
		config[i] = config_default(task.kernel);
		assert_int_equal(params_parse(task.kernel->params, task.kernel->n_params, texts[i],
		                              config[i].value),
		                 STATUS_OK);
	}
	instances_open(NULL, &task, &instances);
	assert_int_equal(instances_prepare(&instances, config, 6), STATUS_OK);
	for (int i = 0; i < 6; i++)
		assert_int_equal(instances_find(&instances, &config[i], &entry), STATUS_OK);
	assert_int_equal(n_compiled, 3);
	instances_close(&instances);
}

/* What waits for the compilers when its task is closed is not compiled, and others go on. */
static void a_task_that_ends_takes_back_what_it_asked_for(void **state)
{
	enum { MANY = 100 };
	struct instances first, second;
	const struct task task = {.kernel = kernel_find("gqa_attention")};
	struct config config[MANY];
	const void *entry;
	(void)state;
	n_compiled = 0;
	slow = true;
	for (int i = 0; i < MANY; i++) {
		config[i] = config_default(task.kernel);
		config[i].value[1] = i;
	}
	instances_open(NULL, &task, &first);
	instances_open(NULL, &task, &second);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(instances_prepare(&first, &config[i], 1), STATUS_OK);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(instances_prepare(&second, &config[i], 1), STATUS_OK);
	instances_close(&first);
	assert_true(n_compiled < MANY);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(instances_find(&second, &config[i], &entry), STATUS_OK);
	instances_close(&second);
	slow = false;
}

/* What is taken back is compiled when it is asked for again; what has begun goes on. */
static void what_is_taken_back_may_be_asked_for_again(void **state)
{
	enum { MANY = 40 };
	struct instances instances;
	const struct task task = {.kernel = kernel_find("gqa_attention")};
	struct config config[MANY];
	const void *entry;
	(void)state;
	slow = true;
	n_compiled = 0;
	for (int i = 0; i < MANY; i++) {
		config[i] = config_default(task.kernel);
		config[i].value[1] = i;
	}
	instances_open(NULL, &task, &instances);
	instances_withdraw(&instances); /* nothing */
	for (int i = 0; i < MANY; i++)
		assert_int_equal(instances_prepare(&instances, &config[i], 1), STATUS_OK);
	instances_withdraw(&instances);
	slow = false;
	assert_int_equal(instances_find(&instances, &config[0], &entry), STATUS_OK);
	usleep(40000);
	assert_true(n_compiled <= instances_compilers() + 1);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(instances_find(&instances, &config[i], &entry), STATUS_OK);
	assert_int_equal(n_compiled, MANY);
	instances_close(&instances);
}

/* No compiler gets two candidates of a batch while another has none. */
static void all_compilers_have_work(void **state)
{
	enum { MANY = 24 };
	struct instances instances;
	const struct task task = {.kernel = kernel_find("gqa_attention")};
	struct config config[MANY];
	(void)state;
	n_programs = 0;
	for (int i = 0; i < MANY; i++) {
		config[i] = config_default(task.kernel);
		config[i].value[1] = i;
	}
	assert_int_equal(instances_compilers(), 15);
	instances_open(NULL, &task, &instances);
	assert_int_equal(instances_prepare(&instances, config, MANY), STATUS_OK);
	const void *entry;
	for (int i = 0; i < MANY; i++)
		assert_int_equal(instances_find(&instances, &config[i], &entry), STATUS_OK);
	assert_true(n_programs >= 15);
	instances_close(&instances);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(nothing_is_compiled_twice),
	        cmocka_unit_test(what_has_one_code_is_compiled_once),
	        cmocka_unit_test(a_task_that_ends_takes_back_what_it_asked_for),
	        cmocka_unit_test(what_is_taken_back_may_be_asked_for_again),
	        cmocka_unit_test(all_compilers_have_work),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
