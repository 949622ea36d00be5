#include "core/quant.h"

#include <math.h>
#include <string.h>

#define MAX_BLOCK  256
#define MAX_GROUPS 16
#define K_SCALES   12 /* bytes of a k-quant's scales and minima */

/* Where things are in a block of the file. Byte i of a run of `span` has the low four bits of
 * element i and of element span + i of the run's 2 span elements. The remaining bits: of element i
 * in bit i (spans of 16), or, of element 32 f + i, in field f of byte i. */
struct format {
	int dtype, bits;
	int zero;  /* the quant that stands for 0, in types that have no minimum */
	int group; /* elements that share a scale */
	int span;
	int quants, high, scales; /* bytes from the block's start */
};

static const struct format formats[] = {
        {DTYPE_Q4_0, 4, 8, 32, 16, 2, 0, 0},   {DTYPE_Q4_1, 4, 0, 32, 16, 4, 0, 0},
        {DTYPE_Q5_0, 5, 16, 32, 16, 6, 2, 0},  {DTYPE_Q5_1, 5, 0, 32, 16, 8, 4, 0},
        {DTYPE_Q8_0, 8, 0, 32, 0, 2, 0, 0},    {DTYPE_Q4_K, 4, 0, 32, 32, 16, 0, 0},
        {DTYPE_Q5_K, 5, 0, 32, 32, 48, 16, 0}, {DTYPE_Q6_K, 6, 32, 16, 64, 0, 128, 192},
};

static const struct format *format_of(int dtype)
{
	const struct format *f = formats;
	while (f->dtype != dtype)
		f++;
	return f;
}

static bool is_k(const struct format *f)
{
	return f->dtype == DTYPE_Q4_K || f->dtype == DTYPE_Q5_K;
}

static uint16_t load_u16(const uint8_t *from)
{
	uint16_t bits;
	memcpy(&bits, from, sizeof bits);
	return bits;
}

static float load_f16(const uint8_t *from)
{
	return f16_to_f32(load_u16(from));
}

static uint32_t load_u32(const void *from)
{
	uint32_t bits;
	memcpy(&bits, from, sizeof bits);
	return bits;
}

static void store_u32(void *to, uint32_t bits)
{
	memcpy(to, &bits, sizeof bits);
}

/* Rounds to f16; returns what is stored. */
static float store_f16(uint8_t *to, float value)
{
	uint16_t bits = f32_to_f16(value);
	memcpy(to, &bits, sizeof bits);
	return f16_to_f32(bits);
}

/* Quants of a block in file layout, in order; those of q8_0 are signed, the others not. */
static void read_quants(const struct format *f, const uint8_t *block, int8_t *q)
{
	const uint8_t *low = block + f->quants, *high = block + f->high;
	int n = dtype_block(f->dtype);
	if (f->bits == 8) {
		memcpy(q, low, (size_t)n);
		return;
	}
	for (int at = 0; at < n; at += 2 * f->span, low += f->span)
		for (int i = 0; i < f->span; i++) {
			q[at + i] = low[i] & 15;
			q[at + f->span + i] = (int8_t)(low[i] >> 4);
		}
	if (f->bits > 4 && f->span == 16) {
		uint32_t word = load_u32(high);
		for (int i = 0; i < n; i++)
			q[i] |= (int8_t)((word >> i & 1) << 4);
	} else if (f->bits > 4) {
		int extra = f->bits - 4, mask = (1 << extra) - 1;
		for (int at = 0, shift = 0; at < n; at += 32, shift += extra) {
			if (shift == 8) {
				shift = 0;
				high += 32;
			}
			for (int i = 0; i < 32; i++)
				q[at + i] |= (int8_t)((high[i] >> shift & mask) << 4);
		}
	}
}

