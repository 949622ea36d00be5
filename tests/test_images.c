/* Which compiled code a GPU gets of a program that has it for several architectures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/status.h"
#include "device/jit.h"
#include "kernels/images.h"

#include <cmocka.h>

static const char first_code[] = "first code", second_code[] = "second code", broken_code[] = "";
static const struct image_part all[] = {{first_code, "first"},
                                        {second_code, "second"},
                                        {first_code, "first"}},
                               one[] = {{NULL, NULL}, {second_code, "second"}, {NULL, NULL}},
                               broken_parts[] = {{broken_code, "first"},
                                                 {broken_code, "first"},
                                                 {second_code, "second"}};
static const struct image old_cubin = {"toy", 80, false, one}, new_cubin = {"toy", 86, false, one},
                          next_cubin = {"toy", 90, false, all}, old_ptx = {"toy", 90, true, one},
                          new_ptx = {"toy", 120, true, all}, twin = {"toy_traced", 90, false, one},
                          broken = {"broken", 90, false, broken_parts};
const struct image *const images[] = {&old_ptx, &old_cubin, &new_cubin, &next_cubin,
                                      &new_ptx, &twin,      &broken,    NULL};
static int n_loaded;

/* A library is its code, an entry the symbol. */
enum status __wrap_jit_load_code(const void *code, void **library);
enum status __wrap_jit_load_code(const void *code, void **library)
{
	n_loaded++;
	*library = (void *)(uintptr_t)code;
	return code != broken_code ? STATUS_OK : (fail)(STATUS_FAILED, "broken");
}

enum status __wrap_jit_find_entry(void *library, const char *symbol, const void **entry);
enum status __wrap_jit_find_entry(void *library, const char *symbol, const void **entry)
{
	assert_memory_equal(library, symbol, strlen(symbol));
	*entry = symbol;
	return STATUS_OK;
}

static void the_newest_code_that_runs(void **state)
{
	static const struct {
		int sm;
		const struct image *image;
	} expected[] = {
	        {75, NULL},       {80, &old_cubin},  {86, &new_cubin},
	        {89, &new_cubin}, {90, &next_cubin}, {100, &old_ptx},
	        {103, &old_ptx},  {120, &new_ptx},   {121, &new_ptx},
	};
	(void)state;
	for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
		if (image_find("toy", expected[i].sm) != expected[i].image)
			fail_msg("sm_%d has other code", expected[i].sm);
	assert_null(image_find("no_toy", 90));
}

enum { N = 3 };

static void resolve(const char *kernel, int sm, struct variant list[N])
{
	for (int i = 0; i < N; i++)
		list[i] = (struct variant){.entry = "", .traced = ""};
	n_loaded = 0;
	images_resolve(kernel, sm, list, N);
}

static void entries_are_those_of_the_list(void **state)
{
	struct variant list[N];
	(void)state;
	resolve("toy", 90, list);
	assert_string_equal(list[0].entry, "first");
	assert_string_equal(list[1].entry, "second");
	assert_ptr_equal(list[2].entry, list[0].entry);
	assert_null(list[0].traced);
	assert_string_equal(list[1].traced, "second");
	assert_int_equal(n_loaded, 3); /* what is the same is loaded once */
	resolve("toy", 86, list);
	assert_null(list[0].entry); /* not legal there */
	assert_string_equal(list[1].entry, "second");
	assert_null(list[1].traced);
}

static void without_code_there_is_no_entry(void **state)
{
	struct variant list[N];
	(void)state;
	resolve("toy", 75, list);
	assert_null(list[1].entry);
	resolve("broken", 90, list);
	assert_null(list[0].entry);
	assert_null(list[1].entry);
	assert_string_equal(list[2].entry, "second");
	assert_string_equal(fail_message(), "broken");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_newest_code_that_runs),
	        cmocka_unit_test(entries_are_those_of_the_list),
	        cmocka_unit_test(without_code_there_is_no_entry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
