/* Element types of tensors. The values are those of GGUF files (ggml_type), so a file's type needs
 * no map. Readable by C, C++, nvcc and NVRTC. */
#ifndef CORE_DTYPE_H
#define CORE_DTYPE_H

enum dtype {
	DTYPE_F32 = 0,
	DTYPE_F16 = 1,
	DTYPE_Q8_0 = 8, /* blocks of 32: one f16 scale, 32 int8 */
	DTYPE_I32 = 26, /* only for positions, ids and counters */
	DTYPE_U64 = 27, /* only for rope's phase table */
	DTYPE_BF16 = 30,
};

#ifndef __CUDACC_RTC__
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "bf16" ...; "" for a value that is no supported type. */
const char *dtype_name(int dtype);
/* -1 when the name is unknown. */
int dtype_parse(const char *name);
/* Elements that share a block: rows must be a multiple. 1 for the plain types, 32 for q8_0. 0 when
 * unknown. */
int dtype_block(int dtype);
/* Bytes of n elements; n is a multiple of the block. */
size_t dtype_bytes(int dtype, size_t n);

float bf16_to_f32(uint16_t bits);
float f16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value); /* round to nearest even */
uint16_t f32_to_f16(float value);

/* n floating-point elements stored as in a GGUF file (q8_0: 34-byte blocks), to and from float.
 * Quantising q8_0 follows ggml: scale = max|x| / 127 stored as f16, quants rounded to nearest. */
void dtype_to_f32(int dtype, const void *from, float *to, size_t n);
void dtype_from_f32(int dtype, const float *from, void *to, size_t n);

/* Device layout. q8_0: all quants of the matrix, then all f16 scales (both row-major), so that
 * 16-byte loads are aligned; the plain types as they are. `n` elements, `to` has dtype_bytes(dtype,
 * n) bytes. */
void dtype_pack(int dtype, const void *file_layout, void *to, size_t n);
/* Byte offset of the scales in the device layout. */
size_t dtype_scale_offset(int dtype, size_t n);

#ifdef __cplusplus
}
#endif
#endif
#endif
