// C++20 and CUDA C++.
/* An element of a vector as an integer that orders by value, then by smaller index: the largest key
 * is the argmax. NaN is smaller than everything, both zeros are equal; 0 is below every key.
 * Included by .cu files only. */
#ifndef KERNELS_ARGMAX_KEY_H
#define KERNELS_ARGMAX_KEY_H

#include "device/simt.h"

/* The float's bits, made to order like unsigned integers, above the index's complement. */
SIMT_FN unsigned long long argmax_key(float v, int i)
{
	const unsigned bits = simt::float_to_bits(v + 0.0f);
	const unsigned order = v != v ? 0 : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
	return (unsigned long long)order << 32 | ~(unsigned)i;
}

SIMT_FN int argmax_index(unsigned long long key)
{
	return (int)~(unsigned)key;
}

SIMT_FN unsigned long long larger_key(unsigned long long a, unsigned long long b)
{
	return a > b ? a : b;
}

/* The largest key of a block of `Warps` warps, in thread 0; `part` has room for one per warp. */
template <int Warps>
SIMT_FN unsigned long long block_largest_key(unsigned long long key, unsigned long long *part)
{
	key = simt::group_max_u64<simt::kWarp>(key);
	if (simt::lane_id() == 0)
		part[simt::warp_id()] = key;
	simt::sync_block();
	if (threadIdx.x == 0)
#pragma unroll
		for (int i = 0; i < Warps; i++)
			key = larger_key(key, part[i]);
	return key;
}

#endif