static void write_quants(const struct format *f, const int8_t *q, uint8_t *block)
{
	uint8_t *low = block + f->quants, *high = block + f->high;
	int n = dtype_block(f->dtype);
	if (f->bits == 8) {
		memcpy(low, q, (size_t)n);
		return;
	}
	for (int at = 0; at < n; at += 2 * f->span, low += f->span)
		for (int i = 0; i < f->span; i++)
			low[i] = (uint8_t)((q[at + i] & 15) | q[at + f->span + i] << 4);
	if (f->bits > 4 && f->span == 16) {
		uint32_t word = 0;
		for (int i = 0; i < n; i++)
			word |= (uint32_t)(q[i] >> 4) << i;
		store_u32(high, word);
	} else if (f->bits > 4) {
		int extra = f->bits - 4;
		for (int at = 0, shift = 0; at < n; at += 32, shift += extra) {
			if (shift == 8) {
				shift = 0;
				high += 32;
			}
			for (int i = 0; i < 32; i++)
				high[i] =
				        (uint8_t)((shift ? high[i] : 0) | q[at + i] >> 4 << shift);
		}
	}
}

/* The six bits of s and t of 32 elements j: in bytes j and 4 + j, for the last four in the halves
 * of byte 4 + j and the upper two bits of bytes j - 4 and j. */
static void read_k_scales(const uint8_t *from, uint8_t *s, uint8_t *t)
{
	for (int j = 0; j < 4; j++) {
		s[j] = from[j] & 63;
		t[j] = from[4 + j] & 63;
		s[4 + j] = (uint8_t)((from[8 + j] & 15) | from[j] >> 6 << 4);
		t[4 + j] = (uint8_t)(from[8 + j] >> 4 | from[4 + j] >> 6 << 4);
	}
}

static void write_k_scales(const uint8_t *s, const uint8_t *t, uint8_t *to)
{
	for (int j = 0; j < 4; j++) {
		to[j] = (uint8_t)(s[j] | s[4 + j] >> 4 << 6);
		to[4 + j] = (uint8_t)(t[j] | t[4 + j] >> 4 << 6);
		to[8 + j] = (uint8_t)((s[4 + j] & 15) | t[4 + j] << 4);
	}
}

/* value = scale (q - zero) + offset, for each group. */
struct scales {
	float scale[MAX_GROUPS], offset[MAX_GROUPS];
};

static void read_scales(const struct format *f, const uint8_t *block, struct scales *to)
{
	const uint8_t *at = block + f->scales;
	*to = (struct scales){.scale = {load_f16(at)}};
	if (f->dtype == DTYPE_Q4_1 || f->dtype == DTYPE_Q5_1) {
		to->offset[0] = load_f16(at + 2);
	} else if (is_k(f)) {
		float d = load_f16(at), m = load_f16(at + 2);
		uint8_t s[8], t[8];
		read_k_scales(at + 4, s, t);
		for (int j = 0; j < 8; j++) {
			to->scale[j] = d * s[j];
			to->offset[j] = -(m * t[j]);
		}
	} else if (f->dtype == DTYPE_Q6_K) {
		float d = load_f16(at + MAX_GROUPS);
		for (int j = 0; j < MAX_GROUPS; j++)
			to->scale[j] = d * (int8_t)at[j];
	}
}

void quant_to_f32(int dtype, const uint8_t *blocks, float *to, size_t n)
{
	const struct format *f = format_of(dtype);
	size_t block = (size_t)dtype_block(dtype), bytes = dtype_bytes(dtype, block);
	bool has_minimum = f->bits < 8 && !f->zero;
	int8_t q[MAX_BLOCK];
	struct scales s;
	for (size_t at = 0; at < n; at += block, blocks += bytes) {
		read_quants(f, blocks, q);
		read_scales(f, blocks, &s);
		for (int i = 0; i < (int)block; i += f->group, to += f->group) {
			float scale = s.scale[i / f->group], offset = s.offset[i / f->group];
			for (int j = 0; j < f->group; j++)
				to[j] = scale * (float)(q[i + j] - f->zero);
			for (int j = 0; has_minimum && j < f->group; j++)
				to[j] += offset;
		}
	}
}

