// math:   the first index of the largest element; NaN is smaller than everything.
// layout: `blocks` blocks, thread i takes elements i, i + threads, ...; the last to arrive decides.
// bound:  memory: x is read once; latency of two block-wide reductions.
#include "core/variants.h"
#include "kernels/argmax.h"
#include "kernels/vec.h"

/* Orders by value, then by smaller index. The float's bits, made to order like unsigned integers;
 * both zeros are equal. */
SIMT_FN unsigned long long argmax_key(float v, int i)
{
	const unsigned bits = simt::float_to_bits(v + 0.0f);
	const unsigned order = v != v ? 0 : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
	return (unsigned long long)order << 32 | ~(unsigned)i;
}

SIMT_FN unsigned long long larger_key(unsigned long long a, unsigned long long b)
{
	return a > b ? a : b;
}

/* The largest key of the block, in thread 0. */
template <argmax_config C>
SIMT_FN unsigned long long block_max(unsigned long long key, unsigned long long *part)
{
	key = simt::group_max_u64<simt::kWarp>(key);
	if (simt::lane_id() == 0)
		part[simt::warp_id()] = key;
	simt::sync_block();
	if (threadIdx.x == 0)
#pragma unroll
		for (int i = 0; i < C.warps; i++)
			key = larger_key(key, part[i]);
	return key;
}

template <argmax_case K, argmax_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) argmax(const argmax_args a)
{
	SIMT_SHARED(unsigned long long[C.warps], part);
	constexpr int threads = C.warps * simt::kWarp;
	simt::grid_launch_dependents();
	simt::grid_wait();

	unsigned long long best = 0;
#pragma unroll 8
	for (int i = blockIdx.x * threads + threadIdx.x; i < a.n; i += C.blocks * threads)
		best = larger_key(best, argmax_key(a.x[i], i));
	best = block_max<C>(best, part);
	if (threadIdx.x == 0)
		a.best[blockIdx.x] = best;
	if (!simt::arrive_last(a.arrived, C.blocks))
		return;

	best = 0;
	for (int i = threadIdx.x; i < C.blocks; i += threads)
		best = larger_key(best, simt::load_fresh(a.best + i));
	best = block_max<C>(best, part);
	if (threadIdx.x == 0)
		*a.index = (int)~(unsigned)best;
}

DEFINE_VARIANTS(argmax, ARGMAX)
