// math:   y = x w^T, f32 accumulation; where there is cuBLAS it does this instead.
// layout: a warp has `rows` rows of w and `tokens` rows of x, whose columns its lanes share.
// bound:  caches: each 16 bytes are used for `rows` or `tokens` sums.
#include "core/variants.h"
#include "kernels/gemm.h"
#include "kernels/vec.h"

/* The sums of one warp over the columns that a lane takes; rows beyond the end are the last one. */
template <gemm_case K, gemm_config C>
SIMT_FN void gemm_sums(const gemm_args &a, int row, int token,
                       simt::partial (&sum)[C.rows][C.tokens])
{
	constexpr int chunk = 8;
	for (int i = simt::lane_id() * chunk; i < a.k; i += simt::kWarp * chunk) {
		float x[C.tokens][chunk];
#pragma unroll
		for (int t = 0; t < C.tokens; t++)
			vec::load<K.x>(a.x,
			               (size_t)(token + t < a.n ? token + t : a.n - 1) * a.k + i,
			               x[t]);
#pragma unroll
		for (int r = 0; r < C.rows; r++) {
			float w[chunk];
			vec::load<K.x>(a.w, (size_t)(row + r < a.m ? row + r : a.m - 1) * a.k + i,
			               w);
#pragma unroll
			for (int t = 0; t < C.tokens; t++)
				simt::dot(sum[r][t], w, x[t]);
		}
	}
}

template <gemm_case K, gemm_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) gemm(const gemm_args a)
{
	const int row = (blockIdx.x * C.warps + simt::warp_id()) * C.rows;
	const int token = blockIdx.y * C.tokens;
	simt::partial sum[C.rows][C.tokens];
	simt::grid_launch_dependents();
	simt::grid_wait();
	if (row >= a.m)
		return;
	gemm_sums<K, C>(a, row, token, sum);

	float total[C.rows * C.tokens];
#pragma unroll
	for (int i = 0; i < C.rows * C.tokens; i++)
		total[i] = simt::total(sum[i / C.tokens][i % C.tokens]);
	simt::group_sum_n<simt::kWarp>(total);
#pragma unroll
	for (int i = 0; i < C.rows * C.tokens; i++) {
		const int r = row + i / C.tokens, t = token + i % C.tokens;
		if (simt::lane_id() != i % simt::kWarp || r >= a.m || t >= a.n)
			continue;
		float *y = a.y + (size_t)t * a.y_stride + r;
		*y = K.add ? *y + total[i] : total[i];
	}
}

DEFINE_DEFAULTS(gemm, GEMM)
