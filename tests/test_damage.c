/* Every kind of damage to a model's file is one clear message, or does not matter; never a crash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/damage.h"
#include "tests/fuzz/fuzz.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static char path[] = "/tmp/warpsmith-damage-XXXXXX";

struct tally {
	size_t failed, wrong;
};

static void check(void *context, const struct damage *damage)
{
	struct tally *tally = context;
	(fail)(STATUS_OK, "%s", "no message"); /* not cmocka's macro */
	blob_save(&damage->file, path);
	bool failed = load_model(path) != STATUS_OK;
	const char *message = fail_message(), *why = NULL;
	if (failed && !strstr(message, path))
		why = "does not name the file";
	else if (failed && strchr(message, '\n'))
		why = "has several lines";
	else if (failed && damage->says && !strstr(message, damage->says))
		why = "does not say what is wrong";
	else if (!failed && damage->says)
		why = "was loaded";
	if (why)
		print_error("%s: %s: '%s'\n", damage->name, why, message);
	tally->failed += failed;
	tally->wrong += why != NULL;
}

static struct gguf_make valid;

static void valid_file_loads(void **state)
{
	(void)state;
	struct blob file;
	make_write(&valid, &file);
	blob_save(&file, path);
	blob_free(&file);
	if (load_model(path) != STATUS_OK)
		fail_msg("%s", fail_message());
}

static void damaged_files_fail(void **state)
{
	(void)state;
	struct tally tally = {0};
	size_t n = damage_each(&valid, check, &tally);
	print_message("%zu kinds of damage, %zu refused\n", n, tally.failed);
	assert_int_equal(tally.wrong, 0);
	assert_true(n > 500);
	assert_true(tally.failed > n * 3 / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(valid_file_loads),
	        cmocka_unit_test(damaged_files_fail),
	};
	int file = mkstemp(path);
	if (file < 0)
		return 1;
	close(file);
	make_open(&valid);
	make_qwen2(&valid);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	make_close(&valid);
	unlink(path);
	return failed;
}
