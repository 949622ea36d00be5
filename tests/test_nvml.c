/* NVML against a planted library (tests/planted/nvml.c), which is found through LD_LIBRARY_PATH. */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "device/nvml.h"

#include <cmocka.h>

static int count_users(void)
{
	void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	assert_non_null(library);
	const int *users = dlsym(library, "nvml_users");
	assert_non_null(users);
	const int n = *users;
	dlclose(library);
	return n;
}

static void answers_arrive_and_the_rest_stays(void **state)
{
	struct device_health health = {.sm_mhz = NAN, .watt = NAN, .celsius = NAN};
	char version[32];
	(void)state;
	struct nvml *nvml = nvml_open("0000:17:00.0");
	assert_non_null(nvml);
	nvml_driver_version(nvml, version);
	assert_string_equal(version, "580.65.06");
	nvml_read(nvml, &health);
	assert_float_equal(health.sm_mhz, 1980, 0);
	assert_true(isnan(health.watt));    /* refused */
	assert_true(isnan(health.celsius)); /* the library lacks the function */
	assert_string_equal(health.throttle, "power_cap+hw_thermal");
	assert_int_equal(count_users(), 1);
	nvml_close(&nvml);
	nvml_close(&nvml);
	assert_null(nvml);
}

static void unknown_gpu_has_no_nvml(void **state)
{
	(void)state;
	void *keep = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	assert_null(nvml_open("0000:99:00.0"));
	assert_int_equal(count_users(), 0);
	dlclose(keep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(answers_arrive_and_the_rest_stays),
	        cmocka_unit_test(unknown_gpu_has_no_nvml),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
