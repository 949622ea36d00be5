/* cuBLAS as the peer of gemv. It is loaded when asked for, so that programs start without it. */
#ifndef BENCH_CUBLAS_H
#define BENCH_CUBLAS_H

#include "core/dtype.h"
#include "device/device.h"

struct cublas;

/* Ways to state y = Wx as a matrix product: W times one column, one row times W transposed. Which
 * is faster depends on the shape. */
#define CUBLAS_FORMS 2

/* Handle and workspace, made once, outside any timing. STATUS_UNSUPPORTED where there is no cuBLAS
 * or no GPU. */
MUST_CHECK enum status cublas_open(struct device *device, struct cublas **cublas);
void cublas_close(struct cublas **cublas);

/* "13.0.2" */
const char *cublas_version(const struct cublas *cublas);

/* Queues y = Wx on the device's stream, captured like a launch; accumulates in fp32. w (m, k)
 * row-major and x (k) are both bf16, f16 or f32, y (m) of that type or f32. */
MUST_CHECK enum status cublas_gemv(struct cublas *cublas, int form, int m, int k, int dtype,
                                   const void *w, const void *x, int y_dtype, void *y);

#endif
