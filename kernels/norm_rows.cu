// math:   y = w x / sqrt(mean(x^2) + eps) of each row, f32 accumulation.
// layout: a block per row; thread i takes chunks of 8 elements i, i + threads, ...
// bound:  memory: x is read once, the second time from cache, and y written once.
#include "core/variants.h"
#include "kernels/norm_rows.h"
#include "kernels/vec.h"

template <norm_rows_case K, norm_rows_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) norm_rows(const norm_rows_args a)
{
	SIMT_SHARED(float[C.warps], part);
	constexpr int chunk = 8, stride = C.warps * simt::kWarp * chunk;
	const size_t row = (size_t)blockIdx.x * a.k;
	const int first = threadIdx.x * chunk;
	simt::grid_launch_dependents();
	simt::grid_wait();

	simt::partial squares;
	for (int i = first; i < a.k; i += stride) {
		float x[chunk];
		vec::load<DTYPE_F32>(a.x, row + i, x);
		simt::dot(squares, x, x);
	}
	const float sum = simt::warp_sum(simt::total(squares));
	if (simt::lane_id() == 0)
		part[simt::warp_id()] = sum;
	simt::sync_block();
	float total = 0;
#pragma unroll
	for (int i = 0; i < C.warps; i++)
		total += part[i];
	const float scale = simt::rsqrt(total / a.n_norm + a.eps);

	for (int i = first; i < a.k; i += stride) {
		float x[chunk], w[chunk];
		vec::load<DTYPE_F32>(a.x, row + i, x);
		vec::load<DTYPE_F32>(a.w, i, w);
		vec::scale(x, scale);
		vec::multiply(x, w);
		vec::store<K.y>(a.y, row + i, x);
	}
}

DEFINE_DEFAULTS(norm_rows, NORM_ROWS)
