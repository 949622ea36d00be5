// C++20 and CUDA C++.
/* The rotation of RoPE, as rope.cu and the QKV epilogue of gemv.cu apply it. Included by .cu files
 * only. */
#ifndef KERNELS_ROTATE_H
#define KERNELS_ROTATE_H

#include "device/simt.h"

/* Sine and cosine of phase 2^-64 turns, each within 2 roundings of 1 (2^-24). The nearest quarter
 * of a turn is taken off the integer, which leaves an eighth to either side for two polynomials of
 * half turns.
 */
SIMT_FN void sincos_phase(unsigned long long phase, float *sine, float *cosine)
{
	const unsigned turns = (unsigned)(phase >> 32), quarter = (turns + 0x20000000u) >> 30;
	const float x = (float)(int)(turns - (quarter << 30)) * 4.65661287e-10f /* 2^-31 */;
	const float z = x * x;
	float s = simt::fma(z, -0.58907510f, 2.54976696f);
	float c = simt::fma(z, 0.23212541f, -1.33513781f);
	s = simt::fma(z, s, -5.16770782f);
	c = simt::fma(z, c, 4.05871057f);
	s = simt::fma(z, s, 3.14159264f) * x;
	c = simt::fma(z, simt::fma(z, c, -4.93480220f), 1.0f);
	const float odd = quarter & 1 ? c : s, even = quarter & 1 ? s : c;
	*sine = quarter & 2 ? -odd : odd;
	*cosine = (quarter + 1) & 2 ? -even : even;
}

/* Of position * turns 2^-64 turns: the product of integers is exact modulo one turn. */
SIMT_FN void rotation_angle(unsigned long long turns, int position, float *sine, float *cosine)
{
	sincos_phase(turns * (unsigned long long)(long long)position, sine, cosine);
}

/* (low, high) turned by the angle. */
SIMT_FN float2 rotate_pair(float low, float high, float sine, float cosine)
{
	return {low * cosine - high * sine, high * cosine + low * sine};
}

#endif
