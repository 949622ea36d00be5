// math:   the first index of the largest element; NaN is smaller than everything.
// layout: `blocks` blocks, thread i takes elements i, i + threads, ...; an atomic maximum joins the
// blocks. bound:  memory: x is read once; latency of a block-wide reduction.
#include "core/variants.h"
#include "kernels/argmax.h"
#include "kernels/argmax_key.h"

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
	best = block_largest_key<C.warps>(best, part);
	if (threadIdx.x == 0)
		simt::atomic_max(a.best, best);
}

DEFINE_VARIANTS(argmax, ARGMAX)
