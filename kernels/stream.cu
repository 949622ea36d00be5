// math:   sum of all words, or y = x: what memory can do, the ceiling of every other kernel.
// layout: tiles of one 16-byte word per thread, `unroll` times; `blocks` per multiprocessor.
// bound:  memory.
#ifndef WARPSMITH_SPACE
#define WARPSMITH_SPACE // see STREAM_SUBSET in kernels/subsets.h
#endif
#include "core/variants.h"
#include "kernels/stream.h"

/* The tiles that a block reads: first, first + step, ... below end. */
struct stream_tiles {
	unsigned long long first, step, end;
};

template <stream_config C>
SIMT_FN stream_tiles tiles_of_block(unsigned long long n_tiles)
{
	if constexpr (!C.ranges)
		return {blockIdx.x, gridDim.x, n_tiles};
	const unsigned long long share = (n_tiles + gridDim.x - 1) / gridDim.x;
	const unsigned long long first = blockIdx.x * share, end = first + share;
	return {first, 1, end < n_tiles ? end : n_tiles};
}

/* Words i, i + stride ...; zero from n on. */
template <int N>
SIMT_FN void load_words(const uint4 *x, unsigned long long i, int stride, unsigned long long n,
                        uint4 (&words)[N])
{
	if (i + (N - 1) * stride < n) {
#pragma unroll
		for (int u = 0; u < N; u++)
			words[u] = simt::load128_stream(x + i + u * stride);
		return;
	}
#pragma unroll
	for (int u = 0; u < N; u++)
		words[u] = i + u * stride < n ? simt::load128_stream(x + i + u * stride)
		                              : make_uint4(0, 0, 0, 0);
}

SIMT_FN void add_warp(const stream_args &a, unsigned sum)
{
#pragma unroll
	for (int lanes = simt::kWarp / 2; lanes > 0; lanes /= 2)
		sum += simt::shuffle_xor(sum, lanes);
	const unsigned warp = blockIdx.x * (blockDim.x / simt::kWarp) + simt::warp_id();
	if (simt::lane_id() == 0)
		simt::atomic_add(a.sum + (warp & a.sum_mask) * STREAM_SUM_STRIDE, sum);
}

template <stream_case K, stream_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) stream(const stream_args a)
{
	constexpr int threads = C.warps * simt::kWarp;
	constexpr unsigned long long tile = threads * C.unroll;
	const uint4 *x = static_cast<const uint4 *>(a.x);
	uint4 *y = static_cast<uint4 *>(a.y);
	const int me = threadIdx.x;
	simt::grid_launch_dependents();
	simt::grid_wait();

	const stream_tiles tiles = tiles_of_block<C>((a.n + tile - 1) / tile);
	uint4 sums[C.unroll] = {};
	for (unsigned long long t = tiles.first; t < tiles.end; t += tiles.step) {
		const unsigned long long i = t * tile + me;
		uint4 words[C.unroll];
		load_words(x, i, threads, a.n, words);
#pragma unroll
		for (int u = 0; u < C.unroll; u++) {
			if constexpr (K.copy) {
				if (i + u * threads < a.n)
					y[i + u * threads] = words[u];
			} else {
				sums[u].x += words[u].x;
				sums[u].y += words[u].y;
				sums[u].z += words[u].z;
				sums[u].w += words[u].w;
			}
		}
	}
	if constexpr (!K.copy) {
		unsigned sum = 0;
#pragma unroll
		for (int u = 0; u < C.unroll; u++)
			sum += sums[u].x + sums[u].y + sums[u].z + sums[u].w;
		add_warp(a, sum);
	}
}

DEFINE_VARIANTS(stream, STREAM)
