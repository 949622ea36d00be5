/* Random weights as a GGUF file: what is read from it is what was decoded without it. */
#define _GNU_SOURCE
#include "model/export.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/decoder.h"
#include "model/tokenizer.h"

#include <cmocka.h>

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

static char folder[64], path[96];
static struct model made, back;

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/test_export.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/random.gguf", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	model_close(&made);
	model_close(&back);
	unlink(path);
	return rmdir(folder);
}

static void write_and_read(void)
{
	OK(export_gguf(&made, path, true));
	model_close(&back);
	OK(model_open(path, &back));
}

/* Fewer layers and tokens of a named size. */
static void make_small(const char *spec, int layers, int vocab)
{
	model_close(&made);
	OK(model_open_random(spec, &made));
	made.hparams.layers = layers;
	made.hparams.vocab = vocab;
	made.embed.rows = made.head.rows = (size_t)vocab;
}

/* Untied, with an embedding of more than one buffer. */
static void make_wide(int dtype)
{
	const struct hparams hparams = {.name = "wide",
	                                .layers = 1,
	                                .hidden = 1024,
	                                .heads = 8,
	                                .kv_heads = 2,
	                                .head_dim = 128,
	                                .ffn = 96,
	                                .vocab = 9000,
	                                .context = 64,
	                                .rope_base = 10000,
	                                .eps = 0.125};
	model_close(&made);
	OK(model_make_random(&qwen2, &hparams, dtype, &made));
}

static void expect_tensor(const struct tensor *a, const struct tensor *b)
{
	size_t bytes = tensor_row_bytes(a);
	uint8_t *row = malloc(bytes);
	const struct gguf_tensor *in_file = gguf_find_tensor(&back.file, a->name);
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->dtype, b->dtype);
	assert_int_equal(a->rows, b->rows);
	assert_int_equal(a->cols, b->cols);
	assert_int_equal(in_file->n_dims, a->rows == 1 ? 1 : 2);
	for (size_t r = 0; r < a->rows; r++) {
		tensor_rows(a, r, 1, row);
		if (memcmp(row, (const uint8_t *)b->data + r * bytes, bytes))
			fail_msg("%s: row %zu is another", a->name, r);
	}
	free(row);
}

/* llama.cpp takes a file only if each tensor begins at the first multiple of 32 behind the one
 * before. */
static void expect_no_gaps(void)
{
	uint64_t end = 0;
	for (size_t i = 0; i < back.file.n_tensors; i++) {
		assert_int_equal(back.file.tensors[i].offset, end);
		end += (back.file.tensors[i].bytes + 31) / 32 * 32;
	}
	const struct gguf_tensor *first = &back.file.tensors[0];
	assert_int_equal((const uint8_t *)first->data + end - back.file.file, back.file.file_bytes);
}

static void expect_model(void)
{
	const struct hparams *a = &made.hparams, *b = &back.hparams;
	assert_string_equal(a->name, b->name);
	assert_string_equal(made.types, back.types);
	assert_int_equal(a->layers, b->layers);
	assert_int_equal(a->hidden, b->hidden);
	assert_int_equal(a->heads, b->heads);
	assert_int_equal(a->kv_heads, b->kv_heads);
	assert_int_equal(a->head_dim, b->head_dim);
	assert_int_equal(a->ffn, b->ffn);
	assert_int_equal(a->vocab, b->vocab);
	assert_int_equal(a->context, b->context);
	assert_true(a->rope_base == b->rope_base && a->eps == b->eps);
	assert_int_equal(a->tied, b->tied);
	expect_tensor(&made.embed, &back.embed);
	for (int l = 0; l < a->layers; l++)
		for (int t = 0; t < LAYER_TENSORS; t++)
			expect_tensor(&made.layers[l][t], &back.layers[l][t]);
	expect_tensor(&made.norm, &back.norm);
	expect_tensor(&made.head, &back.head);
	expect_no_gaps();
}

static void weights_come_back(void **state)
{
	(void)state;
	make_small("qwen2.5-0.5b:q4_k_m", 4, 300);
	write_and_read();
	expect_model();
	make_small("qwen2.5-0.5b", 1, 300);
	write_and_read();
	expect_model();
	make_wide(DTYPE_F32);
	write_and_read();
	expect_model();
	make_wide(DTYPE_Q4_K); /* no value of general.file_type, and rows of 96 */
	write_and_read();
	assert_null(gguf_find(&back.file, "general.file_type"));
	snprintf(made.types, sizeof made.types, "mixed");
	expect_model();
}

enum { STEPS = 6, VOCAB = 300 };

static void decode(struct device *device, const struct model *model, int *ids, float *logits)
{
	struct decoder d;
	OK(decoder_open(device, model,
	                &(struct decoder_options){.capacity = STEPS,
	                                          .kv = DTYPE_BF16,
	                                          .use_bias = true,
	                                          .use_tuned = true,
	                                          .graphs = true,
	                                          .quiet = true},
	                &d));
	for (int i = 0; i < STEPS; i++) {
		OK(decoder_step(&d, i ? -1 : 7, NULL, 0));
		OK(decoder_token(&d, &ids[i]));
		OK(decoder_logits(&d, logits + (size_t)i * VOCAB));
	}
	decoder_close(&d);
}

