/* cuBLAS, loaded when it is asked for, so that programs start without it. */
#ifndef DEVICE_CUBLAS_H
#define DEVICE_CUBLAS_H

#include "core/dtype.h"
#include "device/device.h"

struct cublas;

/* Column-major c (m, n) = a b, or + what c holds; columns are lda, ldb, ldc elements apart. a
 * (m, k), or transposed (k, m), and b (k, n) are bf16, f16 or f32, c of that type or f32; sums are
 * in f32. */
struct cublas_product {
	bool a_transposed, add;
	int m, n, k;
	int dtype, c_dtype;
	int lda, ldb, ldc;
	const void *a, *b;
	void *c;
};

/* Handle and workspace, on the device's stream. STATUS_UNSUPPORTED where there is no such library
 * or no GPU. */
MUST_CHECK enum status cublas_open(struct device *device, struct cublas **cublas);
void cublas_close(struct cublas **cublas);
const char *cublas_version(const struct cublas *cublas); /* "13.0.2" */
/* Queues a product; captured like a launch. */
MUST_CHECK enum status cublas_multiply(struct cublas *cublas, const struct cublas_product *product);

/* From cublas_api.h, which machines without the toolkit lack; cuBLASLt has the same. */
enum {
	CUBLAS_STATUS_SUCCESS = 0,
	CUBLAS_OP_N = 0,
	CUBLAS_OP_T = 1,
	CUBLAS_COMPUTE_32F = 68,
};
/* Of a call's status. */
MUST_CHECK enum status cublas_check(int code, const char *call);
/* "13.1.0" of 130100 */
void cublas_format_version(size_t version, char text[32]);

/* The enum cudaDataType of a dtype; -1 for what these libraries cannot multiply. */
int cuda_data_type(int dtype);

#define CUBLAS_WORKSPACE_BYTES ((size_t)32 << 20) /* what cuBLAS recommends for sm_90 */

#endif
