// math:   s = x (+ residual); y = w s / sqrt(mean(s^2) + eps), f32 accumulation.
// layout: a row is a chunk of 16 bytes for each thread of a block. Each block adds up the squares
//         of all rows, because none waits for another; block b of n keeps rows b, b + n, ... of x
//         and w in registers, as many as its loads in flight, and makes y of them.
// bound:  latency: a few kilobytes in one trip to memory, and one block-wide sum.
#include "core/variants.h"
#include "kernels/rms_norm.h"
#include "kernels/vec.h"

/* A block's sum goes through shared memory in about as many parts: fewer would need more shuffles,
 * each of which takes as long as to read eight more. */
constexpr int kParts = 8;

/* Asks for rows i, i + stride, ...; those from n on are zeros. */
template <int Dtype, int N, int Chunks>
SIMT_FN void ask(const void *base, int i, int stride, int n, uint4 (&raw)[N][Chunks])
{
#pragma unroll
	for (int u = 0; u < N; u++) {
#pragma unroll
		for (int c = 0; c < Chunks; c++)
			raw[u][c] = make_uint4(0, 0, 0, 0);
		if (i + u * stride < n)
			vec::load_raw<Dtype>(base, i + u * stride, raw[u]);
	}
}

/* One chunk, at an address aligned to 16 bytes. */
template <int Dtype, int Chunk>
SIMT_FN void store_chunk(void *base, int i, const float (&v)[Chunk])
{
	if constexpr (Dtype == DTYPE_BF16)
		*reinterpret_cast<uint4 *>(static_cast<unsigned short *>(base) + i) =
		        make_uint4(simt::pack_bf16(v[0], v[1]), simt::pack_bf16(v[2], v[3]),
		                   simt::pack_bf16(v[4], v[5]), simt::pack_bf16(v[6], v[7]));
	else
		vec::store<Dtype>(base, i, v);
}

/* Rows i, i + stride, ... of x as they have been asked for, or of the sum, which is stored. */
template <rms_norm_case K, int N, int Chunk>
SIMT_FN void take(const rms_norm_args &a, int i, int stride, const uint4 (&x)[N][1],
                  const uint4 (&residual)[N][1], float (&s)[N][Chunk])
{
#pragma unroll
	for (int u = 0; u < N; u++) {
		vec::unpack_all<K.x>(x[u], s[u]);
		if constexpr (K.residual) {
			float r[Chunk];
			vec::unpack_all<K.x>(residual[u], r);
			vec::axpy(s[u], 1.0f, r);
			if (i + u * stride < a.n)
				store_chunk<K.x>(a.sum, i + u * stride, s[u]);
		}
	}
}

/* Adds the squares of rows i, i + stride, ..., N of them. */
template <rms_norm_case K, int N>
SIMT_FN void add_squares(const rms_norm_args &a, int i, int stride, simt::partial (&squares)[N])
{
	uint4 x[N][1], residual[N][1];
	float s[N][vec::kChunk<K.x>];
	ask<K.x>(a.x, i, stride, a.n, x);
	if constexpr (K.residual)
		ask<K.x>(a.residual, i, stride, a.n, residual);
	take<K>(a, i, stride, x, residual, s);
#pragma unroll
	for (int u = 0; u < N; u++)
		simt::dot(squares[u], s[u], s[u]);
}

/* The sum of all threads' v, in all threads. */
template <int Threads>
SIMT_FN float block_sum(float v)
{
	constexpr int most = Threads / kParts > 1 ? Threads / kParts : 1;
	constexpr int width = most < simt::kWarp ? most : simt::kWarp, parts = Threads / width;
	SIMT_SHARED(float[parts], part);
	const float sum = simt::group_sum<width>(v);
	if (threadIdx.x % width == 0)
		part[threadIdx.x / width] = sum;
	simt::sync_block();
	float sums[4] = {};
#pragma unroll
	for (int i = 0; i < parts; i++)
		sums[i % 4] = i < 4 ? part[i] : sums[i % 4] + part[i];
	return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* Row i of y without the help of registers: x is read again, or the sum. */
template <rms_norm_case K>
SIMT_FN void normalise(const rms_norm_args &a, int i, float scale)
{
	float s[vec::kChunk<K.x>], w[vec::kChunk<K.x>];
	vec::load<K.x>(K.residual ? a.sum : a.x, i, s);
	vec::load<DTYPE_F32>(a.w, i, w);
	vec::scale(s, scale);
	vec::multiply(s, w);
	store_chunk<K.x>(a.y, i, s);
}

template <rms_norm_case K, rms_norm_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) rms_norm(const rms_norm_args a)
{
	constexpr int threads = C.warps * simt::kWarp, chunk = vec::kChunk<K.x>;
	constexpr int row = threads * chunk, step = C.blocks * row;
	constexpr int held = (C.unroll + C.blocks - 1) / C.blocks;
	const int first = threadIdx.x * chunk,
	          own = C.blocks > 1 ? blockIdx.x * row + first : first;
	uint4 x[held][1], residual[held][1], raw[held][chunk / 4];
	float s[held][chunk], w[held][chunk];

	simt::grid_launch_dependents();
#pragma unroll
	for (int u = 0; u < held; u++)
		if (own + u * step < a.n)
			simt::prefetch_l2(a.w + own + u * step);
	simt::grid_wait();

	ask<K.x>(a.x, own, step, a.n, x);
	if constexpr (K.residual)
		ask<K.x>(a.residual, own, step, a.n, residual);
	ask<DTYPE_F32>(a.w, own, step, a.n, raw);

	simt::partial squares[C.unroll];
	if constexpr (C.blocks > 1)
		add_squares<K>(a, first, row, squares);
	take<K>(a, own, step, x, residual, s);
	if constexpr (C.blocks == 1)
#pragma unroll
		for (int u = 0; u < held; u++)
			simt::dot(squares[u], s[u], s[u]);
#pragma unroll 1
	for (int next = C.unroll * row; next < a.n; next += C.unroll * row)
		add_squares<K>(a, next + first, row, squares);

	float sum = simt::total(squares[0]);
#pragma unroll
	for (int u = 1; u < C.unroll; u++)
		sum += simt::total(squares[u]);
	const float count = simt::reciprocal_fast((float)a.n);
	const float scale = simt::rsqrt(simt::fma(block_sum<threads>(sum), count, a.eps));

#pragma unroll
	for (int u = 0; u < held; u++) {
		vec::unpack_all<DTYPE_F32>(raw[u], w[u]);
		vec::scale(s[u], scale);
		vec::multiply(s[u], w[u]);
		if (own + u * step < a.n)
			store_chunk<K.x>(a.y, own + u * step, s[u]);
	}
#pragma unroll 1
	for (int i = own + held * step; i < a.n; i += step)
		normalise<K>(a, i, scale);
}

DEFINE_VARIANTS(rms_norm, RMS_NORM)
