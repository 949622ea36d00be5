#include "core/dtype.h"

#include <math.h>
#include <string.h>

#define Q8_0_BLOCK       32
#define Q8_0_BLOCK_BYTES (2 + Q8_0_BLOCK)

static const struct {
	int dtype;
	const char *name;
	int block;
	size_t block_bytes;
} dtypes[] = {
        {DTYPE_F32, "f32", 1, 4},   {DTYPE_F16, "f16", 1, 2},
        {DTYPE_BF16, "bf16", 1, 2}, {DTYPE_Q8_0, "q8_0", Q8_0_BLOCK, Q8_0_BLOCK_BYTES},
        {DTYPE_I32, "i32", 1, 4},   {DTYPE_U64, "u64", 1, 8},
};

#define N_DTYPES ((int)(sizeof dtypes / sizeof *dtypes))

/* Row of the table, N_DTYPES when there is none. */
static int find(int dtype)
{
	int i = 0;
	while (i < N_DTYPES && dtypes[i].dtype != dtype)
		i++;
	return i;
}

const char *dtype_name(int dtype)
{
	int i = find(dtype);
	return i < N_DTYPES ? dtypes[i].name : "";
}

int dtype_parse(const char *name)
{
	for (int i = 0; i < N_DTYPES; i++)
		if (!strcmp(dtypes[i].name, name))
			return dtypes[i].dtype;
	return -1;
}

int dtype_block(int dtype)
{
	int i = find(dtype);
	return i < N_DTYPES ? dtypes[i].block : 0;
}

size_t dtype_bytes(int dtype, size_t n)
{
	int i = find(dtype);
	return i < N_DTYPES ? n / (size_t)dtypes[i].block * dtypes[i].block_bytes : 0;
}

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

float bf16_to_f32(uint16_t bits)
{
	return float_of((uint32_t)bits << 16);
}

uint16_t f32_to_bf16(float value)
{
	uint32_t bits = bits_of(value);
	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(bits >> 16 | 0x40); /* NaN stays NaN */
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Exponent and mantissa moved to their places in an f32 are 2^112 too small; the product is exact,
 * subnormals included. */
float f16_to_f32(uint16_t bits)
{
	uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
	uint32_t magnitude = (uint32_t)(bits & 0x7fff) << 13;
	if ((bits & 0x7c00) == 0x7c00)
		return float_of(sign | 0x7f800000 | magnitude);
	return float_of(sign | bits_of(float_of(magnitude) * 0x1p112f));
}

uint16_t f32_to_f16(float value)
{
	uint32_t bits = bits_of(value);
	uint32_t sign = bits >> 16 & 0x8000;
	bits &= 0x7fffffff;
	if (bits > 0x7f800000) /* NaN stays NaN */
		return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff));
	if (bits >= bits_of(65520)) /* half way from the largest f16 to 2^16 */
		return (uint16_t)(sign | 0x7c00);
	/* In [1/2, 1) an f32 has the step of an f16 subnormal, 2^-24. */
	if (bits < bits_of(0x1p-14f))
		return (uint16_t)(sign | (bits_of(float_of(bits) + 0.5f) - bits_of(0.5f)));
	bits += 0xfff + (bits >> 13 & 1);
	return (uint16_t)(sign | (bits - (112u << 23)) >> 13); /* exponent bias 127 to 15 */
}

static uint16_t load_u16(const uint8_t *from)
{
	uint16_t bits;
	memcpy(&bits, from, sizeof bits);
	return bits;
}

static void store_u16(uint8_t *to, uint16_t bits)
{
	memcpy(to, &bits, sizeof bits);
}

static void q8_0_to_f32(const uint8_t *from, float *to, size_t n)
{
	for (size_t i = 0; i < n; i += Q8_0_BLOCK, from += Q8_0_BLOCK_BYTES) {
		float scale = f16_to_f32(load_u16(from));
		for (int j = 0; j < Q8_0_BLOCK; j++)
			to[i + (size_t)j] = scale * (float)(int8_t)from[2 + j];
	}
}

/* The quants are of the scale before it is rounded to f16, as in ggml's quantize_row_q8_0_ref.
 * Quants of infinities and NaNs are 0. */
static void q8_0_from_f32(const float *from, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i += Q8_0_BLOCK, to += Q8_0_BLOCK_BYTES) {
		float largest = 0;
		for (int j = 0; j < Q8_0_BLOCK; j++)
			largest = fmaxf(largest, fabsf(from[i + (size_t)j]));
		float scale = largest / 127;
		float inverse = scale > 0 ? 1 / scale : 0;
		store_u16(to, f32_to_f16(scale));
		for (int j = 0; j < Q8_0_BLOCK; j++) {
			float quant = roundf(from[i + (size_t)j] * inverse);
			to[2 + j] = (uint8_t)(int8_t)(fabsf(quant) <= 127 ? quant : 0);
		}
	}
}

void dtype_to_f32(int dtype, const void *from, float *to, size_t n)
{
	const uint8_t *bytes = from;
	if (dtype == DTYPE_F32)
		memcpy(to, from, n * sizeof *to);
	else if (dtype == DTYPE_Q8_0)
		q8_0_to_f32(bytes, to, n);
	else if (dtype == DTYPE_F16)
		for (size_t i = 0; i < n; i++)
			to[i] = f16_to_f32(load_u16(bytes + 2 * i));
	else if (dtype == DTYPE_BF16)
		for (size_t i = 0; i < n; i++)
			to[i] = bf16_to_f32(load_u16(bytes + 2 * i));
}

void dtype_from_f32(int dtype, const float *from, void *to, size_t n)
{
	uint8_t *bytes = to;
	if (dtype == DTYPE_F32)
		memcpy(to, from, n * sizeof *from);
	else if (dtype == DTYPE_Q8_0)
		q8_0_from_f32(from, bytes, n);
	else if (dtype == DTYPE_F16)
		for (size_t i = 0; i < n; i++)
			store_u16(bytes + 2 * i, f32_to_f16(from[i]));
	else if (dtype == DTYPE_BF16)
		for (size_t i = 0; i < n; i++)
			store_u16(bytes + 2 * i, f32_to_bf16(from[i]));
}

void dtype_pack(int dtype, const void *file_layout, void *to, size_t n)
{
	if (dtype != DTYPE_Q8_0) {
		memcpy(to, file_layout, dtype_bytes(dtype, n));
		return;
	}
	const uint8_t *block = file_layout;
	uint8_t *quants = to, *scales = quants + dtype_scale_offset(dtype, n);
	for (size_t i = 0; i < n; i += Q8_0_BLOCK, block += Q8_0_BLOCK_BYTES) {
		memcpy(quants + i, block + 2, Q8_0_BLOCK);
		memcpy(scales + i / Q8_0_BLOCK * 2, block, 2);
	}
}

size_t dtype_scale_offset(int dtype, size_t n)
{
	return dtype == DTYPE_Q8_0 ? n : dtype_bytes(dtype, n);
}
