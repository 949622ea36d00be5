// math:   (x[i], x[i + D/2]) turned by position * turns[i] 2^-64 turns, exact modulo one turn.
// layout: a thread takes `pairs` neighbouring i of a head, query heads first; for keys copies v.
// bound:  latency: a few kilobytes; sine and cosine are computed by each head anew.
#include "core/variants.h"
#include "kernels/rope.h"
#include "kernels/vec.h"

/* Signed turns, -0.5 .. 0.5, within 2^-26. */
SIMT_FN float phase_turns(unsigned long long phase)
{
	return (float)(long long)phase * 5.42101086e-20f; /* 2^-64 */
}

/* Rotates pairs i .. of a head (head_dim floats at x) and stores them by put(element, value). */
template <int Pairs, typename Put>
SIMT_FN void rotate(const float *x, const rope_args &a, int position, int i, Put put)
{
	const int half = a.head_dim / 2;
	float low[Pairs], high[Pairs], sine[Pairs], cosine[Pairs];
#pragma unroll
	for (int p = 0; p < Pairs; p++) {
		low[p] = x[i + p];
		high[p] = x[i + p + half];
		simt::sincos_turns(
		        phase_turns(a.turns[i + p] * (unsigned long long)(long long)position),
		        &sine[p], &cosine[p]);
	}
#pragma unroll
	for (int p = 0; p < Pairs; p++) {
		put(i + p, low[p] * cosine[p] - high[p] * sine[p]);
		put(i + p + half, high[p] * cosine[p] + low[p] * sine[p]);
	}
}

template <rope_case K, rope_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) rope(const rope_args a)
{
	simt::grid_launch_dependents();
	simt::grid_wait();
	const int position = *a.position;
	const int half = a.head_dim / 2, per_head = half / C.pairs;
	const int item = blockIdx.x * (C.warps * simt::kWarp) + threadIdx.x;
	const int head = item / per_head, i = item % per_head * C.pairs;

	if (head < a.n_heads) {
		float *q = a.q + (size_t)head * a.head_dim;
		rotate<C.pairs>(q, a, position, i, [=](int e, float v) { q[e] = v; });
		return;
	}
	const int kv_head = head - a.n_heads;
	if (kv_head >= a.n_kv_heads)
		return;
	float *k = a.k + (size_t)kv_head * a.head_dim;
	if constexpr (!K.append) {
		rotate<C.pairs>(k, a, position, i, [=](int e, float v) { k[e] = v; });
	} else if (position >= 0 && position < a.capacity) {
		const size_t row = ((size_t)kv_head * a.capacity + position) * a.head_dim;
		const float *v = a.v + (size_t)kv_head * a.head_dim;
		rotate<C.pairs>(k, a, position, i, [=](int e, float value) {
			vec::put<K.kv>(a.k_cache, row + e, value);
		});
#pragma unroll
		for (int p = 0; p < C.pairs; p++) {
			vec::put<K.kv>(a.v_cache, row + i + p, v[i + p]);
			vec::put<K.kv>(a.v_cache, row + i + p + half, v[i + p + half]);
		}
	}
}

DEFINE_VARIANTS(rope, ROPE)
