// math:   (x[i], x[i + D/2]) turned by position * turns[i] 2^-64 turns, exact modulo one turn.
// layout: blocks of grid row y share head y, query heads first, and a thread takes `pairs`
//         neighbouring i of it; for keys copies v.
// bound:  latency: a few kilobytes in one trip to memory; sine and cosine are computed by each head
//         anew.
#include "core/variants.h"
#include "kernels/rope.h"
#include "kernels/rotate.h"
#include "kernels/vec.h"

/* N floats at an address aligned to all of them, or to 16 bytes. */
template <int N>
SIMT_FN void load_run(const float *p, float (&v)[N])
{
	if constexpr (N == 1) {
		v[0] = *p;
	} else if constexpr (N == 2) {
		const float2 both = *reinterpret_cast<const float2 *>(p);
		v[0] = both.x;
		v[1] = both.y;
	} else {
		vec::load<DTYPE_F32>(p, 0, v);
	}
}

/* The 16 bits of each as what a 32-bit store writes. */
template <int Dtype>
SIMT_FN unsigned pack(float low, float high)
{
	if constexpr (Dtype == DTYPE_BF16)
		return simt::pack_bf16(low, high);
	else
		return simt::float_to_half(low) | (unsigned)simt::float_to_half(high) << 16;
}

/* N values as elements i .. of a plain dtype, i a multiple of N. */
template <int Dtype, int N>
SIMT_FN void store_run(void *base, size_t i, const float (&v)[N])
{
	if constexpr (Dtype == DTYPE_F32) {
		float *p = static_cast<float *>(base) + i;
		if constexpr (N == 1)
			*p = v[0];
		else if constexpr (N == 2)
			*reinterpret_cast<float2 *>(p) = make_float2(v[0], v[1]);
		else
			vec::store<Dtype>(p, 0, v);
	} else {
		unsigned short *p = static_cast<unsigned short *>(base) + i;
		if constexpr (N == 1)
			*p = (unsigned short)pack<Dtype>(v[0], 0.0f);
		else if constexpr (N == 2)
			*reinterpret_cast<unsigned *>(p) = pack<Dtype>(v[0], v[1]);
		else
			*reinterpret_cast<uint2 *>(p) =
			        make_uint2(pack<Dtype>(v[0], v[1]), pack<Dtype>(v[2], v[3]));
	}
}

template <int N>
SIMT_FN void load_turns(const unsigned long long *turns, unsigned long long (&v)[N])
{
	if constexpr (N == 1) {
		v[0] = *turns;
	} else {
#pragma unroll
		for (int p = 0; p < N; p += 2) {
			const uint4 raw = simt::load128(turns + p);
			v[p] = raw.x | (unsigned long long)raw.y << 32;
			v[p + 1] = raw.z | (unsigned long long)raw.w << 32;
		}
	}
}

/* Pairs i .. of a head at x: neighbours where q and k are appended, since they come from a product
 * whose rows alternate; halves of the head where they are rotated in place. */
template <bool Append, int Pairs>
SIMT_FN void load_pairs(const float *x, unsigned i, unsigned half, float (&low)[Pairs],
                        float (&high)[Pairs])
{
	if constexpr (Append) {
		float both[2 * Pairs];
		load_run(x + 2 * i, both);
#pragma unroll
		for (int p = 0; p < Pairs; p++) {
			low[p] = both[2 * p];
			high[p] = both[2 * p + 1];
		}
	} else {
		load_run(x + i, low);
		load_run(x + i + half, high);
	}
}

/* At element i of a head, and half a head behind it. */
template <int Dtype, int Pairs>
SIMT_FN void store_halves(void *base, size_t i, unsigned half, const float (&low)[Pairs],
                          const float (&high)[Pairs])
{
	store_run<Dtype>(base, i, low);
	store_run<Dtype>(base, i + half, high);
}

/* Turns the pairs, each by its turns times the position. */
template <int Pairs>
SIMT_FN void turn(const unsigned long long (&turns)[Pairs], int position, float (&low)[Pairs],
                  float (&high)[Pairs])
{
#pragma unroll
	for (int p = 0; p < Pairs; p++) {
		float sine, cosine;
		rotation_angle(turns[p], position, &sine, &cosine);
		const float2 turned = rotate_pair(low[p], high[p], sine, cosine);
		low[p] = turned.x;
		high[p] = turned.y;
	}
}

/* All that is loaded is asked for before any of it is needed. Where the results go is computed for
 * both kinds of heads alike: beside sines and cosines, not behind a branch after them. */
template <rope_case K, rope_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) rope(const rope_args a)
{
	const unsigned dim = (unsigned)a.head_dim, half = dim / 2;
	const unsigned i = (blockIdx.x * (C.warps * simt::kWarp) + threadIdx.x) * C.pairs;
	const bool is_key = blockIdx.y >= (unsigned)a.n_heads;
	const unsigned head = is_key ? blockIdx.y - (unsigned)a.n_heads : blockIdx.y;
	const size_t at = (size_t)head * dim;
	unsigned long long turns[C.pairs];
	float low[C.pairs], high[C.pairs], v_low[C.pairs], v_high[C.pairs];

	simt::grid_launch_dependents();
	load_turns(a.turns + (i < half ? i : 0), turns);
	simt::grid_wait();
	if (i >= half)
		return;
	const int position = *a.position;
	load_pairs<K.append>((is_key ? a.k : a.q) + at, i, half, low, high);
	if (K.append && is_key) {
		load_run(a.v + at + i, v_low);
		load_run(a.v + at + i + half, v_high);
	}

	const unsigned capacity = (unsigned)a.capacity, p = (unsigned)position;
	const bool has_rows = K.append && is_key && !a.newest_only;
	const size_t row = (size_t)(has_rows ? head * capacity + p : head) * dim + i;
	turn(turns, position, low, high);
	if constexpr (!K.append) {
		store_halves<DTYPE_F32>(is_key ? a.k : a.q, row, half, low, high);
	} else if (!is_key) {
		store_halves<DTYPE_F32>(a.q_out, row, half, low, high);
	} else if (p < capacity) {
		store_halves<K.kv>(a.k_cache, row, half, low, high);
		store_halves<K.kv>(a.v_cache, row, half, v_low, v_high);
	}
}

DEFINE_VARIANTS(rope, ROPE)
