// math:   (x[i], x[i + D/2]) turned by position * turns[i] 2^-64 turns, exact modulo one turn.
// layout: a thread takes `pairs` neighbouring i of a head, query heads first; for keys copies v.
// bound:  latency: a few kilobytes; sine and cosine are computed by each head anew.
#include "core/variants.h"
#include "kernels/rope.h"
#include "kernels/rotate.h"
#include "kernels/vec.h"

/* Rotates pairs i .. of a head at x, whose halves are `stride` apart and whose pairs are `step`
 * apart, and stores them by put(element, value). */
template <int Pairs, typename Put>
SIMT_FN void rotate(const float *x, int step, int stride, const rope_args &a, int position, int i,
                    Put put)
{
	float low[Pairs], high[Pairs], sine[Pairs], cosine[Pairs];
#pragma unroll
	for (int p = 0; p < Pairs; p++) {
		low[p] = x[step * (i + p)];
		high[p] = x[step * (i + p) + stride];
		rotation_angle(a.turns[i + p], position, &sine[p], &cosine[p]);
	}
#pragma unroll
	for (int p = 0; p < Pairs; p++) {
		const float2 turned = rotate_pair(low[p], high[p], sine[p], cosine[p]);
		put(i + p, turned.x);
		put(i + p + a.head_dim / 2, turned.y);
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

	/* appended, they come from a product whose rows alternate; the others are rotated in place
	 */
	const int step = K.append ? 2 : 1, stride = K.append ? 1 : half;
	if (head < a.n_heads) {
		const size_t at = (size_t)head * a.head_dim;
		float *out = (K.append ? a.q_out : a.q) + at;
		rotate<C.pairs>(a.q + at, step, stride, a, position, i,
		                [=](int e, float v) { out[e] = v; });
		return;
	}
	const int kv_head = head - a.n_heads;
	if (kv_head >= a.n_kv_heads)
		return;
	float *k = a.k + (size_t)kv_head * a.head_dim;
	if constexpr (!K.append) {
		rotate<C.pairs>(k, step, stride, a, position, i, [=](int e, float v) { k[e] = v; });
	} else if (position >= 0 && position < a.capacity) {
		const size_t row =
		        (a.newest_only ? kv_head : (size_t)kv_head * a.capacity + position) *
		        a.head_dim;
		const float *v = a.v + (size_t)kv_head * a.head_dim;
		rotate<C.pairs>(k, step, stride, a, position, i, [=](int e, float value) {
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
