// math:   s = x (+ residual); y = w s / sqrt(mean(s^2) + eps), f32 accumulation.
// layout: a row is a chunk of 16 bytes for each thread of a block. Each block adds up the squares
//         of all rows, because none waits for another; of rows b, b + n, ... block b of n makes y,
//         from registers as far as its loads in flight go.
// bound:  latency: a few kilobytes in one trip to memory, and one block-wide sum.
#include "core/variants.h"
#include "kernels/rms_norm.h"
#include "kernels/vec.h"

/* A block's sum goes through shared memory in about as many parts: fewer would need more shuffles,
 * each of which takes as long as to read eight more. */
constexpr int kParts = 8;

/* Asks for a chunk, zeros unless it is there. */
template <int Dtype, int Chunks>
SIMT_FN void ask(const void *base, int i, bool is_there, uint4 (&raw)[Chunks])
{
#pragma unroll
	for (int c = 0; c < Chunks; c++)
		raw[c] = make_uint4(0, 0, 0, 0);
	if (is_there)
		vec::load_raw<Dtype>(base, i, raw);
}

/* a, or b if it is to replace it. */
template <int N>
SIMT_FN void replace(float (&a)[N], const float (&b)[N], bool is_to)
{
#pragma unroll
	for (int i = 0; i < N; i++)
		a[i] = is_to ? b[i] : a[i];
}

/* Reads chunks i, i + row, ... and adds their squares; with a residual stores the sums. All loads
 * first. */
template <rms_norm_case K, int N, int Chunk>
SIMT_FN void read_rows(const rms_norm_args &a, int i, int row, simt::partial (&squares)[N],
                       float (&s)[N][Chunk])
{
	uint4 x[N][1], residual[N][1];
#pragma unroll
	for (int u = 0; u < N; u++) {
		ask<K.x>(a.x, i + u * row, i + u * row < a.n, x[u]);
		if constexpr (K.residual)
			ask<K.x>(a.residual, i + u * row, i + u * row < a.n, residual[u]);
	}
#pragma unroll
	for (int u = 0; u < N; u++) {
		vec::unpack_all<K.x>(x[u], s[u]);
		if constexpr (K.residual) {
			float r[Chunk];
			vec::unpack_all<K.x>(residual[u], r);
			vec::axpy(s[u], 1.0f, r);
			if (i + u * row < a.n)
				vec::store<K.x>(a.sum, i + u * row, s[u]);
		}
		simt::dot(squares[u], s[u], s[u]);
	}
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

/* A chunk of y from what is in registers, and from memory: x again, or the sum. */
template <rms_norm_case K, int Chunk>
SIMT_FN void put_y(const rms_norm_args &a, int i, float (&s)[Chunk], const float (&w)[Chunk],
                   float scale)
{
	vec::scale(s, scale);
	vec::multiply(s, w);
	if (i < a.n)
		vec::store<K.x>(a.y, i, s);
}
template <rms_norm_case K>
SIMT_FN void make_y(const rms_norm_args &a, int i, float scale)
{
	float s[vec::kChunk<K.x>], w[vec::kChunk<K.x>];
	vec::load<K.x>(K.residual ? a.sum : a.x, i, s);
	vec::load<DTYPE_F32>(a.w, i, w);
	put_y<K>(a, i, s, w, scale);
}

template <rms_norm_case K, rms_norm_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) rms_norm(const rms_norm_args a)
{
	constexpr int chunk = vec::kChunk<K.x>, row = C.warps * simt::kWarp * chunk;
	constexpr int step = C.blocks * row, held = C.unroll / C.blocks;
	const int block = C.blocks > 1 ? blockIdx.x : 0;
	const int first = threadIdx.x * chunk, own = block * row + first;
	uint4 raw[held][chunk / 4];
	float s[C.unroll][chunk], w[chunk], rest[C.unroll][chunk];
	simt::partial squares[C.unroll];

	simt::grid_launch_dependents();
#pragma unroll
	for (int u = 0; u < held; u++)
		ask<DTYPE_F32>(a.w, own + u * step, own + u * step < a.n, raw[u]);
	simt::grid_wait();

	read_rows<K>(a, first, row, squares, s);
#pragma unroll 1
	for (int next = C.unroll * row; next < a.n; next += C.unroll * row)
		read_rows<K>(a, next + first, row, squares, rest);

	float sum = simt::total(squares[0]);
#pragma unroll
	for (int u = 1; u < C.unroll; u++)
		sum += simt::total(squares[u]);
	sum = block_sum<C.warps * simt::kWarp>(sum);
	const float mean = sum * simt::reciprocal_fast((float)a.n);
	const float scale = simt::rsqrt(mean + a.eps);

#pragma unroll
	for (int u = 0; u < held; u++) {
#pragma unroll
		for (int b = 1; b < C.blocks; b++)
			replace(s[u * C.blocks], s[u * C.blocks + b], b == block);
		vec::unpack_all<DTYPE_F32>(raw[u], w);
		put_y<K>(a, own + u * step, s[u * C.blocks], w, scale);
	}
#pragma unroll 1
	for (int i = own + held * step; i < a.n; i += step)
		make_y<K>(a, i, scale);
}

DEFINE_VARIANTS(rms_norm, RMS_NORM)
