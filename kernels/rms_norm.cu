// math:   s = x (+ residual); y = w s / sqrt(mean(s^2) + eps), f32 accumulation.
// layout: one block; thread i takes chunks of 16 bytes i, i + threads, ...
// bound:  latency: a few kilobytes, two passes and one block-wide sum.
#include "core/variants.h"
#include "kernels/rms_norm.h"
#include "kernels/vec.h"

/* Adds this thread's squares of chunks i, i + stride, ..., all loads first; with a residual, stores
 * the sum. */
template <rms_norm_case K, rms_norm_config C>
SIMT_FN void add_squares(const rms_norm_args &a, int i, int stride, simt::partial &squares)
{
	constexpr int chunk = vec::kChunk<K.x>;
	float s[C.unroll][chunk], residual[C.unroll][chunk];
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		if (i + u * stride >= a.n)
			break;
		vec::load<K.x>(a.x, i + u * stride, s[u]);
		if constexpr (K.residual)
			vec::load<K.x>(a.residual, i + u * stride, residual[u]);
	}
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		if (i + u * stride >= a.n)
			break;
		if constexpr (K.residual) {
			vec::axpy(s[u], 1.0f, residual[u]);
			vec::store<K.x>(a.sum, i + u * stride, s[u]);
		}
		simt::dot(squares, s[u], s[u]);
	}
}

/* The second pass reads again what this thread read (or stored) in the first. */
template <rms_norm_case K, rms_norm_config C>
SIMT_FN void normalise(const rms_norm_args &a, int i, int stride, float scale)
{
	constexpr int chunk = vec::kChunk<K.x>;
	float s[C.unroll][chunk], w[C.unroll][chunk];
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		if (i + u * stride >= a.n)
			break;
		vec::load<K.x>(K.residual ? a.sum : a.x, i + u * stride, s[u]);
		vec::load<DTYPE_F32>(a.w, i + u * stride, w[u]);
	}
#pragma unroll
	for (int u = 0; u < C.unroll; u++) {
		if (i + u * stride >= a.n)
			break;
		vec::scale(s[u], scale);
		vec::multiply(s[u], w[u]);
		vec::store<K.x>(a.y, i + u * stride, s[u]);
	}
}

template <rms_norm_case K, rms_norm_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) rms_norm(const rms_norm_args a)
{
	SIMT_SHARED(float[C.warps], part);
	constexpr int threads = C.warps * simt::kWarp, chunk = vec::kChunk<K.x>;
	constexpr int stride = threads * chunk;
	const int first = threadIdx.x * chunk;

	simt::grid_launch_dependents();
	for (int i = first; i < a.n; i += stride)
		simt::prefetch_l2(a.w + i);
	simt::grid_wait();

	simt::partial squares;
	for (int i = first; i < a.n; i += C.unroll * stride)
		add_squares<K, C>(a, i, stride, squares);

	const float sum = simt::warp_sum(simt::total(squares));
	if (simt::lane_id() == 0)
		part[simt::warp_id()] = sum;
	simt::sync_block();
	float total = 0;
#pragma unroll
	for (int i = 0; i < C.warps; i++)
		total += part[i];
	const float scale = simt::rsqrt(total / a.n + a.eps);

	for (int i = first; i < a.n; i += C.unroll * stride)
		normalise<K, C>(a, i, stride, scale);
}

DEFINE_VARIANTS(rms_norm, RMS_NORM)
