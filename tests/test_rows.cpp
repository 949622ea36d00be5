/* Rows of results/tuned.h as a program has them: of the kernel that is compiled against
 * planted/rows. */
#include "kernels/rms_norm.cu"

#include <csetjmp>
#include <cstdarg>
#include <cstdint>

extern "C" {
#include <cmocka.h>
}

static void a_row_is_an_instance(void **)
{
	int n;
	const variant *v = rms_norm_host_variants(&n);
	assert_true(n > 2);
	assert_null(v[0].device);
	assert_int_equal(v[0].beside, BESIDE_NONE);
	assert_null(v[n - 3].device);
	const variant &first = v[n - 2], &second = v[n - 1];
	assert_string_equal(first.device, "planted");
	assert_int_equal(first.kase.value[0], DTYPE_F32);
	assert_int_equal(first.m, 896);
	assert_int_equal(first.k, 7);
	assert_int_equal(first.len_min, 5);
	assert_int_equal(first.len_max, 64);
	assert_int_equal(first.beside, BESIDE_Q8_0);
	assert_int_equal(first.config.value[0], 2);
	assert_int_equal(first.config.value[1], 4);
	assert_int_equal(first.config.value[2], 1);
	assert_non_null(first.entry);
	assert_int_equal(second.len_min, 65);
	assert_int_equal(second.beside, BESIDE_NONE);
	assert_int_equal(second.config.value[1], 8);
	assert_ptr_not_equal(first.entry, second.entry);
}

int main()
{
	const CMUnitTest tests[] = {cmocka_unit_test(a_row_is_an_instance)};
	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
