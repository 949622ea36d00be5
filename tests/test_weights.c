/* What lies on the device after loading, read back: every type, fused, interleaved, paired. */
#include "model/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADS    3
#define KV_HEADS 1
#define HEAD_DIM 32
#define FFN      160

static struct device *device;

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

/* A matrix as floats (m, k). */
static float *read_matrix(const struct matrix *w)
{
	size_t count = (size_t)w->m * (size_t)w->k, bytes = dtype_bytes(w->dtype, count);
	uint8_t *raw = malloc(bytes);
	float *values = malloc(count * sizeof *values);
	OK(device_read(device, raw, w->w, bytes));
	if (dtype_block(w->dtype) > 1)
		assert_ptr_equal(w->scale, (uint8_t *)w->w + dtype_scale_offset(w->dtype, count));
	else
		assert_null(w->scale);
	dtype_planes_to_f32(w->dtype, raw, count, 0, count, values);
	free(raw);
	return values;
}

/* A row of a matrix is row r of a tensor and then zeros. */
static void expect_row(const float *values, const struct matrix *w, size_t row,
                       const struct tensor *t, size_t r)
{
	float *expected = calloc((size_t)w->k, sizeof *expected);
	tensor_rows_f32(t, r, 1, expected);
	for (size_t i = 0; i < (size_t)w->k; i++)
		if (values[row * (size_t)w->k + i] != expected[i])
			fail_msg("row %zu is not row %zu of %s (%s)", row, r, t->name,
			         dtype_name(t->dtype));
	free(expected);
}

static void expect_tensor(const struct matrix *w, const struct tensor *t)
{
	float *values = read_matrix(w);
	assert_int_equal(w->m, t->rows);
	assert_int_equal(w->dtype, t->dtype);
	assert_int_equal(w->row, 0);
	assert_null(w->next);
	for (size_t r = 0; r < t->rows; r++)
		expect_row(values, w, r, t, r);
	free(values);
}

/* The tensor, and its row, that row r of the fused matrix must be. */
static const struct tensor *qkv_source(const struct tensor *t, size_t r, size_t *row)
{
	enum { Q = HEADS * HEAD_DIM, KV = KV_HEADS * HEAD_DIM };
	const struct tensor *source = &t[r < Q ? ATTN_Q : r < Q + KV ? ATTN_K : ATTN_V];
	*row = r < Q ? r : (r - Q) % KV;
	if (source != &t[ATTN_V]) {
		size_t head = *row / HEAD_DIM, i = *row % HEAD_DIM;
		*row = head * HEAD_DIM + (i % 2 ? HEAD_DIM / 2 : 0) + i / 2;
	}
	return source;
}

static void check_qkv(const struct tensor *t, const struct layer_weights *lw, int parts)
{
	enum { ROWS = (HEADS + 2 * KV_HEADS) * HEAD_DIM };
	float bias[ROWS], expected[ROWS];
	size_t row, r = 0;
	for (const struct matrix *w = &lw->qkv; w; w = w->next, parts--) {
		float *values = read_matrix(w);
		assert_int_equal(w->row, r);
		for (size_t i = 0; i < (size_t)w->m; i++, r++) {
			const struct tensor *from = qkv_source(t, r, &row);
			assert_int_equal(w->dtype, from->dtype);
			expect_row(values, w, i, from, row);
		}
		free(values);
	}
	assert_int_equal(parts, 0);
	assert_int_equal(r, ROWS);
	OK(device_read(device, bias, lw->qkv_bias, sizeof bias));
	tensor_rows_f32(&t[ATTN_Q_BIAS], 0, 1, expected);
	tensor_rows_f32(&t[ATTN_K_BIAS], 0, 1, expected + HEADS * HEAD_DIM);
	tensor_rows_f32(&t[ATTN_V_BIAS], 0, 1, expected + (HEADS + KV_HEADS) * HEAD_DIM);
	for (r = 0; r < ROWS; r++) {
		const struct tensor *from = qkv_source(t, r, &row);
		size_t first = from == &t[ATTN_Q]   ? 0
		               : from == &t[ATTN_K] ? HEADS * HEAD_DIM
		                                    : (HEADS + KV_HEADS) * HEAD_DIM;
		assert_true(bias[r] == expected[first + row]);
	}
}

