/* Every kind of damage to a model's file is one clear message, or does not matter; never a crash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "model/tokenizer.h"
#include "tests/damage.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static char path[] = "/tmp/warpsmith-damage-XXXXXX";

/* Looks at every byte of a tensor, so that one outside the file is noticed. */
static enum status touch(void *sum, const struct tensor *t)
{
	float *row = malloc(t->cols * sizeof *row);
	assert_non_null(row);
	for (size_t r = 0; r < t->rows; r++) {
		tensor_rows_f32(t, r, 1, row);
		*(float *)sum += row[t->cols - 1];
	}
	free(row);
	return STATUS_OK;
}

static enum status use_tokenizer(const struct gguf *g)
{
	enum status status;
	struct tokenizer t = {0};
	int32_t *ids = NULL;
	char *text = NULL;
	size_t n, len;
	TRY(tokenizer_open(g, &t));
	TRY(tokenizer_encode(&t, "the thing is in \xff caf\u00e9<|im_end|>\n", 30, &ids, &n));
	TRY(tokenizer_decode(&t, ids, n, &text, &len));
done:
	free(text);
	free(ids);
	tokenizer_close(&t);
	return status;
}

/* As the runner does before it touches a device. */
static enum status load(void)
{
	enum status status;
	struct model model = {0};
	float sum = 0;
	TRY(model_open(path, &model));
	TRY(use_tokenizer(&model.file));
	TRY(model_each_tensor(&model, touch, &sum));
done:
	model_close(&model);
	return status;
}

struct tally {
	size_t failed, wrong;
};

static void check(void *context, const struct damage *damage)
{
	struct tally *tally = context;
	(fail)(STATUS_OK, "%s", "no message"); /* not cmocka's macro */
	blob_save(&damage->file, path);
	bool failed = load() != STATUS_OK;
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
	if (load() != STATUS_OK)
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
