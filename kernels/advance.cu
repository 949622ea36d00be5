// math:   token = argmax, position = position + 1, history[position] = token; the key is 0 again.
// layout: one thread.
// bound:  latency.
#include "core/variants.h"
#include "kernels/advance.h"
#include "kernels/argmax_key.h"

template <advance_case K, advance_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) advance(const advance_args a)
{
	simt::grid_launch_dependents();
	simt::grid_wait();
	if (threadIdx.x > 0)
		return;
	const int next = argmax_index(*a.best), position = *a.position + 1;
	*a.best = 0;
	*a.token = next;
	*a.position = position;
	if (K.history && position >= 0 && position < a.capacity)
		a.history[position] = next;
}

DEFINE_VARIANTS(advance, ADVANCE)
