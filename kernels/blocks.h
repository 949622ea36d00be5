// C++20 and CUDA C++.
/* Matrices of any dtype in device layout, 16 bytes of quants at a time: the one place where kernels
 * decode blocks. core/dtype.h describes the planes. Included by .cu files through kernels/vec.h. */
#ifndef KERNELS_BLOCKS_H
#define KERNELS_BLOCKS_H

#include "core/dtype.h"
#include "device/simt.h"

namespace vec
{

template <int Dtype>
constexpr bool kQuantised = dtype_layout_of(Dtype).block > 1;

/* Elements in 16 bytes (of quants). */
template <int Dtype>
constexpr int kChunk = dtype_chunk(Dtype);

/* Words of high bits of a chunk. */
template <int Dtype>
constexpr int kHigh =
        Dtype == DTYPE_Q6_K ? 2 : Dtype == DTYPE_Q5_0 || Dtype == DTYPE_Q5_1 || Dtype == DTYPE_Q5_K;

/* Whether a block of 256 has 16 bytes of scales and minima. */
template <int Dtype>
constexpr bool kSuper = Dtype == DTYPE_Q4_K || Dtype == DTYPE_Q5_K;

/* Whether a chunk is two groups of 16 with scales of their own. */
template <int Dtype>
constexpr bool kTwoScales = Dtype == DTYPE_Q6_K;

/* The quant that stands for 0 where there is no minimum. */
template <int Dtype>
constexpr int kZero = Dtype == DTYPE_Q4_0   ? 8
                      : Dtype == DTYPE_Q5_0 ? 16
                      : Dtype == DTYPE_Q6_K ? 32
                                            : 0;

/* Planes of a matrix; those that a dtype lacks are not used. */
struct planes {
	const unsigned char *quants, *high, *scales, *d;
};

/* Of a matrix of `count` elements, whose second plane begins at `second`. */
template <int Dtype>
SIMT_FN planes planes_of(const void *w, const void *second, size_t count)
{
	constexpr dtype_layout l = dtype_layout_of(Dtype);
	planes p = {};
	p.quants = static_cast<const unsigned char *>(w);
	p.high = p.scales = static_cast<const unsigned char *>(second);
	if constexpr (kHigh < Dtype >> 0)
		p.scales = p.high + count / l.block * l.plane[1];
	if constexpr (kTwoScales<Dtype>)
		p.d = p.scales + count / l.block * l.plane[2];
	return p;
}

/* What decoding a chunk takes beside its 16 bytes, as loaded. */
struct trim {
	unsigned high[2];
	unsigned scale, d;
	uint4 super;
};

/* For the chunk of element i, a multiple of kChunk. */
template <int Dtype>
SIMT_FN trim load_trim(const planes &p, unsigned i)
{
	trim t = {};
	const unsigned group = i / 32;
	if constexpr (kHigh<Dtype> == 1)
		t.high[0] = reinterpret_cast<const unsigned *>(p.high)[group];
	if constexpr (kHigh<Dtype> == 2) {
		const uint2 high = reinterpret_cast<const uint2 *>(p.high)[group];
		t.high[0] = high.x;
		t.high[1] = high.y;
	}
	if constexpr (kSuper<Dtype>)
		t.super = simt::load128(p.scales + (size_t)(i / 256) * 16);
	else if constexpr (Dtype == DTYPE_Q4_1 || Dtype == DTYPE_Q5_1)
		t.scale = reinterpret_cast<const unsigned *>(p.scales)[group];
	else if constexpr (kQuantised<Dtype>)
		t.scale = reinterpret_cast<const unsigned short *>(p.scales)[group];
	if constexpr (kTwoScales<Dtype>)
		t.d = reinterpret_cast<const unsigned short *>(p.d)[i / 256];
	return t;
}

/* value = scale[half] q + offset[half] for quants as in halves(). q8_0 has but one half. */
struct affine {
	float scale[2], offset[2];
};

/* Of the chunk of element i. */
template <int Dtype>
SIMT_FN affine scales(const trim &t, size_t i)
{
	affine a = {};
	if constexpr (kSuper<Dtype>) {
		const int group = (int)(i / 32 % 8);
		const unsigned lower = (group < 4 ? t.super.y : t.super.z) >> group % 4 * 8;
		const unsigned upper = t.super.w >> group * 4;
		a.scale[0] = simt::half_lo(t.super.x) * (float)((lower & 15) | (upper & 3) << 4);
		a.offset[0] = -(simt::half_hi(t.super.x) *
		                (float)((lower >> 4 & 15) | (upper << 2 & 48)));
	} else if constexpr (kTwoScales<Dtype>) {
		const float d = simt::half_to_float(t.d);
		a.scale[0] = d * (float)(signed char)t.scale;
		a.scale[1] = d * (float)(signed char)(t.scale >> 8);
		a.offset[0] = -kZero<Dtype> * a.scale[0];
		a.offset[1] = -kZero<Dtype> * a.scale[1];
		return a;
	} else {
		a.scale[0] = simt::half_lo(t.scale);
		a.offset[0] = Dtype == DTYPE_Q4_1 || Dtype == DTYPE_Q5_1
		                      ? simt::half_hi(t.scale)
		                      : -kZero<Dtype> * a.scale[0];
	}
	a.scale[1] = a.scale[0];
	a.offset[1] = a.offset[0];
	return a;
}

/* The quants of half a chunk, elements 0-15 or 16-31, as bytes in order: 0 to 15, 31 or 63. */
template <int Dtype>
SIMT_FN uint4 half_of(uint4 raw, const trim &t, int half)
{
	unsigned word[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
	for (int w = 0; w < 4; w++) {
		word[w] = word[w] >> 4 * half & 0x0f0f0f0fu;
		if constexpr (kHigh<Dtype> == 1)
			word[w] |= (half ? t.high[0] >> w : t.high[0] << (4 - w)) & 0x10101010u;
		if constexpr (kHigh<Dtype> == 2)
			word[w] |= (w < 2 ? t.high[half] << (4 - 2 * w)
			                  : t.high[half] >> (2 * w - 4)) &
			           0x30303030u;
	}
	return make_uint4(word[0], word[1], word[2], word[3]);
}

/* 16 bytes of a plain dtype, or the quants of q8_0. */
template <int Dtype>
SIMT_FN void unpack(uint4 raw, float (&out)[kChunk<Dtype>])
{
	if constexpr (Dtype == DTYPE_BF16)
		simt::unpack_bf16(raw, out);
	else if constexpr (Dtype == DTYPE_F16)
		simt::unpack_half(raw, out);
	else if constexpr (Dtype == DTYPE_Q8_0)
		simt::unpack_int8(raw, out);
	else
		simt::unpack_float(raw, out);
}

/* The chunk of element i as floats, exact but for one rounding where there is a minimum. */
template <int Dtype>
SIMT_FN void decode(uint4 raw, const trim &t, size_t i, float (&out)[kChunk<Dtype>])
{
	if constexpr (!kQuantised<Dtype>) {
		unpack<Dtype>(raw, out);
	} else {
		const affine a = scales<Dtype>(t, i);
#pragma unroll
		for (int half = 0; half < kChunk<Dtype> / 16; half++) {
			float q[16];
			simt::unpack_int8(Dtype == DTYPE_Q8_0 ? raw : half_of<Dtype>(raw, t, half),
			                  q);
#pragma unroll
			for (int j = 0; j < 16; j++)
				out[16 * half + j] = simt::fma(a.scale[half], q[j], a.offset[half]);
		}
	}
}

/* sum += w x for one half of a chunk of quants; x_sum is the sum of x. */
template <int Dtype>
SIMT_FN void dot_half(simt::partial &sum, uint4 raw, const trim &t, const affine &a, int half,
                      const float (&x)[16], const simt::partial &x_sum)
{
	float q[16];
	simt::partial part;
	unpack<DTYPE_Q8_0>(Dtype == DTYPE_Q8_0 ? raw : half_of<Dtype>(raw, t, half), q);
	simt::dot(part, q, x);
	sum.v += a.scale[half] * part.v;
	if constexpr (Dtype != DTYPE_Q8_0)
		sum.v += a.offset[half] * x_sum.v;
}

} // namespace vec

#endif
