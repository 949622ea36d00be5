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

#include "device/cubin.h"
#include "device/jit.h"
#include "kernels/images.h"

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

static void check_image(const char *architecture, bool ptx)
{
	char command[1024], symbol[512], entry[600];
	size_t n_code, n_source, offset;
	int n_rows, n = 0;
	snprintf(command, sizeof command, "%s/bin/make_image %s %s %s", BINARY_DIR, KERNEL,
	         architecture, OUTPUT);
	run(command);
	char *code = read_whole(OUTPUT, &n_code), *source = read_whole(OUTPUT ".c", &n_source);
	const struct variant *rows = cuda_table(KERNEL, &n_rows);
	assert_non_null(rows);
	for (const char *at = source; next_part(&at, &offset, symbol); n++) {
		struct cubin_resources resources;
		assert_true(offset % 64 == 0 && offset < n_code);
		snprintf(entry, sizeof entry, ".entry %s(", symbol);
		if (ptx)
			assert_non_null(strstr(code + offset, entry));
		else if (cubin_read(code + offset, n_code - offset, symbol, &resources) !=
		         STATUS_OK)
			fail_msg("row %d: %s", n, fail_message());
	}
	assert_int_equal(n, n_rows);
	run("cc -Wall -Wextra -Werror -I " SOURCE_DIR " -c " OUTPUT ".c -o " OUTPUT ".o");
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

int main(void)
{
	char version[16];
	const struct CMUnitTest tests[] = {cmocka_unit_test(cubins), cmocka_unit_test(ptx)};
	setenv("XDG_CACHE_HOME", BINARY_DIR "/cache", 1);
	if (jit_version(version) != STATUS_OK) {
		print_message("skipped: %s\n", fail_message());
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
