/* Blocks of the quantised types: numbers, file layout and the planes of the device layout
 * (core/dtype.h). */
#ifndef CORE_QUANT_H
#define CORE_QUANT_H

#include "core/dtype.h"

#define QUANT_MAX_BYTES 256 /* holds a block of any type in file layout */

/* Whole blocks in file layout, n elements. */
void quant_to_f32(int dtype, const uint8_t *blocks, float *to, size_t n);
void quant_from_f32(int dtype, const float *from, uint8_t *blocks, size_t n);

/* n blocks from and to planes, whose first block is number `first`. */
void quant_pack(int dtype, const uint8_t *blocks, uint8_t *const planes[DTYPE_PLANES], size_t first,
                size_t n);
void quant_unpack(int dtype, const uint8_t *const planes[DTYPE_PLANES], size_t first, size_t n,
                  uint8_t *blocks);

#endif
