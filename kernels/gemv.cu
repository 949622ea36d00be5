// math:   y = epilogue(W x), f32 accumulation; q8_0 blocks are scaled in registers.
// layout: `lanes` neighbours share `rows` consecutive rows, 16 bytes each per step.
// bound:  memory: W is read once. Its first loads are issued before the wait for x.
#include "core/variants.h"
#include "kernels/gemv.h"
#include "kernels/vec.h"

template <gemv_config C>
constexpr int gemv_lanes = C.lanes < simt::kWarp ? C.lanes : simt::kWarp;

/* Elements of a row that a group of lanes covers with one load each. */
template <gemv_case K, gemv_config C>
constexpr int gemv_stride = gemv_lanes<C> *vec::kChunk<K.w>;

/* The weights that one lane has in flight. */
template <gemv_case K, gemv_config C>
struct gemv_weights {
	uint4 raw[C.unroll][C.rows];
	unsigned short scale[K.w == DTYPE_Q8_0 ? C.unroll : 1][C.rows];
};

/* Columns k .., zero from a.k on. Rows beyond the last repeat it; they are never stored. */
template <gemv_case K, gemv_config C>
SIMT_FN void load_weights(const gemv_args &a, int row0, int k, gemv_weights<K, C> &w)
{
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		const int column = k + u * gemv_stride<K, C>;
#pragma unroll
		for (int r = 0; r < C.rows; r++) {
			const int row = row0 + r < a.m ? row0 + r : a.m - 1;
			const size_t i = (size_t)row * a.k + column;
			w.raw[u][r] = make_uint4(0, 0, 0, 0);
			if (column < a.k)
				w.raw[u][r] = C.stream ? simt::load128_stream(vec::at<K.w>(a.w, i))
				                       : simt::load128(vec::at<K.w>(a.w, i));
			if constexpr (K.w == DTYPE_Q8_0)
				w.scale[u][r] = column < a.k ? static_cast<const unsigned short *>(
				                                       a.scale)[i / 32]
				                             : 0;
		}
	}
}

template <gemv_case K, gemv_config C>
SIMT_FN void multiply(const gemv_args &a, int k, const gemv_weights<K, C> &w,
                      simt::partial (&sums)[C.rows])
{
	constexpr int chunk = vec::kChunk<K.w>;
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		const int column = k + u * gemv_stride<K, C>;
		if (column >= a.k)
			break;
		float x[chunk];
		vec::load<K.x>(a.x, column, x);
#pragma unroll
		for (int r = 0; r < C.rows; r++) {
			float weights[chunk];
			vec::unpack<K.w>(w.raw[u][r], weights);
			if constexpr (K.w == DTYPE_Q8_0)
				vec::dot_scaled(sums[r], weights, x,
				                simt::half_to_float(w.scale[u][r]));
			else
				simt::dot(sums[r], weights, x);
		}
	}
}

/* Whether this lane finishes row r of its group: the rows are dealt out to the lanes. */
template <gemv_case K, gemv_config C>
SIMT_FN bool owns_row(const gemv_args &a, int row0, int lane, int r)
{
	return lane == r % gemv_lanes<C> && row0 + r < a.m;
}

template <gemv_case K, gemv_config C>
SIMT_FN void load_addends(const gemv_args &a, int row0, int lane, float (&addend)[C.rows])
{
#pragma unroll
	for (int r = 0; r < C.rows; r++) {
		addend[r] = 0;
		if (!owns_row<K, C>(a, row0, lane, r))
			continue;
		if constexpr (K.epilogue == EPILOGUE_BIAS)
			addend[r] = a.bias[row0 + r];
		if constexpr (K.epilogue == EPILOGUE_RESIDUAL)
			addend[r] = vec::get<K.x>(a.residual, row0 + r);
	}
}

template <gemv_case K, gemv_config C>
SIMT_FN void store_rows(const gemv_args &a, int row0, int lane, const float (&sum)[C.rows],
                        const float (&addend)[C.rows])
{
	constexpr bool swiglu = K.epilogue == EPILOGUE_SWIGLU;
#pragma unroll
	for (int r = 0; r < C.rows; r += swiglu ? 2 : 1) {
		if (!owns_row<K, C>(a, row0, lane, r))
			continue;
		if constexpr (swiglu)
			vec::put<K.x>(a.y, (row0 + r) / 2, vec::silu(sum[r]) * sum[r + 1]);
		else
			vec::put<K.x>(a.y, row0 + r, sum[r] + addend[r]);
	}
}

template <gemv_case K, gemv_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp, C.min_blocks) gemv(const gemv_args a)
{
	constexpr int lanes = gemv_lanes<C>;
	const int lane = threadIdx.x % lanes;
	const int row0 = (int)(blockIdx.x * (C.warps * simt::kWarp) + threadIdx.x) / lanes * C.rows;
	int k = lane * vec::kChunk<K.w>;

	gemv_weights<K, C> w = {};
	load_weights<K, C>(a, row0, k, w);
	simt::grid_launch_dependents();
	simt::grid_wait();

	float addend[C.rows];
	load_addends<K, C>(a, row0, lane, addend);

	simt::partial sums[C.rows];
	while (k < a.k) {
		multiply<K, C>(a, k, w, sums);
		k += C.unroll * gemv_stride<K, C>;
		load_weights<K, C>(a, row0, k, w);
	}

	float sum[C.rows];
#pragma unroll
	for (int r = 0; r < C.rows; r++)
		sum[r] = simt::total(sums[r]);
	simt::group_sum_n<lanes>(sum);
	store_rows<K, C>(a, row0, lane, sum, addend);
}

DEFINE_VARIANTS(gemv, GEMV)