static void check_weights(int hidden, const int types[3], int base, int parts)
{
	struct hparams h = {.name = "made",
	                    .layers = 2,
	                    .hidden = hidden,
	                    .heads = HEADS,
	                    .kv_heads = KV_HEADS,
	                    .head_dim = HEAD_DIM,
	                    .ffn = FFN,
	                    .vocab = 70,
	                    .context = 64,
	                    .rope_base = 1e4,
	                    .eps = 1e-6};
	struct model model;
	struct weights w;
	OK(model_make_random(&qwen2, &h, base, &model));
	for (int l = 0; l < 2; l++)
		for (int i = 0; i < 3; i++)
			model.layers[l][ATTN_Q + i].dtype = types[i];
	OK(weights_open(&model, device, true, &w));
	for (int l = 0; l < 2; l++) {
		const struct tensor *t = model.layers[l];
		const struct layer_weights *lw = &w.layers[l];
		float *gate_up = read_matrix(&lw->gate_up);
		check_qkv(t, lw, parts);
		expect_tensor(&lw->o, &t[ATTN_O]);
		expect_tensor(&lw->down, &t[FFN_DOWN]);
		for (size_t r = 0; r < 2 * FFN; r++)
			expect_row(gate_up, &lw->gate_up, r, &t[r % 2 ? FFN_UP : FFN_GATE], r / 2);
		free(gate_up);
	}
	expect_tensor(&w.embed, &model.embed);
	expect_tensor(&w.head, &model.head);
	weights_close(&w);
	weights_close(&w);
	model_close(&model);
}

static const int dtypes[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0,
                             DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};

#define N_DTYPES (sizeof dtypes / sizeof *dtypes)

static void every_type(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_DTYPES; i++) {
		int d = dtypes[i], types[] = {d, d, d}, block = dtype_block(d);
		check_weights(block == 256 ? 512 : block == 32 ? 96 : 104, types, d, 1);
	}
}

/* As the mixtures have them, and all three different. */
static void different_types_stay(void **state)
{
	(void)state;
	static const struct {
		int types[3], parts;
	} cases[] = {{{DTYPE_Q4_K, DTYPE_Q4_K, DTYPE_Q6_K}, 2},
	             {{DTYPE_Q5_0, DTYPE_Q5_0, DTYPE_Q8_0}, 2},
	             {{DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_0}, 2},
	             {{DTYPE_Q5_1, DTYPE_Q4_K, DTYPE_Q5_1}, 3},
	             {{DTYPE_BF16, DTYPE_F32, DTYPE_Q5_K}, 3}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		check_weights(256, cases[i].types, DTYPE_Q8_0, cases[i].parts);
}

static void gate_and_up_of_different_types(void **state)
{
	(void)state;
	struct model model;
	struct weights w;
	OK(model_open_random("qwen2.5-0.5b:q8_0", &model));
	model.hparams.layers = 1;
	model.hparams.vocab = 32;
	model.embed.rows = model.head.rows = 32;
	model.layers[0][FFN_UP].dtype = DTYPE_Q4_0;
	OK(weights_open(&model, device, true, &w));
	float *values = read_matrix(&w.layers[0].gate_up);
	assert_int_equal(w.layers[0].gate_up.dtype, DTYPE_F32);
	for (size_t r = 0; r < 200; r++)
		expect_row(values, &w.layers[0].gate_up, r,
		           &model.layers[0][r % 2 ? FFN_UP : FFN_GATE], r / 2);
	free(values);
	weights_close(&w);
	model_close(&model);
}

/* More than two buffers of rows. */
static void a_matrix_in_several_copies(void **state)
{
	(void)state;
	struct model model;
	struct weights w;
	OK(model_open_random("qwen2.5-0.5b:q5_0", &model));
	model.hparams.layers = 0;
	OK(weights_open(&model, device, true, &w));
	size_t k = model.embed.cols, count = model.embed.rows * k;
	uint8_t *raw = malloc(dtype_bytes(w.embed.dtype, count));
	float *values = malloc(k * sizeof *values), *expected = malloc(k * sizeof *values);
	OK(device_read(device, raw, w.embed.w, dtype_bytes(w.embed.dtype, count)));
	for (size_t r = 0; r < model.embed.rows; r += 97) {
		dtype_planes_to_f32(w.embed.dtype, raw, count, r * k, k, values);
		tensor_rows_f32(&model.embed, r, 1, expected);
		assert_memory_equal(values, expected, k * sizeof *values);
	}
	free(raw);
	free(values);
	free(expected);
	weights_close(&w);
	model_close(&model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_type),
	        cmocka_unit_test(different_types_stay),
	        cmocka_unit_test(gate_and_up_of_different_types),
	        cmocka_unit_test(a_matrix_in_several_copies),
	};
	const char *spec = getenv("WARPSMITH_TEST_DEVICE");
	if (device_open(spec ? spec : "auto", true, &device) != STATUS_OK) {
		fprintf(stderr, "%s\n", fail_message());
		return 1;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	device_close(&device);
	return failed;
}
