/* Random weights: which types a mixture gives to which matrices, and what their blocks hold. */
#include "model/model.h"
#include "model/random.h"
#include "model/sizes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct model model;

static int close_model(void **state)
{
	(void)state;
	model_close(&model);
	return 0;
}

static void open_random(const char *spec)
{
	model_close(&model);
	if (model_open_random(spec, &model) != STATUS_OK)
		fail_msg("%s: %s", spec, fail_message());
}

static enum status add_bytes(void *total, const struct tensor *t)
{
	*(double *)total += (double)(t->rows * tensor_row_bytes(t));
	return STATUS_OK;
}

/* Files of these models as llama-quantize writes them, rounded as their publishers list them; they
 * also hold 6 MB of vocabulary. */
static void mixtures_have_the_size_of_files(void **state)
{
	(void)state;
	static const struct {
		const char *spec;
		double gb;
	} files[] = {{"qwen2.5-7b:q4_k_m", 4.68},   {"qwen2.5-7b:q5_k_m", 5.44},
	             {"qwen2.5-7b:q6_k", 6.25},     {"qwen2.5-7b:q8_0", 8.10},
	             {"qwen2.5-0.5b:q4_k_m", 0.40}, {"qwen2.5-0.5b:q8_0", 0.53}};
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		double bytes = 0;
		open_random(files[i].spec);
		assert_int_equal(model_each_tensor(&model, add_bytes, &bytes), STATUS_OK);
		if (fabs(bytes / 1e9 - files[i].gb) > 0.012)
			fail_msg("%s: %.3f GB", files[i].spec, bytes / 1e9);
	}
}

static void expect_types(int layer, int value, int down, int other)
{
	for (int t = 0; t < LAYER_TENSORS; t++) {
		const struct tensor *tensor = &model.layers[layer][t];
		int expected = tensor->rows == 1 ? DTYPE_F32
		               : t == ATTN_V     ? value
		               : t == FFN_DOWN   ? down
		                                 : other;
		if (tensor->dtype != expected)
			fail_msg("%s is %s", tensor->name, dtype_name(tensor->dtype));
	}
}

static void more_bits_for_some_layers(void **state)
{
	(void)state;
	static const char more[] = "1110010010010010010010011111";
	open_random("qwen2.5-7b:q4_k_m");
	assert_string_equal(model.types, "q4_k_m");
	assert_int_equal(model.hparams.layers, strlen(more));
	for (int l = 0; l < model.hparams.layers; l++)
		if (more[l] == '1')
			expect_types(l, DTYPE_Q6_K, DTYPE_Q6_K, DTYPE_Q4_K);
		else
			expect_types(l, DTYPE_Q4_K, DTYPE_Q4_K, DTYPE_Q4_K);
	assert_int_equal(model.embed.dtype, DTYPE_Q4_K);
	assert_int_equal(model.head.dtype, DTYPE_Q6_K);
	open_random("qwen2.5-72b:q4_k_m");
	/* 29568 is no multiple of 256 */
	expect_types(0, DTYPE_Q6_K, DTYPE_Q8_0, DTYPE_Q4_K);
	expect_types(11, DTYPE_Q5_K, DTYPE_Q5_0, DTYPE_Q4_K);
	open_random("qwen2.5-1.5b:q5_k_m");
	expect_types(0, DTYPE_Q6_K, DTYPE_Q6_K, DTYPE_Q5_K);
	expect_types(3, DTYPE_Q5_K, DTYPE_Q5_K, DTYPE_Q5_K);
	assert_int_equal(model.embed.dtype, DTYPE_Q6_K); /* it is the head */
}

/* Rows of 896 are no multiple of 256; those of the down projection are. */
static void other_types_for_odd_rows(void **state)
{
	(void)state;
	struct hparams h;
	open_random("qwen2.5-0.5b:q4_k_m");
	expect_types(0, DTYPE_Q8_0, DTYPE_Q6_K, DTYPE_Q5_0);
	expect_types(3, DTYPE_Q5_0, DTYPE_Q4_K, DTYPE_Q5_0);
	assert_int_equal(model.embed.dtype, DTYPE_Q8_0);
	open_random("qwen2.5-0.5b:q5_k_m");
	expect_types(3, DTYPE_Q5_1, DTYPE_Q5_K, DTYPE_Q5_1);
	h = model.hparams;
	h.hidden = 200;
	model_close(&model);
	assert_int_equal(model_make_random(&qwen2, &h, DTYPE_Q4_0, &model), STATUS_OK);
	assert_int_equal(model.layers[0][ATTN_Q].dtype, DTYPE_F16);
	assert_int_equal(model.layers[0][ATTN_O].dtype, DTYPE_Q4_0);
}

static void random_blocks_have_the_deviation(void **state)
{
	(void)state;
	static const int dtypes[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q4_0,
	                             DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q8_0,
	                             DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
	enum { ROWS = 64, COLS = 1024 };
	static float values[ROWS * COLS];
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
		struct tensor t = {.dtype = dtypes[i],
		                   .rows = ROWS,
		                   .cols = COLS,
		                   .seed = random_seed("x"),
		                   .deviation = 0.02f};
		double sum = 0, squares = 0, n = ROWS * COLS;
		tensor_rows_f32(&t, 0, ROWS, values);
		for (int j = 0; j < ROWS * COLS; j++) {
			sum += (double)values[j];
			squares += (double)values[j] * (double)values[j];
		}
		if (fabs(sum / n) > 0.001 || fabs(sqrt(squares / n) / 0.02 - 1) > 0.02)
			fail_msg("%s: mean %g, deviation %g", dtype_name(dtypes[i]), sum / n,
			         sqrt(squares / n));
		assert_memory_not_equal(values, values + COLS, COLS * sizeof *values);
		tensor_rows_f32(&t, 1, 1, values); /* a row does not depend on those before it */
		assert_memory_equal(values, values + COLS, COLS * sizeof *values);
	}
	assert_true(random_seed("x") != random_seed("y"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(mixtures_have_the_size_of_files),
	        cmocka_unit_test(more_bits_for_some_layers),
	        cmocka_unit_test(other_types_for_odd_rows),
	        cmocka_unit_test(random_blocks_have_the_deviation),
	};
	return cmocka_run_group_tests(tests, NULL, close_model);
}
