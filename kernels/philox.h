/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): random bits as a function of a counter and a
 * key. Readable by C, C++, nvcc and NVRTC. */
#ifndef KERNELS_PHILOX_H
#define KERNELS_PHILOX_H

#include "core/param.h"

struct philox {
	unsigned word[4];
};

CONST_FN struct philox philox_round(struct philox c, unsigned key0, unsigned key1)
{
	const unsigned long long a = 0xd2511f53ull * c.word[0], b = 0xcd9e8d57ull * c.word[2];
	const struct philox next = {{(unsigned)(b >> 32) ^ c.word[1] ^ key0, (unsigned)b,
	                             (unsigned)(a >> 32) ^ c.word[3] ^ key1, (unsigned)a}};
	return next;
}

CONST_FN struct philox philox(struct philox counter, unsigned key0, unsigned key1)
{
	for (int round = 0; round < 10; round++) {
		counter = philox_round(counter, key0, key1);
		key0 += 0x9e3779b9u;
		key1 += 0xbb67ae85u;
	}
	return counter;
}

#endif
