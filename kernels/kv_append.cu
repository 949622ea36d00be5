// math:   d = max |x| / 127, q = round(x / d), for each 32 elements of new keys and values.
// layout: a thread has 32 neighbouring elements: keys, then values.
// bound:  latency in a decode step, memory with the rows of a prompt.
#include "core/variants.h"
#include "kernels/kv_append.h"
#include "kernels/vec.h"

enum { BLOCK = dtype_layout_of(DTYPE_Q8_0).block };

/* Four quants in a word. */
SIMT_FN unsigned quantise4(const float *x, float inverse)
{
	unsigned q[4];
#pragma unroll
	for (int i = 0; i < 4; i++)
		q[i] = vec::rounded_bits(x[i], inverse);
	return simt::gather_bytes<0>(q[0], q[1], q[2], q[3]);
}

/* Elements i .. i + 31 of a cache of `count`. */
SIMT_FN void store_block(void *cache, size_t count, size_t i, const float (&x)[BLOCK])
{
	unsigned char *quants = static_cast<unsigned char *>(cache);
	const float largest = vec::largest_magnitude(x),
	            inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
	float none = 0; /* what is no number stays none */
#pragma unroll
	for (int e = 0; e < BLOCK; e++)
		none += 0.0f * x[e];
#pragma unroll
	for (int e = 0; e < BLOCK; e += 16)
		*reinterpret_cast<uint4 *>(quants + i + e) =
		        make_uint4(quantise4(x + e, inverse), quantise4(x + e + 4, inverse),
		                   quantise4(x + e + 8, inverse), quantise4(x + e + 12, inverse));
	reinterpret_cast<unsigned short *>(quants + count)[i / BLOCK] =
	        simt::float_to_half(largest * (1.0f / 127) + none);
}

template <kv_append_case K, kv_append_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) kv_append(const kv_append_args a)
{
	simt::grid_launch_dependents();
	simt::grid_wait();
	const unsigned per_row = a.head_dim / BLOCK, per_cache = a.n_kv_heads * a.n * per_row;
	const unsigned item = blockIdx.x * (C.warps * simt::kWarp) + threadIdx.x;
	if (item >= 2 * per_cache)
		return;
	const bool is_value = item >= per_cache;
	const unsigned block = is_value ? item - per_cache : item;
	const unsigned row = block / per_row, head = row / a.n;
	const int at = a.row + (int)(row % a.n) + (a.position ? *a.position : 0);
	if (at < 0 || at >= a.capacity)
		return;
	const size_t count = (size_t)a.n_kv_heads * a.capacity * a.head_dim;
	const size_t to = ((size_t)head * a.capacity + at) * a.head_dim + block % per_row * BLOCK;
	float x[BLOCK];
	vec::load<DTYPE_F32>(is_value ? a.v : a.k, (size_t)block * BLOCK, x);
	store_block(is_value ? a.v_cache : a.k_cache, count, to, x);
}

DEFINE_DEFAULTS(kv_append, KV_APPEND)
