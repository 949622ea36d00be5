/* Conversions between element types, compared with the compiler's own _Float16, with ggml's Python
 * package (tests/oracle/blocks.py) and with definitions. */
#include "bench/csv.h"
#include "core/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MAX_BLOCK 256
#define MAX_BYTES 256

static const int quantised[] = {DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1,
                                DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};

#define N_QUANTISED (sizeof quantised / sizeof *quantised)

static uint32_t bits_of(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof bits);
	return bits;
}

static float float_of(uint32_t bits)
{
	float value;
	memcpy(&value, &bits, sizeof value);
	return value;
}

static void names_round_trip(void **state)
{
	(void)state;
#define NAMED(NAME, name, value, ...)                  \
	assert_string_equal(dtype_name(value), #name); \
	assert_int_equal(dtype_parse(#name), value);   \
	assert_int_equal(dtype_is_real(value), value != DTYPE_I32 && value != DTYPE_U64);
	DTYPES(NAMED)
	assert_string_equal(dtype_name(4), "");
	assert_int_equal(dtype_parse("q4_2"), -1);
	assert_int_equal(dtype_parse(""), -1);
	assert_int_equal(dtype_block(4), 0);
	assert_int_equal(dtype_bytes(4, 32), 0);
	assert_false(dtype_is_real(4));
}

static void sizes(void **state)
{
	(void)state;
	assert_int_equal(dtype_block(DTYPE_BF16), 1);
	assert_int_equal(dtype_block(DTYPE_Q8_0), 32);
	assert_int_equal(dtype_bytes(DTYPE_F32, 3), 12);
	assert_int_equal(dtype_bytes(DTYPE_BF16, 3), 6);
	assert_int_equal(dtype_bytes(DTYPE_Q8_0, 64), 68);
	assert_int_equal(dtype_scale_offset(DTYPE_Q8_0, 64), 64);
	assert_int_equal(dtype_bytes(DTYPE_Q4_0, 32), 18);
	assert_int_equal(dtype_bytes(DTYPE_Q4_1, 32), 20);
	assert_int_equal(dtype_bytes(DTYPE_Q5_0, 32), 22);
	assert_int_equal(dtype_bytes(DTYPE_Q5_1, 32), 24);
	assert_int_equal(dtype_bytes(DTYPE_Q4_K, 512), 288);
	assert_int_equal(dtype_bytes(DTYPE_Q5_K, 512), 352);
	assert_int_equal(dtype_bytes(DTYPE_Q6_K, 512), 420);
	assert_int_equal(dtype_plane_offset(DTYPE_Q6_K, 0, 512), 0);
	assert_int_equal(dtype_plane_offset(DTYPE_Q6_K, 1, 512), 256);
	assert_int_equal(dtype_plane_offset(DTYPE_Q6_K, 2, 512), 384);
	assert_int_equal(dtype_plane_offset(DTYPE_Q6_K, 3, 512), 416);
}

static void every_f16_widens(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x10000; h++) {
		uint16_t bits = (uint16_t)h;
		_Float16 half;
		memcpy(&half, &bits, sizeof half);
		float expected = (float)half, got = f16_to_f32(bits);
		if (isnan(expected))
			assert_true(isnan(got));
		else
			assert_int_equal(bits_of(got), bits_of(expected));
	}
}

static void every_f16_survives(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x10000; h++) {
		float wide = f16_to_f32((uint16_t)h);
		if (isnan(wide))
			assert_true(isnan(f16_to_f32(f32_to_f16(wide))));
		else
			assert_int_equal(f32_to_f16(wide), h);
	}
}

static void check_f16(float value)
{
	_Float16 half = (_Float16)value;
	uint16_t expected;
	memcpy(&expected, &half, sizeof expected);
	if (isnan(value))
		assert_true(isnan(f16_to_f32(f32_to_f16(value))));
	else
		assert_int_equal(f32_to_f16(value), expected);
}

/* Between each two neighbouring f16 values: the middle, and one f32 step to either side of it. */
static void f16_rounds_to_even(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x7c00; h++) {
		float low = f16_to_f32((uint16_t)h);
		float high = h == 0x7bff ? 65536 : f16_to_f32((uint16_t)(h + 1));
		float middle = (low + high) / 2;
		for (int sign = -1; sign <= 1; sign += 2) {
			check_f16((float)sign * middle);
			check_f16((float)sign * nextafterf(middle, 0));
			check_f16((float)sign * nextafterf(middle, INFINITY));
		}
	}
	assert_int_equal(f32_to_f16(65519.996f), 0x7bff);
	assert_int_equal(f32_to_f16(65520), 0x7c00);
	assert_int_equal(f32_to_f16(-INFINITY), 0xfc00);
	assert_int_equal(f32_to_f16(0x1p-25f), 0);
	assert_int_equal(f32_to_f16(nextafterf(0x1p-25f, 1)), 1);
}

