// C++20 and CUDA C++.
/* What the kernels of prompts share: they write rows that a matrix product reads next, as f32 or
 * rounded to bf16. Included by .cu files only. */
#ifndef KERNELS_ROWS_H
#define KERNELS_ROWS_H

#include "kernels/vec.h"

namespace rows
{

/* N floats, a multiple of 4, from element i on, aligned to N elements; by 16 bytes where N allows.
 */
template <int Dtype, int N>
SIMT_FN void store(void *base, size_t i, const float (&v)[N])
{
	if constexpr (Dtype == DTYPE_F32) {
		vec::store<DTYPE_F32>(base, i, v);
	} else if constexpr (N % 8 == 0) {
		uint4 *to = reinterpret_cast<uint4 *>(static_cast<unsigned short *>(base) + i);
#pragma unroll
		for (int j = 0; j < N; j += 8)
			to[j / 8] = make_uint4(simt::pack_bf16(v[j], v[j + 1]),
			                       simt::pack_bf16(v[j + 2], v[j + 3]),
			                       simt::pack_bf16(v[j + 4], v[j + 5]),
			                       simt::pack_bf16(v[j + 6], v[j + 7]));
	} else {
		uint2 *to = reinterpret_cast<uint2 *>(static_cast<unsigned short *>(base) + i);
#pragma unroll
		for (int j = 0; j < N; j += 4)
			to[j / 4] = make_uint2(simt::pack_bf16(v[j], v[j + 1]),
			                       simt::pack_bf16(v[j + 2], v[j + 3]));
	}
}

} // namespace rows

#endif
