/* A layer's keys, or values, on the device: a matrix (kv_heads, capacity, head_dim) in device
 * layout, of any dtype. `count` is the number of its elements. */
#ifndef MODEL_CACHE_H
#define MODEL_CACHE_H

#include "device/device.h"

/* n elements from element `first` on, both multiples of the dtype's block, from and to rows in file
 * layout. */
MUST_CHECK enum status cache_write(struct device *device, int dtype, void *cache, size_t count,
                                   size_t first, const void *rows, size_t n);
MUST_CHECK enum status cache_read(struct device *device, int dtype, const void *cache, size_t count,
                                  size_t first, void *rows, size_t n);

#endif
