/* Products of matrices with matrices, for prompts: by cuBLAS on a GPU that has it, else by our own
 * kernel. */
#ifndef MODEL_MATMUL_H
#define MODEL_MATMUL_H

#include "device/device.h"

struct matmul;

/* Rows y[t] (m), y_stride apart, of f32 = w x[t], or + what y holds: w (m, k) and x (n, k)
 * row-major and of one dtype, bf16 or f32; k is a multiple of 8. */
struct matmul_args {
	const void *w, *x;
	float *y;
	int m, k, n, y_stride;
	int dtype;
	bool add;
};

/* Says in one line when a GPU's cuBLAS cannot be used, unless `quiet`. */
MUST_CHECK enum status matmul_open(struct device *device, bool quiet, struct matmul **matmul);
void matmul_close(struct matmul **matmul);
/* What computes: "cublas 13.0.2" or "gemm". */
const char *matmul_name(const struct matmul *matmul);
/* Queues a product. */
MUST_CHECK enum status matmul_run(struct matmul *matmul, const struct matmul_args *args);

#endif