static void f16_of_sampled_floats(void **state)
{
	(void)state;
	for (uint64_t bits = 0; bits < 0x100000000; bits += 40503)
		check_f16(float_of((uint32_t)bits));
}

static void bf16_rounds_to_even(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x7f80; h++) {
		uint32_t low = h << 16, even = (h + 1) & ~1u;
		assert_int_equal(f32_to_bf16(float_of(low)), h);
		assert_int_equal(f32_to_bf16(float_of(low | 0x7fff)), h);
		assert_int_equal(f32_to_bf16(float_of(low | 0x8000)), even);
		assert_int_equal(f32_to_bf16(float_of(low | 0x8001)), h + 1);
		assert_int_equal(bits_of(bf16_to_f32((uint16_t)(h | 0x8000))), low | 0x80000000);
	}
	assert_int_equal(f32_to_bf16(INFINITY), 0x7f80);
	assert_int_equal(f32_to_bf16(-INFINITY), 0xff80);
	assert_true(isnan(bf16_to_f32(f32_to_bf16(float_of(0x7f800001)))));
	assert_true(isnan(bf16_to_f32(f32_to_bf16(float_of(0xffffffff)))));
}

static void q8_0_scale_and_quants(void **state)
{
	(void)state;
	float from[64] = {0};
	for (int i = 0; i < 32; i++)
		from[i] = (float)i - 16; /* largest magnitude 16 */
	uint8_t file[68];
	dtype_from_f32(DTYPE_Q8_0, from, file, 64);
	uint16_t scale;
	memcpy(&scale, file, 2);
	assert_int_equal(scale, f32_to_f16(16.0f / 127));
	float inverse = 1 / (16.0f / 127);
	for (int i = 0; i < 32; i++)
		assert_int_equal((int8_t)file[2 + i], (int)roundf((float)(i - 16) * inverse));
	for (int i = 34; i < 68; i++)
		assert_int_equal(file[i], 0); /* a block of zeros */
}

/* Half a step from rounding the quant, and the f16 rounding of the scale times the quant. */
static void q8_0_error_is_bounded(void **state)
{
	(void)state;
	uint32_t random = 1;
	float from[32], back[32];
	uint8_t file[34];
	for (int trial = 0; trial < 1000; trial++) {
		float largest = 0;
		for (int i = 0; i < 32; i++) {
			random = random * 1664525 + 1013904223;
			from[i] = ((float)(random >> 8) / 0x1p23f - 1) * (float)(trial + 1);
			largest = fmaxf(largest, fabsf(from[i]));
		}
		dtype_from_f32(DTYPE_Q8_0, from, file, 32);
		dtype_to_f32(DTYPE_Q8_0, file, back, 32);
		for (int i = 0; i < 32; i++)
			assert_true(fabsf(back[i] - from[i]) <=
			            largest / 127 * (0.5f + 127 * 0x1p-11f + 1e-4f));
	}
}

static void q8_0_of_no_numbers(void **state)
{
	(void)state;
	float from[32] = {NAN, INFINITY, -INFINITY, 1, 0x1p-149f}, tiny[32] = {0x1p-149f};
	uint8_t file[34];
	dtype_from_f32(DTYPE_Q8_0, from, file, 32);
	for (int i = 2; i < 34; i++)
		assert_int_equal(file[i], 0);
	dtype_from_f32(DTYPE_Q8_0, tiny, file, 32);
	for (int i = 0; i < 34; i++)
		assert_int_equal(file[i], 0);
}

