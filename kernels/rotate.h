// C++20 and CUDA C++.
/* The rotation of RoPE, as rope.cu and the QKV epilogue of gemv.cu apply it. Included by .cu files
 * only. */
#ifndef KERNELS_ROTATE_H
#define KERNELS_ROTATE_H

#include "device/simt.h"

/* Sine and cosine of position * turns 2^-64 turns: the product of integers is exact modulo one
 * turn, taken within 2^-26 turns to -0.5 .. 0.5. */
SIMT_FN void rotation_angle(unsigned long long turns, int position, float *sine, float *cosine)
{
	const unsigned long long phase = turns * (unsigned long long)(long long)position;
	simt::sincos_turns((float)(long long)phase * 5.42101086e-20f /* 2^-64 */, sine, cosine);
}

/* (low, high) turned by the angle. */
SIMT_FN float2 rotate_pair(float low, float high, float sine, float cosine)
{
	return {low * cosine - high * sine, high * cosine + low * sine};
}

#endif