static void logits_are_the_same(void **state)
{
	(void)state;
	static int ids[2][STEPS];
	static float logits[2][STEPS * VOCAB];
	struct device *device;
	OK(device_open("auto", true, &device));
	make_small("qwen2.5-0.5b:q4_k_m", 2, VOCAB);
	write_and_read();
	decode(device, &made, ids[0], logits[0]);
	decode(device, &back, ids[1], logits[1]);
	assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
	assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
	assert_memory_not_equal(logits[0], logits[0] + VOCAB, VOCAB * sizeof *logits[0]);
	device_close(&device);
}

static int compare_tokens(const void *a, const void *b)
{
	const struct gguf_string *x = a, *y = b;
	int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
	return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* A name for each id, and no name twice. */
static void names_differ(struct tokenizer *t)
{
	qsort(t->tokens, t->n_tokens, sizeof *t->tokens, compare_tokens);
	for (size_t i = 0; i < t->n_tokens; i++) {
		assert_true(t->tokens[i].len > 0);
		if (i && !compare_tokens(&t->tokens[i - 1], &t->tokens[i]))
			fail_msg("'%.*s' is there twice", (int)t->tokens[i].len, t->tokens[i].data);
	}
}

static void expect_ids(const struct tokenizer *t, const char *text, size_t len, size_t n)
{
	int32_t *ids;
	size_t n_ids, n_back;
	char *again;
	OK(tokenizer_encode(t, text, len, &ids, &n_ids));
	OK(tokenizer_decode(t, ids, n_ids, &again, &n_back));
	assert_int_equal(n_ids, n);
	assert_int_equal(n_back, len);
	assert_memory_equal(again, text, len);
	free(ids);
	free(again);
}

static void the_vocabulary_is_whole(void **state)
{
	(void)state;
	struct tokenizer t;
	char bytes[256];
	make_small("qwen2.5-0.5b:q8_0", 0,
	           151936); /* without layers: it is not opened as a model */
	OK(export_gguf(&made, path, true));
	model_close(&back);
	OK(gguf_open(path, &back.file));
	OK(tokenizer_open(&back.file, &t));
	assert_int_equal(t.n_tokens, 151936);
	assert_int_equal(tokenizer_find(&t, "<|endoftext|>"), 151643);
	assert_int_equal(tokenizer_find(&t, "<|im_end|>"), 151645);
	assert_int_equal(tokenizer_find(&t, "[PAD151646]"), 151646);
	assert_true(tokenizer_is_end(&t, 151645) && tokenizer_is_end(&t, 151643));
	assert_true(tokenizer_is_control(&t, 151643) && !tokenizer_is_control(&t, 151646));
	assert_int_equal(t.bos, -1);
	expect_ids(&t, "a", 1, 1);
	expect_ids(&t, "aa<|im_end|>abcd", 16, 3);
	expect_ids(&t, "abc", 3, 1);
	expect_ids(&t, "wxyz", 4, 2); /* beyond the last word */
	for (int i = 0; i < 256; i++)
		bytes[i] = (char)(255 - i);
	int32_t *ids;
	size_t n;
	OK(tokenizer_encode(&t, bytes, sizeof bytes, &ids, &n));
	free(ids);
	expect_ids(&t, bytes, sizeof bytes, n);
	names_differ(&t);
	tokenizer_close(&t);
}

static void refused(const char *to, const char *says)
{
	assert_int_not_equal(export_gguf(&made, to, true), STATUS_OK);
	if (!strstr(fail_message(), to) || !strstr(fail_message(), says))
		fail_msg("'%s' does not name the file or say '%s'", fail_message(), says);
}

/* What was there stays, and nothing beside it. */
static void a_file_is_replaced_whole_or_not(void **state)
{
	(void)state;
	struct rlimit unlimited, small;
	struct stat before, after;
	make_small("qwen2.5-0.5b:q8_0", 1, 300);
	OK(export_gguf(&made, path, true));
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	signal(SIGXFSZ, SIG_IGN);
	/* inside the keys, inside the weights, before the last byte */
	const long limits[] = {1, 1000, 1 << 20, before.st_size - 1};
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		small = (struct rlimit){(rlim_t)limits[i], unlimited.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
		refused(path, "File too large");
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
	}
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(before.st_size, after.st_size);
	refused("/nonexistent/x.gguf", "No such file");
	refused(folder, "not a regular file");
	refused("/dev/full", "not a regular file");
	unlink(path);
	assert_int_equal(rmdir(folder), 0); /* no temporary file is left in it */
	assert_int_equal(mkdir(folder, 0700), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(weights_come_back),
	        cmocka_unit_test(logits_are_the_same),
	        cmocka_unit_test(the_vocabulary_is_whole),
	        cmocka_unit_test(a_file_is_replaced_whole_or_not),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
