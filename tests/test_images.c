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

static const char *const all[] = {"first", "second"}, *const one[] = {NULL, "second"};
static const struct image old_cubin = {"toy", 80, false, "80", one},
                          new_cubin = {"toy", 86, false, "86", one},
                          next_cubin = {"toy", 90, false, "90", all},
                          old_ptx = {"toy", 90, true, "compute_90", one},
                          new_ptx = {"toy", 120, true, "compute_120", all},
                          twin = {"toy_traced", 90, false, "twin", one},
                          broken = {"broken", 90, false, "broken", all};
const struct image *const images[] = {&old_ptx, &old_cubin, &new_cubin, &next_cubin,
                                      &new_ptx, &twin,      &broken,    NULL};

/* A library is its code, an entry the symbol. */
enum status __wrap_jit_load_code(const void *code, void **library);
enum status __wrap_jit_load_code(const void *code, void **library)
{
	*library = strcmp(code, "broken") ? (void *)(uintptr_t)code : NULL;
	return *library ? STATUS_OK : (fail)(STATUS_FAILED, "broken");
}

enum status __wrap_jit_find_entry(void *library, const char *symbol, const void **entry);
enum status __wrap_jit_find_entry(void *library, const char *symbol, const void **entry)
{
	assert_non_null(library);
	assert_non_null(symbol);
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

static void entries_are_those_of_the_list(void **state)
{
	struct variant list[2] = {{.entry = "", .traced = ""}, {.entry = "", .traced = ""}};
	(void)state;
	images_resolve("toy", 90, list, 2);
	assert_string_equal(list[0].entry, "first");
	assert_string_equal(list[1].entry, "second");
	assert_null(list[0].traced);
	assert_string_equal(list[1].traced, "second");
	images_resolve("toy", 86, list, 2);
	assert_null(list[0].entry); /* not legal there */
	assert_string_equal(list[1].entry, "second");
	assert_null(list[1].traced);
}

static void without_code_there_is_no_entry(void **state)
{
	struct variant list[2] = {{.entry = "", .traced = ""}, {.entry = "", .traced = ""}};
	(void)state;
	images_resolve("toy", 75, list, 2);
	assert_null(list[0].entry);
	images_resolve("broken", 90, list, 2);
	assert_null(list[1].entry);
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
