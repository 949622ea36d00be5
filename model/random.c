#include "model/random.h"

#include <string.h>

#define RUN 64 /* elements made at once */
/* Deviation of the uniform distribution on [-1, 1). */
#define UNIFORM_DEVIATION 0.57735027f

/* What random bits with scales as below stand for. In q4_k and q5_k s and t are uniform on 32 .. 63
 * and m is d times the mean quant; in q6_k s is uniform on 64 .. 127, of either sign. */
static const struct {
	int dtype;
	float deviation; /* of elements, when d is 1 */
	float mean;      /* of quants, where a minimum centres them; else d has either sign */
	int scales;      /* bytes from the start of a block to d */
} blocks[] = {
        {DTYPE_Q4_0, 4.637f, 0, 0},     {DTYPE_Q4_1, 4.610f, 7.5f, 0},
        {DTYPE_Q5_0, 9.247f, 0, 0},     {DTYPE_Q5_1, 9.233f, 15.5f, 0},
        {DTYPE_Q8_0, 73.47f, 0, 0},     {DTYPE_Q4_K, 243.6f, 7.5f, 0},
        {DTYPE_Q5_K, 490.5f, 15.5f, 0}, {DTYPE_Q6_K, 1798, 0, 208},
};

#define N_BLOCKS (sizeof blocks / sizeof *blocks)

uint64_t random_seed(const char *name)
{
	uint64_t seed = 0x5851f42d4c957f2du;
	for (const char *c = name; *c; c++)
		seed = (seed ^ (uint64_t)*c) * 0x100000001b3u;
	return seed;
}

/* The next of a sequence of 64 random bits (splitmix64: Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* 16 random bits make an element. */
static void random_values(const struct tensor *t, uint64_t state, uint8_t *to)
{
	float scale = t->deviation / UNIFORM_DEVIATION / 32768, v[RUN];
	uint64_t bits = 0;
	for (size_t i = 0; i < t->cols; i += RUN) {
		size_t n = t->cols - i < RUN ? t->cols - i : RUN;
		for (size_t j = 0; j < n; j++, bits >>= 16) {
			bits = j % 4 ? bits : next_random(&state);
			v[j] = t->mean + scale * (float)(int16_t)bits;
		}
		dtype_from_f32(t->dtype, v, to + dtype_bytes(t->dtype, i), n);
	}
}

/* -128 is no quant of q8_0. */
static void clear_lowest(uint8_t *quants)
{
	for (int i = 0; i < 32; i++)
		quants[i] = quants[i] == 0x80 ? 0 : quants[i];
}

/* The 6-bit numbers of a k-quant, all with their upper bit set. */
static void raise_scales(uint8_t *scales)
{
	for (int i = 0; i < 8; i++)
		scales[i] |= 0xa0;
}

/* s from 64 to 127 or from -64 to -127. */
static void spread_scales(uint8_t *scales)
{
	for (int i = 0; i < 16; i++) {
		int magnitude = 64 | (scales[i] & 63);
		scales[i] = (uint8_t)(scales[i] & 128 ? -magnitude : magnitude);
	}
}

void random_row(const struct tensor *t, size_t row, uint8_t *to)
{
	uint64_t state = t->seed + row * 0xd1342543de82ef95u, bits = 0;
	size_t kind = 0, block = (size_t)dtype_block(t->dtype);
	size_t bytes = dtype_bytes(t->dtype, block), all = dtype_bytes(t->dtype, t->cols);
	while (kind < N_BLOCKS && blocks[kind].dtype != t->dtype)
		kind++;
	if (kind == N_BLOCKS) {
		random_values(t, state, to);
		return;
	}
	for (size_t i = 0; i < all; i += sizeof bits) {
		bits = next_random(&state);
		memcpy(to + i, &bits, all - i < sizeof bits ? all - i : sizeof bits);
	}
	float d = t->deviation / blocks[kind].deviation;
	const uint16_t scale = f32_to_f16(d), minimum = f32_to_f16(d * blocks[kind].mean);
	bool is_k = t->dtype == DTYPE_Q4_K || t->dtype == DTYPE_Q5_K;
	for (uint8_t *b = to; b < to + all; b += bytes) {
		uint8_t *at = b + blocks[kind].scales;
		uint16_t sign = blocks[kind].mean ? 0 : (uint16_t)(at[1] << 8 & 0x8000);
		uint16_t stored[] = {scale ^ sign, is_k ? minimum : minimum ^ 0x8000};
		memcpy(at, stored, blocks[kind].mean ? 4 : 2);
		if (t->dtype == DTYPE_Q8_0)
			clear_lowest(b + 2);
		else if (is_k)
			raise_scales(b + 4);
		else if (t->dtype == DTYPE_Q6_K)
			spread_scales(b + 192);
	}
}
