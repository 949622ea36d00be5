// math:   y[i] = silu(x[2 i]) x[2 i + 1] of each row.
// layout: a block per row; thread i takes elements i, i + threads, ...
// bound:  memory: x is read and y written once.
#include "core/variants.h"
#include "kernels/swiglu_rows.h"
#include "kernels/vec.h"

template <swiglu_rows_case K, swiglu_rows_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) swiglu_rows(const swiglu_rows_args a)
{
	const float *x = a.x + (size_t)blockIdx.x * 2 * a.width;
	simt::grid_launch_dependents();
	simt::grid_wait();
	for (int i = threadIdx.x; i < a.y_stride; i += C.warps * simt::kWarp) {
		const float y = i < a.width ? vec::silu(x[2 * i]) * x[2 * i + 1] : 0.0f;
		vec::put<K.y>(a.y, (size_t)blockIdx.x * a.y_stride + i, y);
	}
}

DEFINE_DEFAULTS(swiglu_rows, SWIGLU_ROWS)