/* x cut to an integer of `bits`; 0 for NaN. */
static int cut(float x, int bits)
{
	int largest = (1 << bits) - 1;
	return x >= (float)largest ? largest : x > 0 ? (int)x : 0;
}

static float inverse(float x)
{
	return x != 0 ? 1 / x : 0;
}

/* The element of largest magnitude. */
static float extreme(const float *x, int n)
{
	float found = 0;
	for (int i = 0; i < n; i++)
		if (fabsf(x[i]) > fabsf(found))
			found = x[i];
	return found;
}

static void range(const float *x, int n, float *min, float *max)
{
	*min = *max = x[0];
	for (int i = 1; i < n; i++) {
		*min = fminf(*min, x[i]);
		*max = fmaxf(*max, x[i]);
	}
}

/* The functions below choose scales, store them in the block and make the quants: those of blocks
 * of 32 with the scale before it is rounded to f16, as ggml's reference does. */
static void quantise_8(const struct format *f, const float *x, uint8_t *block, int8_t *q)
{
	float scale = fabsf(extreme(x, 32)) / 127, by = inverse(scale);
	(void)f;
	store_f16(block, scale);
	for (int i = 0; i < 32; i++) {
		float quant = roundf(x[i] * by);
		q[i] = (int8_t)(fabsf(quant) <= 127 ? quant : 0); /* 0 for NaN */
	}
}

static void quantise_signed(const struct format *f, const float *x, uint8_t *block, int8_t *q)
{
	float scale = extreme(x, 32) / (float)-f->zero, by = inverse(scale);
	store_f16(block, scale);
	for (int i = 0; i < 32; i++)
		q[i] = (int8_t)cut(x[i] * by + ((float)f->zero + 0.5f), f->bits);
}

static void quantise_range(const struct format *f, const float *x, uint8_t *block, int8_t *q)
{
	float min, max;
	range(x, 32, &min, &max);
	float scale = (max - min) / (float)((1 << f->bits) - 1), by = inverse(scale);
	store_f16(block, scale);
	store_f16(block + 2, min);
	for (int i = 0; i < 32; i++)
		q[i] = (int8_t)cut((x[i] - min) * by + 0.5f, f->bits);
}

/* Scales and minima are rounded to multiples of d and m, the quants are of what is stored. */
static void quantise_k(const struct format *f, const float *x, uint8_t *block, int8_t *q)
{
	float scale[8], minimum[8], max_scale = 0, max_minimum = 0;
	uint8_t s[8], t[8];
	for (int j = 0; j < 8; j++) {
		float min, max;
		range(x + 32 * j, 32, &min, &max);
		minimum[j] = min < 0 ? -min : 0;
		scale[j] = (max + minimum[j]) / (float)((1 << f->bits) - 1);
		max_scale = fmaxf(max_scale, scale[j]);
		max_minimum = fmaxf(max_minimum, minimum[j]);
	}
	float d = store_f16(block, max_scale / 63), m = store_f16(block + 2, max_minimum / 63);
	for (int j = 0; j < 8; j++) {
		s[j] = (uint8_t)cut(scale[j] * inverse(d) + 0.5f, 6);
		t[j] = (uint8_t)cut(minimum[j] * inverse(m) + 0.5f, 6);
		float by = inverse(d * s[j]), min = m * t[j];
		for (int i = 32 * j; i < 32 * j + 32; i++)
			q[i] = (int8_t)cut((x[i] + min) * by + 0.5f, f->bits);
	}
	write_k_scales(s, t, block + 4);
}

