#include "core/dtype.h"

#include <string.h>

#include "core/quant.h"

#define DTYPE_ROW(NAME, name, value, block, ...) {DTYPE_##NAME, #name, block, {__VA_ARGS__}},

static const struct {
	int dtype;
	const char *name;
	int block;
	size_t plane[DTYPE_PLANES]; /* bytes of a block */
} dtypes[] = {DTYPES(DTYPE_ROW)};

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

size_t dtype_plane_offset(int dtype, int plane, size_t n)
{
	int i = find(dtype);
	size_t bytes = 0;
	for (int p = 0; i < N_DTYPES && p < plane && p < DTYPE_PLANES; p++)
		bytes += dtypes[i].plane[p];
	return i < N_DTYPES ? n / (size_t)dtypes[i].block * bytes : 0;
}

size_t dtype_bytes(int dtype, size_t n)
{
	return dtype_plane_offset(dtype, DTYPE_PLANES, n);
}

size_t dtype_scale_offset(int dtype, size_t n)
{
	return dtype_plane_offset(dtype, 1, n);
}

bool dtype_is_real(int dtype)
{
	return find(dtype) < N_DTYPES && dtype != DTYPE_I32 && dtype != DTYPE_U64;
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

static bool is_quantised(int dtype)
{
	return dtype_block(dtype) > 1;
}

void dtype_to_f32(int dtype, const void *from, float *to, size_t n)
{
	const uint8_t *bytes = from;
	if (dtype == DTYPE_F32)
		memcpy(to, from, n * sizeof *to);
	else if (dtype == DTYPE_F16)
		for (size_t i = 0; i < n; i++)
			to[i] = f16_to_f32(load_u16(bytes + 2 * i));
	else if (dtype == DTYPE_BF16)
		for (size_t i = 0; i < n; i++)
			to[i] = bf16_to_f32(load_u16(bytes + 2 * i));
	else if (is_quantised(dtype))
		quant_to_f32(dtype, bytes, to, n);
}

void dtype_from_f32(int dtype, const float *from, void *to, size_t n)
{
	uint8_t *bytes = to;
	if (dtype == DTYPE_F32)
		memcpy(to, from, n * sizeof *from);
	else if (dtype == DTYPE_F16)
		for (size_t i = 0; i < n; i++)
			store_u16(bytes + 2 * i, f32_to_f16(from[i]));
	else if (dtype == DTYPE_BF16)
		for (size_t i = 0; i < n; i++)
			store_u16(bytes + 2 * i, f32_to_bf16(from[i]));
	else if (is_quantised(dtype))
		quant_from_f32(dtype, from, bytes, n);
}

void dtype_pack_part(int dtype, const void *file_layout, void *matrix, size_t count, size_t first,
                     size_t n)
{
	uint8_t *planes[DTYPE_PLANES];
	size_t block = (size_t)dtype_block(dtype);
	if (!is_quantised(dtype)) {
		memcpy((uint8_t *)matrix + dtype_bytes(dtype, first), file_layout,
		       dtype_bytes(dtype, n));
		return;
	}
	for (int p = 0; p < DTYPE_PLANES; p++)
		planes[p] = (uint8_t *)matrix + dtype_plane_offset(dtype, p, count);
	quant_pack(dtype, file_layout, planes, first / block, n / block);
}

void dtype_unpack_part(int dtype, const void *matrix, size_t count, size_t first, size_t n,
                       void *file_layout)
{
	const uint8_t *planes[DTYPE_PLANES];
	size_t block = (size_t)dtype_block(dtype);
	if (!is_quantised(dtype)) {
		memcpy(file_layout, (const uint8_t *)matrix + dtype_bytes(dtype, first),
		       dtype_bytes(dtype, n));
		return;
	}
	for (int p = 0; p < DTYPE_PLANES; p++)
		planes[p] = (const uint8_t *)matrix + dtype_plane_offset(dtype, p, count);
	quant_unpack(dtype, planes, first / block, n / block, file_layout);
}

void dtype_planes_to_f32(int dtype, const void *matrix, size_t count, size_t first, size_t n,
                         float *to)
{
	uint8_t file[QUANT_MAX_BYTES];
	size_t block = (size_t)dtype_block(dtype);
	if (!is_quantised(dtype)) {
		dtype_to_f32(dtype, (const uint8_t *)matrix + dtype_bytes(dtype, first), to, n);
		return;
	}
	for (size_t i = 0; i < n; i += block) {
		dtype_unpack_part(dtype, matrix, count, first + i, block, file);
		quant_to_f32(dtype, file, to + i, block);
	}
}

void dtype_pack(int dtype, const void *file_layout, void *to, size_t n)
{
	dtype_pack_part(dtype, file_layout, to, n, 0, n);
}
