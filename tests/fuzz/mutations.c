#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static const uint64_t values[] = {0,
                                  1,
                                  0x7f,
                                  0x80,
                                  0xff,
                                  0xffff,
                                  0x7fffffff,
                                  0xffffffff,
                                  (uint64_t)1 << 40,
                                  (uint64_t)1 << 60,
                                  UINT64_MAX / 2,
                                  UINT64_MAX};

/* One of: a bit, a byte, a number of some width, a range copied elsewhere, the end cut off. */
static size_t mutate(uint8_t *data, size_t n, uint32_t *state)
{
	size_t at = next_random(state) % n, other = next_random(state) % n;
	size_t width = (size_t)1 << next_random(state) % 4;
	const uint64_t value = values[next_random(state) % (sizeof values / sizeof *values)];
	size_t room = n - (at > other ? at : other);
	switch (next_random(state) % 6) {
	case 0:
		data[at] ^= (uint8_t)(1 << next_random(state) % 8);
		break;
	case 1:
		data[at] = (uint8_t)next_random(state);
		break;
	case 2:
	case 3:
		memcpy(data + at, &value, width < n - at ? width : n - at);
		break;
	case 4:
		memmove(data + at, data + other, room < 32 ? room : 32);
		break;
	default:
		return next_random(state) % 8 ? n : at + 1;
	}
	return n;
}

void fuzz_mutations(int (*target)(const uint8_t *data, size_t n), const uint8_t *input, size_t n,
                    int count, uint32_t seed)
{
	target(input, n);
	for (int i = 0; i < count; i++) {
		/* exactly as long as it is, so that a sanitizer sees the first byte too many */
		uint8_t *data = malloc(n ? n : 1);
		if (!data)
			abort();
		memcpy(data, input, n);
		size_t len = n;
		for (uint32_t j = 1 + next_random(&seed) % 4; j && len; j--)
			len = mutate(data, len, &seed);
		target(data, len);
		free(data);
	}
}