static void quantise_6(const struct format *f, const float *x, uint8_t *block, int8_t *q)
{
	float scale[MAX_GROUPS];
	uint8_t *s = block + f->scales;
	for (int j = 0; j < MAX_GROUPS; j++)
		scale[j] = extreme(x + 16 * j, 16) / (float)-f->zero;
	float d = store_f16(s + MAX_GROUPS, extreme(scale, MAX_GROUPS) / -128);
	for (int j = 0; j < MAX_GROUPS; j++) {
		int stored = cut(scale[j] * inverse(d) + 128.5f, 8) - 128;
		float by = inverse(d * (float)stored);
		s[j] = (uint8_t)stored;
		for (int i = 16 * j; i < 16 * j + 16; i++)
			q[i] = (int8_t)cut(x[i] * by + ((float)f->zero + 0.5f), f->bits);
	}
}

void quant_from_f32(int dtype, const float *from, uint8_t *blocks, size_t n)
{
	static void (*const quantise[])(const struct format *, const float *, uint8_t *,
	                                int8_t *) = {
	        [DTYPE_Q4_0] = quantise_signed, [DTYPE_Q4_1] = quantise_range,
	        [DTYPE_Q5_0] = quantise_signed, [DTYPE_Q5_1] = quantise_range,
	        [DTYPE_Q8_0] = quantise_8,      [DTYPE_Q4_K] = quantise_k,
	        [DTYPE_Q5_K] = quantise_k,      [DTYPE_Q6_K] = quantise_6,
	};
	const struct format *f = format_of(dtype);
	size_t block = (size_t)dtype_block(dtype), bytes = dtype_bytes(dtype, block);
	int8_t q[MAX_BLOCK];
	for (size_t at = 0; at < n; at += block, blocks += bytes) {
		quantise[dtype](f, from + at, blocks, q);
		write_quants(f, q, blocks);
	}
}

/* The planes of 32 elements: 16 bytes of low quants, then 0, 4 or 8 bytes of high bits. */
static void pack_32(int bits, const int8_t *q, uint8_t *low, uint8_t *high)
{
	for (int i = 0; i < 16; i++)
		low[i] = (uint8_t)((q[i] & 15) | q[16 + i] << 4);
	uint32_t word[2] = {0};
	for (int w = 0; w < 4; w++) {
		uint32_t first = load_u32(q + 4 * w) >> 4, second = load_u32(q + 16 + 4 * w) >> 4;
		if (bits == 5) {
			word[0] |= (first & 0x01010101) << w | (second & 0x01010101) << (4 + w);
		} else {
			word[0] |= (first & 0x03030303) << 2 * w;
			word[1] |= (second & 0x03030303) << 2 * w;
		}
	}
	for (int i = 0; i < bits - 4; i++)
		store_u32(high + 4 * i, word[i]);
}

static void unpack_32(int bits, const uint8_t *low, const uint8_t *high, int8_t *q)
{
	for (int i = 0; i < 16; i++) {
		q[i] = low[i] & 15;
		q[16 + i] = (int8_t)(low[i] >> 4);
	}
	uint32_t word[2] = {0};
	for (int i = 0; i < bits - 4; i++)
		word[i] = load_u32(high + 4 * i);
	for (int w = 0; bits > 4 && w < 4; w++) {
		uint32_t first, second;
		if (bits == 5) {
			first = word[0] << (4 - w) & 0x10101010;
			second = word[0] >> w & 0x10101010;
		} else {
			first = (word[0] >> 2 * w & 0x03030303) << 4;
			second = (word[1] >> 2 * w & 0x03030303) << 4;
		}
		store_u32(q + 4 * w, load_u32(q + 4 * w) | first);
		store_u32(q + 16 + 4 * w, load_u32(q + 16 + 4 * w) | second);
	}
}

/* The 12 bytes of a k-quant's scales and minima, as in the file and as in the plane. */
static void pack_k_scales(const uint8_t *from, uint8_t *to)
{
	uint8_t s[8], t[8];
	read_k_scales(from, s, t);
	memset(to, 0, K_SCALES);
	for (int j = 0; j < 8; j++) {
		to[j] = (uint8_t)((s[j] & 15) | t[j] << 4);
		to[8 + j / 2] |= (uint8_t)((s[j] >> 4 | t[j] >> 4 << 2) << j % 2 * 4);
	}
}