static void q8_0_packs_quants_then_scales(void **state)
{
	(void)state;
	uint8_t file[3 * 34], packed[3 * 34];
	for (int i = 0; i < 3 * 34; i++)
		file[i] = (uint8_t)i;
	dtype_pack(DTYPE_Q8_0, file, packed, 96);
	for (int block = 0; block < 3; block++) {
		assert_memory_equal(packed + 32 * block, file + 34 * block + 2, 32);
		assert_memory_equal(packed + 96 + 2 * block, file + 34 * block, 2);
	}
}

static size_t from_hex(const char *hex, uint8_t *to, size_t max)
{
	size_t n = strlen(hex) / 2;
	unsigned byte;
	assert_true(n <= max);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		to[i] = (uint8_t)byte;
	}
	return n;
}

/* A row of a golden file: one block and its elements. Returns its type. */
static int read_golden(const struct csv_table *t, int row, uint8_t *block, float *values)
{
	int dtype = dtype_parse(csv_cell(t, row, csv_column(t, "type")));
	size_t n = (size_t)dtype_block(dtype);
	assert_true(n > 1 && n <= MAX_BLOCK);
	assert_int_equal(from_hex(csv_cell(t, row, csv_column(t, "block_hex")), block, MAX_BYTES),
	                 dtype_bytes(dtype, n));
	assert_int_equal(from_hex(csv_cell(t, row, csv_column(t, "values_hex")), (uint8_t *)values,
	                          MAX_BLOCK * sizeof *values),
	                 n * sizeof *values);
	return dtype;
}

/* Every bit of every block, zeros with their signs. */
static void blocks_mean_what_ggml_says(void **state)
{
	(void)state;
	struct csv_table t;
	uint8_t block[MAX_BYTES];
	float expected[MAX_BLOCK], values[MAX_BLOCK];
	bool seen[32] = {false};
	assert_int_equal(csv_read(SOURCE_DIR "/tests/data/blocks_golden.csv", &t), STATUS_OK);
	for (int row = 0; row < t.n_rows; row++) {
		int dtype = read_golden(&t, row, block, expected);
		size_t n = (size_t)dtype_block(dtype);
		dtype_to_f32(dtype, block, values, n);
		if (memcmp(values, expected, n * sizeof *values))
			fail_msg("row %d: a block of %s is read wrong", row, dtype_name(dtype));
		seen[dtype] = true;
	}
	for (size_t i = 0; i < N_QUANTISED; i++)
		assert_true(seen[quantised[i]]);
	csv_close(&t);
}

static void blocks_become_what_ggml_makes(void **state)
{
	(void)state;
	struct csv_table t;
	uint8_t expected[MAX_BYTES], block[MAX_BYTES];
	float values[MAX_BLOCK];
	assert_int_equal(csv_read(SOURCE_DIR "/tests/data/quantised_golden.csv", &t), STATUS_OK);
	assert_true(t.n_rows >= 5 * 16);
	for (int row = 0; row < t.n_rows; row++) {
		int dtype = read_golden(&t, row, expected, values);
		dtype_from_f32(dtype, values, block, 32);
		if (memcmp(block, expected, dtype_bytes(dtype, 32)))
			fail_msg("row %d: a block of %s is made wrong", row, dtype_name(dtype));
	}
	csv_close(&t);
}

static uint32_t next_random(uint32_t *state)
{
	return (*state = *state * 1664525 + 1013904223) >> 8;
}

/* Each element errs by half a step, at the end without the largest magnitude by a whole one in
 * types that have no minimum; by more in k-quants, whose scales and minima are rounded to six bits.
 */
static void quantising_is_close(void **state)
{
	(void)state;
	static const struct {
		int dtype;
		float steps; /* of the largest magnitude */
	} allowed[] = {{DTYPE_Q4_0, 7.9f}, {DTYPE_Q4_1, 14.9f}, {DTYPE_Q5_0, 15.7f},
	               {DTYPE_Q5_1, 29},   {DTYPE_Q8_0, 225},   {DTYPE_Q4_K, 12},
	               {DTYPE_Q5_K, 20},   {DTYPE_Q6_K, 27}};
	uint32_t random = 1;
	float from[MAX_BLOCK], back[MAX_BLOCK];
	uint8_t file[MAX_BYTES];
	for (size_t i = 0; i < N_QUANTISED; i++)
		for (int trial = 0; trial < 300; trial++) {
			int dtype = allowed[i].dtype, n = dtype_block(dtype);
			float largest = 0;
			for (int j = 0; j < n; j++) {
				from[j] = ((float)next_random(&random) / 0x1p23f - 1) *
				          (float)(trial + 1);
				largest = fmaxf(largest, fabsf(from[j]));
			}
			dtype_from_f32(dtype, from, file, (size_t)n);
			dtype_to_f32(dtype, file, back, (size_t)n);
			for (int j = 0; j < n; j++)
				if (fabsf(back[j] - from[j]) > largest / allowed[i].steps)
					fail_msg("%s: %g became %g", dtype_name(dtype), from[j],
					         back[j]);
		}
}

