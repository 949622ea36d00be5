/* What is compiled, and how often. A GPU and its compiler are replaced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "device/jit.h"
#include "kernels/list.h"
#include "tuner/candidates.h"
#include "tuner/instances.h"

#include <cmocka.h> /* last: it takes the name `fail` */

static atomic_int n_compiled;

const struct device_info *__wrap_device_info(const struct device *device);
const struct device_info *__wrap_device_info(const struct device *device)
{
	static const struct device_info gpu = {.target.sm = 90};
	(void)device;
	return &gpu;
}

enum status __wrap_jit_compile(const struct jit_request *request, struct jit_module *module);
enum status __wrap_jit_compile(const struct jit_request *request, struct jit_module *module)
{
	n_compiled += request->n;
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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_compiled_twice)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
