// math:   ns[i], cycles[i] = now, of multiprocessor i: two of them tell its true clock in between.
// layout: a thread per block, a block per multiprocessor.
// bound:  latency; with nothing to mark, that of a launch.
#include "core/variants.h"
#include "kernels/mark.h"

template <mark_case K, mark_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) mark(const mark_args a)
{
	simt::grid_launch_dependents();
	simt::grid_wait();
	const unsigned sm = simt::sm_id();
	if (threadIdx.x > 0 || sm >= a.n)
		return;
	const unsigned long long start = simt::time_ns();
	unsigned long long before = start, now = simt::time_ns();
	while (now - start < a.delay_ns || now == before) {
		before = now;
		now = simt::time_ns();
	}
	if constexpr (K.clock)
		a.cycles[sm] = simt::clock_cycles();
	a.ns[sm] = now;
}

DEFINE_VARIANTS(mark, MARK)
