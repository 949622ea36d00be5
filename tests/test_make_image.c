/* What make_image writes: for each row of a kernel's list where its code lies, and code there that
 * has the row's symbol, as a cubin and as PTX; and a source that compiles. Skipped where there is
 * no NVRTC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel.h"
#include "device/cubin.h"
#include "device/jit.h"
#include "kernels/images.h"
#include "tests/symbol.h"

#include <cmocka.h>

#define KERNEL "rope"
#define OUTPUT BINARY_DIR "/tests/image"

static char *read_whole(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "rb");
	char *text = NULL;
	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	*bytes = (size_t)ftell(file);
	rewind(file);
	text = calloc(1, *bytes + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, *bytes, file), *bytes);
	fclose(file);
	return text;
}

static void run(const char *command)
{
	const int status = system(command);
	if (status)
		fail_msg("%s: status %d", command, status);
}

/* The next "+ OFFSET, "SYMBOL"}" of the source; false behind the last. */
static bool next_part(const char **source, size_t *offset, char symbol[512])
{
	const char *at = strstr(*source, "_code + ");
	if (!at || sscanf(at, "_code + %zu, \"%511[^\"]\"}", offset, symbol) != 2)
		return false;
	*source = at + 1;
	return true;
}

static bool same_code(const struct variant *a, const struct variant *b)
{
	return !memcmp(&a->kase, &b->kase, sizeof a->kase) &&
	       !memcmp(&a->config, &b->config, sizeof a->config);
}

static void check_symbol(const struct kernel *kernel, const struct variant *row, const char *symbol)
{
	struct variant of = {0};
	assert_true(symbol_values(symbol, KERNEL, "case", of.kase.value, kernel->n_fields));
	assert_true(symbol_values(symbol, KERNEL, "config", of.config.value, kernel->n_params));
	assert_true(same_code(&of, row));
}

static void check_image(const char *architecture, bool ptx)
{
	enum { MAX_ROWS = 64 };
	char command[1024], symbol[512], entry[600];
	size_t n_code, n_source, offset[MAX_ROWS];
	int n_rows, n = 0;
	const struct kernel *kernel = kernel_find(KERNEL);
	const struct variant *rows = cuda_table(KERNEL, &n_rows);
	snprintf(command, sizeof command, "%s/bin/make_image %s %s %s", BINARY_DIR, KERNEL,
	         architecture, OUTPUT);
	run(command);
	char *code = read_whole(OUTPUT, &n_code), *source = read_whole(OUTPUT ".c", &n_source);
	assert_true(rows && n_rows <= MAX_ROWS);
	for (const char *at = source; n < n_rows && next_part(&at, &offset[n], symbol); n++) {
		const char *own = code + offset[n];
		struct cubin_resources resources;
		assert_true(offset[n] % 64 == 0 && offset[n] < n_code);
		check_symbol(kernel, &rows[n], symbol);
		for (int i = 0; i < n; i++)
			assert_int_equal(offset[i] == offset[n], same_code(&rows[i], &rows[n]));
		snprintf(entry, sizeof entry, ".entry %s(", symbol);
		if (ptx)
			assert_non_null(strstr(own, entry));
		else if (cubin_read(own, n_code - offset[n], symbol, &resources) != STATUS_OK)
			fail_msg("row %d: %s", n, fail_message());
	}
	assert_int_equal(n, n_rows);
	run(CC " -Wall -Wextra -Werror -I " SOURCE_DIR " -c " OUTPUT ".c -o " OUTPUT ".o");
	free(code);
	free(source);
}

static void cubins(void **state)
{
	(void)state;
	check_image("90", false);
}

static void ptx(void **state)
{
	(void)state;
	check_image("compute_80", true);
}

static void unknown_architectures_are_refused(void **state)
{
	static const char *const wrong[] = {"95", "compute_95", "90a", "sm_90", "0"};
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		char command[1024];
		snprintf(command, sizeof command, "%s/bin/make_image %s %s %s 2>%s.log", BINARY_DIR,
		         KERNEL, wrong[i], OUTPUT, OUTPUT);
		if (!system(command))
			fail_msg("architecture %s is taken", wrong[i]);
	}
}

/* What reads for ceilings and references: more than the host has. */
static void gpus_have_their_readers(void **state)
{
	static const int warps[] = {8, 16}, unroll[] = {1, 2, 4, 8};
	const struct kernel *kernel = kernel_find("stream");
	int n_rows, n = 0;
	const struct variant *rows = cuda_table("stream", &n_rows);
	(void)state;
	assert_string_equal(kernel->params[0].name, "warps");
	assert_string_equal(kernel->params[1].name, "unroll");
	for (size_t w = 0; w < 2; w++)
		for (size_t u = 0; u < 4; u++)
			for (int i = 0; i < n_rows; i++)
				n += !rows[i].kase.value[0] &&
				     rows[i].config.value[0] == warps[w] &&
				     rows[i].config.value[1] == unroll[u];
	assert_int_equal(n, 8);
	assert_int_equal(n_rows, 16);
}

int main(void)
{
	char version[16];
	const struct CMUnitTest tests[] = {cmocka_unit_test(cubins), cmocka_unit_test(ptx),
	                                   cmocka_unit_test(unknown_architectures_are_refused),
	                                   cmocka_unit_test(gpus_have_their_readers)};
	setenv("XDG_CACHE_HOME", BINARY_DIR "/cache", 1);
	if (jit_version(version) != STATUS_OK) {
		print_message("skipped: %s\n", fail_message());
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
