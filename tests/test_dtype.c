/* Conversions between element types, compared with the compiler's own _Float16 and with
 * definitions. */
#include "core/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

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
	const int dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_I32, DTYPE_U64};
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
		assert_true(dtype_name(dtypes[i])[0]);
		assert_int_equal(dtype_parse(dtype_name(dtypes[i])), dtypes[i]);
	}
	assert_string_equal(dtype_name(2), "");
	assert_int_equal(dtype_parse("q4_0"), -1);
	assert_int_equal(dtype_parse(""), -1);
	assert_int_equal(dtype_block(2), 0);
	assert_int_equal(dtype_bytes(2, 32), 0);
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
	        cmocka_unit_test(plain_types_round_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
