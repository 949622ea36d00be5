/* Element types of tensors. The values are those of GGUF files (ggml_type), so a file's type needs
 * no map. Readable by C, C++, nvcc and NVRTC.
 *
 * File layout: a quantised row is a sequence of blocks as ggml writes them. With quants q and f16
 * d, m an element is
 *	q4_0        d (q - 8)        q5_0  d (q - 16)        q8_0  d q
 *	q4_1, q5_1  d q + m
 *	q4_k, q5_k  d s q - m t      with 6-bit s and t for each 32 elements
 *	q6_k        d s (q - 32)     with an int8 s for each 16
 *
 * Device layout: a matrix is stored as planes, one behind the other, each with the blocks in
 * row-major order, so that 16-byte loads are aligned; in all as many bytes as in the file. A plane
 * is aligned to 16 bytes or to what a block has in it. Plain types are one plane, as in the file.
 *	quants  q8_0: an int8 per element. Else 16 bytes hold 32 consecutive elements: byte i has
 *	        the lower bits of element i in its low half, those of element 16 + i in its high
 *	        half.
 *	high    q5_*: a word for 32 elements; bit 8 c + w is bit 4 of element 4 w + c and bit
 *	        8 c + 4 + w that of element 16 + 4 w + c (c, w < 4), so that word w of the quants is
 *	        completed by (high << 4 - w) & 0x10101010 and (high >> w) & 0x10101010.
 *	        q6_k: a word for elements 0-15 and one for 16-31 of 32; bits 8 c + 2 w and
 *	        8 c + 2 w + 1 are bits 4 and 5 of element 4 w + c: shifted left by 4 - 2 w, under
 *	        0x30303030, they complete word w.
 *	scales  d, then m where there is one; q6_k: s, 16 bytes. q4_k and q5_k: 16 bytes, d and m,
 *	        a byte for each 32 elements with the lower bits of s and t, half a byte for each
 *	        with their upper two bits; s and even elements in low halves.
 *	d       of q6_k */
#ifndef CORE_DTYPE_H
#define CORE_DTYPE_H

#include "core/param.h"

/* X(NAME, name, value, elements of a block, bytes of a block in each plane) */
#define DTYPES(X)                                                        \
	X(F32, f32, 0, 1, 4, 0, 0, 0)                                    \
	X(F16, f16, 1, 1, 2, 0, 0, 0)                                    \
	X(BF16, bf16, 30, 1, 2, 0, 0, 0)                                 \
	X(Q4_0, q4_0, 2, 32, 16, 2, 0, 0)                                \
	X(Q4_1, q4_1, 3, 32, 16, 4, 0, 0)                                \
	X(Q5_0, q5_0, 6, 32, 16, 4, 2, 0)                                \
	X(Q5_1, q5_1, 7, 32, 16, 4, 4, 0)                                \
	X(Q8_0, q8_0, 8, 32, 32, 2, 0, 0)                                \
	X(Q4_K, q4_k, 12, 256, 128, 16, 0, 0)                            \
	X(Q5_K, q5_k, 13, 256, 128, 32, 16, 0)                           \
	X(Q6_K, q6_k, 14, 256, 128, 64, 16, 2)                           \
	X(I32, i32, 26, 1, 4, 0, 0, 0) /* positions, ids and counters */ \
	X(U64, u64, 27, 1, 8, 0, 0, 0) /* rope's phase table */

#define DTYPE_VALUE(NAME, name, value, ...) DTYPE_##NAME = value,
enum dtype { DTYPES(DTYPE_VALUE) };

#define DTYPE_PLANES 4

/* Elements of a block, and its bytes in each plane. */
struct dtype_layout {
	int block, plane[DTYPE_PLANES];
};

#define DTYPE_LAYOUT(NAME, name, value, block, ...)                        \
	if (dtype == DTYPE_##NAME) {                                       \
		const struct dtype_layout layout = {block, {__VA_ARGS__}}; \
		return layout;                                             \
	}
CONST_FN struct dtype_layout dtype_layout_of(int dtype)
{
	DTYPES(DTYPE_LAYOUT)
	const struct dtype_layout none = {0, {0}};
	return none;
}

/* Elements in 16 bytes (of quants). */
CONST_FN int dtype_chunk(int dtype)
{
	return 16 * dtype_layout_of(dtype).block / dtype_layout_of(dtype).plane[0];
}

#ifndef __CUDACC_RTC__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "bf16" ...; "" for a value that is no supported type. */
const char *dtype_name(int dtype);
/* -1 when the name is unknown. */
int dtype_parse(const char *name);
/* Elements that share a block: rows must be a multiple. 1 for the plain types. 0 when unknown. */
int dtype_block(int dtype);
/* Bytes of n elements; n is a multiple of the block. */
size_t dtype_bytes(int dtype, size_t n);
/* Whether the functions below convert it: all but the integers. */
bool dtype_is_real(int dtype);

float bf16_to_f32(uint16_t bits);
float f16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value); /* round to nearest even */
uint16_t f32_to_f16(float value);

/* n elements in file layout, to and from float. To float is exact but for one rounding of d q + m,
 * as in ggml. From float, the types with blocks of 32 are quantised as ggml's reference does, the
 * others by the range of each 16 or 32 elements. */
void dtype_to_f32(int dtype, const void *from, float *to, size_t n);
void dtype_from_f32(int dtype, const float *from, void *to, size_t n);

/* Byte offset of a plane in a matrix of n elements; that of the matrix's end for planes it does not
 * have. */
size_t dtype_plane_offset(int dtype, int plane, size_t n);
/* The same for the second plane, where the quants end. */
size_t dtype_scale_offset(int dtype, size_t n);

/* Elements [first, first + n) of a matrix of `count` elements in device layout, from and to file
 * layout; multiples of the block. */
void dtype_pack_part(int dtype, const void *file_layout, void *matrix, size_t count, size_t first,
                     size_t n);
void dtype_unpack_part(int dtype, const void *matrix, size_t count, size_t first, size_t n,
                       void *file_layout);
/* As floats. */
void dtype_planes_to_f32(int dtype, const void *matrix, size_t count, size_t first, size_t n,
                         float *to);
/* A whole matrix of n elements. */
void dtype_pack(int dtype, const void *file_layout, void *to, size_t n);

#ifdef __cplusplus
}
#endif
#endif
#endif