static void unpack_k_scales(const uint8_t *from, uint8_t *to)
{
	uint8_t s[8], t[8];
	for (int j = 0; j < 8; j++) {
		int upper = from[8 + j / 2] >> j % 2 * 4;
		s[j] = (uint8_t)((from[j] & 15) | (upper & 3) << 4);
		t[j] = (uint8_t)(from[j] >> 4 | (upper >> 2 & 3) << 4);
	}
	write_k_scales(s, t, to);
}

/* How a type's blocks lie in planes. */
struct planes_of {
	int block, high;           /* elements; bytes of high bits of 32 */
	size_t bytes;              /* of a block in the file */
	int scales;                /* number of the plane after quants and high bits */
	size_t part[DTYPE_PLANES]; /* bytes of a block */
};

static struct planes_of planes_of(const struct format *f)
{
	struct planes_of p = {.block = dtype_block(f->dtype),
	                      .high = f->bits == 8 ? 0 : 4 * (f->bits - 4)};
	p.bytes = dtype_bytes(f->dtype, (size_t)p.block);
	p.scales = p.high ? 2 : 1;
	for (int i = 0; i < DTYPE_PLANES; i++)
		p.part[i] = dtype_plane_offset(f->dtype, i + 1, (size_t)p.block) -
		            dtype_plane_offset(f->dtype, i, (size_t)p.block);
	return p;
}

void quant_pack(int dtype, const uint8_t *blocks, uint8_t *const planes[DTYPE_PLANES], size_t first,
                size_t n)
{
	const struct format *f = format_of(dtype);
	const struct planes_of p = planes_of(f);
	int8_t q[MAX_BLOCK];
	for (size_t b = first; b < first + n; b++, blocks += p.bytes) {
		uint8_t *low = planes[0] + b * p.part[0], *high = planes[1] + b * p.part[1];
		const uint8_t *scales = blocks + f->scales;
		if (f->bits == 8)
			memcpy(low, blocks + f->quants, p.part[0]);
		else
			read_quants(f, blocks, q);
		for (int i = 0; f->bits < 8 && i < p.block; i += 32)
			pack_32(f->bits, q + i, low + i / 2, high + i / 32 * p.high);
		for (int s = p.scales; s < DTYPE_PLANES; scales += p.part[s++])
			memcpy(planes[s] + b * p.part[s], scales, p.part[s]);
		if (is_k(f))
			pack_k_scales(blocks + f->scales + 4, planes[p.scales] + b * 16 + 4);
	}
}

void quant_unpack(int dtype, const uint8_t *const planes[DTYPE_PLANES], size_t first, size_t n,
                  uint8_t *blocks)
{
	const struct format *f = format_of(dtype);
	const struct planes_of p = planes_of(f);
	int8_t q[MAX_BLOCK];
	for (size_t b = first; b < first + n; b++, blocks += p.bytes) {
		const uint8_t *low = planes[0] + b * p.part[0], *high = planes[1] + b * p.part[1];
		uint8_t *scales = blocks + f->scales;
		if (f->bits == 8)
			memcpy(blocks + f->quants, low, p.part[0]);
		for (int i = 0; f->bits < 8 && i < p.block; i += 32)
			unpack_32(f->bits, low + i / 2, high + i / 32 * p.high, q + i);
		if (f->bits < 8)
			write_quants(f, q, blocks);
		for (int s = p.scales; s < DTYPE_PLANES; scales += p.part[s++])
			memcpy(scales, planes[s] + b * p.part[s], p.part[s]);
		if (is_k(f))
			unpack_k_scales(planes[p.scales] + b * 16 + 4, blocks + f->scales + 4);
	}
}
