// C++20 and CUDA C++.
/* Vectors of floats in registers, and 16 bytes of plain dtypes as floats; quantised ones are
 * decoded in kernels/blocks.h. Included by .cu files only. */
#ifndef KERNELS_VEC_H
#define KERNELS_VEC_H

#include "kernels/blocks.h"

namespace vec
{

/* Bytes from one chunk to the next are always 16, so element i (a multiple of kChunk) is at the
 * place below. 32-bit indices are cheaper where they suffice. */
template <int Dtype, typename Index>
SIMT_FN const void *at(const void *base, Index i)
{
	return static_cast<const unsigned char *>(base) + (size_t)(i / kChunk<Dtype>)*16;
}

/* N chunks of a plain dtype from element i on, a multiple of kChunk, and what they hold. */
template <int Dtype, int N>
SIMT_FN void load_raw(const void *base, size_t i, uint4 (&raw)[N])
{
#pragma unroll
	for (int c = 0; c < N; c++)
		raw[c] = simt::load128(at<Dtype>(base, i + c * kChunk<Dtype>));
}
template <int Dtype, int N, int Floats>
SIMT_FN void unpack_all(const uint4 (&raw)[N], float (&out)[Floats])
{
	constexpr int chunk = kChunk<Dtype>;
	static_assert(!kQuantised<Dtype> && Floats == N * chunk);
#pragma unroll
	for (int c = 0; c < N; c++)
		unpack<Dtype>(raw[c], reinterpret_cast<float(&)[chunk]>(out[c * chunk]));
}

/* Elements i .. i + N - 1. */
template <int Dtype, int N>
SIMT_FN void load(const void *base, size_t i, float (&out)[N])
{
	uint4 raw[N / kChunk<Dtype>];
	load_raw<Dtype>(base, i, raw);
	unpack_all<Dtype>(raw, out);
}

/* One element of a plain dtype. */
template <int Dtype>
SIMT_FN float get(const void *base, size_t i)
{
	if constexpr (Dtype == DTYPE_F32)
		return static_cast<const float *>(base)[i];
	const unsigned short bits = static_cast<const unsigned short *>(base)[i];
	return Dtype == DTYPE_F16 ? simt::half_to_float(bits) : simt::bf16_to_float(bits);
}

template <int Dtype>
SIMT_FN void put(void *base, size_t i, float v)
{
	static_assert(!kQuantised<Dtype>);
	if constexpr (Dtype == DTYPE_F32)
		static_cast<float *>(base)[i] = v;
	else
		static_cast<unsigned short *>(base)[i] =
		        Dtype == DTYPE_F16 ? simt::float_to_half(v) : simt::float_to_bf16(v);
}

/* sum += scale a b, for a block of quants. */
template <int N>
SIMT_FN void dot_scaled(simt::partial &sum, const float (&a)[N], const float (&b)[N], float scale)
{
	simt::partial block;
	simt::dot(block, a, b);
	sum.v += scale * block.v;
}

/* Four floats at an address aligned to 16 bytes. */
SIMT_FN void put4(float *p, float4 v)
{
	*reinterpret_cast<float4 *>(p) = v;
}

/* N floats, a multiple of 4, f32 or rounded to bf16, from element i on, a multiple of N; by 16
 * bytes where N allows. */
template <int Dtype, int N>
SIMT_FN void store(void *base, size_t i, const float (&v)[N])
{
	static_assert(Dtype == DTYPE_F32 || Dtype == DTYPE_BF16);
	unsigned short *halves = static_cast<unsigned short *>(base) + i;
	if constexpr (Dtype == DTYPE_F32) {
#pragma unroll
		for (int j = 0; j < N; j += 4)
			put4(static_cast<float *>(base) + i + j,
			     {v[j], v[j + 1], v[j + 2], v[j + 3]});
	} else if constexpr (N % 8 == 0) {
#pragma unroll
		for (int j = 0; j < N; j += 8)
			*reinterpret_cast<uint4 *>(halves + j) =
			        make_uint4(simt::pack_bf16(v[j], v[j + 1]),
			                   simt::pack_bf16(v[j + 2], v[j + 3]),
			                   simt::pack_bf16(v[j + 4], v[j + 5]),
			                   simt::pack_bf16(v[j + 6], v[j + 7]));
	} else {
#pragma unroll
		for (int j = 0; j < N; j += 4)
			*reinterpret_cast<uint2 *>(halves + j) =
			        make_uint2(simt::pack_bf16(v[j], v[j + 1]),
			                   simt::pack_bf16(v[j + 2], v[j + 3]));
	}
}

template <int N>
SIMT_FN float largest_magnitude(const float (&v)[N])
{
	float largest = 0;
#pragma unroll
	for (int i = 0; i < N; i++)
		largest = simt::max(largest, v[i] < 0 ? -v[i] : v[i]);
	return largest;
}

/* v * factor to the nearest integer, in the low bits: 1.5 * 2^23 leaves no room for a fraction. */
SIMT_FN unsigned rounded_bits(float v, float factor)
{
	return simt::float_to_bits(simt::fma(v, factor, 12582912.0f));
}

/* Written as loops over a small array that both kinds of compiler keep in registers. */
template <int N>
SIMT_FN void scale(float (&v)[N], float factor)
{
#pragma unroll
	for (int i = 0; i < N; i++)
		v[i] *= factor;
}

/* y += factor x */
template <int N>
SIMT_FN void axpy(float (&y)[N], float factor, const float (&x)[N])
{
#pragma unroll
	for (int i = 0; i < N; i++)
		y[i] = simt::fma(factor, x[i], y[i]);
}

/* y *= x */
template <int N>
SIMT_FN void multiply(float (&y)[N], const float (&x)[N])
{
#pragma unroll
	for (int i = 0; i < N; i++)
		y[i] *= x[i];
}

template <int N>
SIMT_FN void fill(float (&y)[N], float v)
{
#pragma unroll
	for (int i = 0; i < N; i++)
		y[i] = v;
}

/* v / (1 + e^-v) */
SIMT_FN float silu(float v)
{
	return v * simt::reciprocal_fast(1.0f + simt::exp2_fast(-1.44269504f * v));
}

} // namespace vec

#endif
