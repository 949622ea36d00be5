// math:   token = next, position = position + 1, history[position] = next.
// layout: one thread.
// bound:  latency.
#include "core/variants.h"
#include "kernels/advance.h"

template <advance_case K, advance_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) advance(const advance_args a)
{
	simt::grid_launch_dependents();
	simt::grid_wait();
	if (threadIdx.x > 0)
		return;
	const int next = *a.next, position = *a.position + 1;
	*a.token = next;
	*a.position = position;
	if (K.history && position >= 0 && position < a.capacity)
		a.history[position] = next;
}

DEFINE_VARIANTS(advance, ADVANCE)