/* Blocks of one value, of zeros and of values without a magnitude. */
static void quantising_is_defined(void **state)
{
	(void)state;
	float from[MAX_BLOCK], back[MAX_BLOCK];
	uint8_t file[MAX_BYTES];
	for (size_t i = 0; i < N_QUANTISED; i++) {
		int dtype = quantised[i], n = dtype_block(dtype);
		for (int v = 0; v < 4; v++) {
			const float values[] = {0, 1, -1, 0x1p-149f};
			for (int j = 0; j < n; j++)
				from[j] = values[v];
			dtype_from_f32(dtype, from, file, (size_t)n);
			dtype_to_f32(dtype, file, back, (size_t)n);
			for (int j = 0; j < n; j++)
				assert_true(fabsf(back[j] - from[j]) <=
				            0x1p-9f * fabsf(from[j]) + 0x1p-149f);
		}
		for (int j = 0; j < n; j++)
			from[j] = j % 3 ? NAN : INFINITY;
		dtype_from_f32(dtype, from, file,
		               (size_t)n); /* any quants, no undefined conversion */
	}
}

/* Element i of a matrix in device layout by the words of core/dtype.h, bit by bit. */
static float element_by_definition(int dtype, const uint8_t *matrix, size_t count, size_t i)
{
	const uint8_t *plane[DTYPE_PLANES];
	for (int p = 0; p < DTYPE_PLANES; p++)
		plane[p] = matrix + dtype_plane_offset(dtype, p, count);
	size_t chunk = i / 32, block = i / 256, j = i % 32, half = j / 16, w = j % 16 / 4,
	       c = j % 4;
	int q = half ? plane[0][16 * chunk + j % 16] >> 4 : plane[0][16 * chunk + j % 16] & 15;
	uint32_t high[2];
	uint16_t f16[2];
	memcpy(high, plane[1] + (dtype == DTYPE_Q6_K ? 8 : 4) * chunk, 4);
	if (dtype == DTYPE_Q5_0 || dtype == DTYPE_Q5_1 || dtype == DTYPE_Q5_K)
		q |= (int)(high[0] >> (8 * c + w + 4 * half) & 1) << 4;
	if (dtype == DTYPE_Q6_K) {
		memcpy(high, plane[1] + 8 * chunk, 8);
		q |= (int)(high[half] >> (8 * c + 2 * w) & 3) << 4;
		memcpy(f16, plane[3] + 2 * block, 2);
		return f16_to_f32(f16[0]) * (int8_t)plane[2][2 * chunk + half] * (float)(q - 32);
	}
	if (dtype == DTYPE_Q4_K || dtype == DTYPE_Q5_K) {
		const uint8_t *header = plane[dtype == DTYPE_Q4_K ? 1 : 2] + 16 * block;
		int k = (int)(i % 256 / 32), upper = header[12 + k / 2] >> (k % 2 * 4);
		int s = (header[4 + k] & 15) | (upper & 3) << 4;
		int t = header[4 + k] >> 4 | (upper >> 2 & 3) << 4;
		memcpy(f16, header, 4);
		return f16_to_f32(f16[0]) * (float)s * (float)q - f16_to_f32(f16[1]) * (float)t;
	}
	if (dtype == DTYPE_Q4_1 || dtype == DTYPE_Q5_1) {
		memcpy(f16, plane[dtype == DTYPE_Q4_1 ? 1 : 2] + 4 * chunk, 4);
		return f16_to_f32(f16[0]) * (float)q + f16_to_f32(f16[1]);
	}
	if (dtype == DTYPE_Q8_0)
		q = (int8_t)plane[0][i];
	memcpy(f16, plane[dtype == DTYPE_Q5_0 ? 2 : 1] + 2 * chunk, 2);
	return f16_to_f32(f16[0]) *
	       (float)(dtype == DTYPE_Q8_0 ? q : q - (dtype == DTYPE_Q4_0 ? 8 : 16));
}

