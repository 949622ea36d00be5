// math:   + bias; (x[2 i], x[2 i + 1]) of query and key heads turned by position * turns[i].
// layout: a block per token; thread i takes pairs i, i + threads, ... of all heads.
// bound:  memory: each element is read and written once.
#include "core/variants.h"
#include "kernels/rope_rows.h"
#include "kernels/rotate.h"
#include "kernels/vec.h"

template <rope_rows_case K, rope_rows_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) rope_rows(const rope_rows_args a)
{
	const int half = a.head_dim / 2, heads = a.n_heads + 2 * a.n_kv_heads;
	const int token = blockIdx.x, position = a.position + token;
	const float *x = a.qkv + (size_t)token * heads * a.head_dim;
	float *q = a.q + (size_t)token * a.n_heads * a.head_dim;
	simt::grid_launch_dependents();
	simt::grid_wait();

	for (int item = threadIdx.x; item < heads * half; item += C.warps * simt::kWarp) {
		const int head = item / half, i = item % half;
		const float low = x[2 * item] + (a.bias ? a.bias[2 * item] : 0.0f);
		const float high = x[2 * item + 1] + (a.bias ? a.bias[2 * item + 1] : 0.0f);
		const int kv_head = (head - a.n_heads) % a.n_kv_heads;
		const size_t row = ((size_t)kv_head * a.capacity + a.row + token) * a.head_dim;
		if (head >= a.n_heads + a.n_kv_heads) {
			vec::put<K.kv>(a.v_cache, row + 2 * i, low);
			vec::put<K.kv>(a.v_cache, row + 2 * i + 1, high);
			continue;
		}
		float sine, cosine;
		rotation_angle(a.turns[i], position, &sine, &cosine);
		const float2 turned = rotate_pair(low, high, sine, cosine);
		if (head < a.n_heads) {
			q[head * a.head_dim + i] = turned.x;
			q[head * a.head_dim + i + half] = turned.y;
		} else {
			vec::put<K.kv>(a.k_cache, row + i, turned.x);
			vec::put<K.kv>(a.k_cache, row + i + half, turned.y);
		}
	}
}

DEFINE_DEFAULTS(rope_rows, ROPE_ROWS)