/* n blocks of random bits, with scales that are numbers. */
static void random_blocks(int dtype, uint8_t *file, size_t n, uint32_t *random)
{
	size_t bytes = dtype_bytes(dtype, (size_t)dtype_block(dtype));
	size_t scales = dtype == DTYPE_Q6_K ? 208 : 0;
	for (size_t i = 0; i < n * bytes; i++)
		file[i] = (uint8_t)next_random(random);
	for (size_t b = 0; b < n; b++)
		for (size_t at = 0; at < (scales ? 2 : 4); at += 2)
			file[b * bytes + scales + at + 1] &= 0xbf; /* below 2 */
}

static void device_layout_is_as_documented(void **state)
{
	(void)state;
	enum { BLOCKS = 12, FIRST = 2, MIDDLE = 7 };
	static uint8_t file[BLOCKS * MAX_BYTES], packed[BLOCKS * MAX_BYTES],
	        again[BLOCKS * MAX_BYTES];
	static float expected[BLOCKS * MAX_BLOCK], values[BLOCKS * MAX_BLOCK];
	uint32_t random = 5;
	for (size_t d = 0; d < N_QUANTISED; d++) {
		int dtype = quantised[d];
		size_t block = (size_t)dtype_block(dtype), n = BLOCKS * block;
		size_t bytes = dtype_bytes(dtype, n), from = FIRST * block, part = MIDDLE * block;
		random_blocks(dtype, file, BLOCKS, &random);
		dtype_to_f32(dtype, file, expected, n);
		dtype_pack(dtype, file, packed, n);
		for (size_t i = 0; i < n; i++)
			assert_true(element_by_definition(dtype, packed, n, i) == expected[i]);
		dtype_unpack_part(dtype, packed, n, 0, n, again);
		assert_memory_equal(again, file, bytes);

		/* in two parts, and back from the middle */
		memset(packed, 0xee, bytes);
		dtype_pack_part(dtype, file + dtype_bytes(dtype, from), packed, n, from, n - from);
		dtype_pack_part(dtype, file, packed, n, 0, from);
		dtype_unpack_part(dtype, packed, n, from, part, again);
		assert_memory_equal(again, file + dtype_bytes(dtype, from),
		                    dtype_bytes(dtype, part));
		dtype_planes_to_f32(dtype, packed, n, from, part, values);
		assert_memory_equal(values, expected + from, part * sizeof *values);
	}
}

static void plain_types_round_trip(void **state)
{
	(void)state;
	const int dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
	const float from[4] = {-1.5f, 0, 0.25f, 96};
	for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
		uint8_t file[17], packed[16];
		float back[4];
		dtype_from_f32(dtypes[d], from, file + 1, 4); /* no alignment is assumed */
		dtype_pack(dtypes[d], file + 1, packed, 4);
		dtype_to_f32(dtypes[d], packed, back, 4);
		assert_memory_equal(back, from, sizeof from);
		dtype_planes_to_f32(dtypes[d], packed, 4, 1, 2, back);
		assert_memory_equal(back, from + 1, 2 * sizeof *back);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(names_round_trip),
	        cmocka_unit_test(sizes),
	        cmocka_unit_test(every_f16_widens),
	        cmocka_unit_test(every_f16_survives),
	        cmocka_unit_test(f16_rounds_to_even),
	        cmocka_unit_test(f16_of_sampled_floats),
	        cmocka_unit_test(bf16_rounds_to_even),
	        cmocka_unit_test(q8_0_scale_and_quants),
	        cmocka_unit_test(q8_0_error_is_bounded),
	        cmocka_unit_test(q8_0_of_no_numbers),
	        cmocka_unit_test(q8_0_packs_quants_then_scales),
	        cmocka_unit_test(blocks_mean_what_ggml_says),
	        cmocka_unit_test(blocks_become_what_ggml_makes),
	        cmocka_unit_test(quantising_is_close),
	        cmocka_unit_test(quantising_is_defined),
	        cmocka_unit_test(device_layout_is_as_documented),
	        cmocka_unit_test(plain_types_round_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
