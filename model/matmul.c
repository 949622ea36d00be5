#include "model/matmul.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/table.h"
#include "device/cublas.h"
#include "kernels/gemm.h"
#include "model/row_launch.h"

struct matmul {
	struct device *device;
	struct cublas *cublas; /* NULL: our own kernel */
	char name[48];
};

enum status matmul_open(struct device *device, bool quiet, struct matmul **matmul)
{
	struct matmul *m = *matmul = calloc(1, sizeof *m);
	if (!m)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	m->device = device;
	snprintf(m->name, sizeof m->name, "gemm");
	if (!device_stream(device))
		return STATUS_OK;
	if (cublas_open(device, &m->cublas) == STATUS_OK)
		snprintf(m->name, sizeof m->name, "cublas %s", cublas_version(m->cublas));
	else if (!quiet)
		fprintf(stderr, "cuBLAS: %s: prompts take longer\n", fail_message());
	return STATUS_OK;
}

void matmul_close(struct matmul **matmul)
{
	struct matmul *m = *matmul;
	if (!m)
		return;
	cublas_close(&m->cublas);
	free(m);
	*matmul = NULL;
}

const char *matmul_name(const struct matmul *matmul)
{
	return matmul->name;
}

enum status matmul_run(struct matmul *matmul, const struct matmul_args *a)
{
	/* to cuBLAS, which is column-major, w is (k, m), x (k, n) and y (m, n) */
	const struct cublas_product product = {.a_transposed = true,
	                                       .add = a->add,
	                                       .m = a->m,
	                                       .n = a->n,
	                                       .k = a->k,
	                                       .dtype = a->dtype,
	                                       .c_dtype = DTYPE_F32,
	                                       .lda = a->k,
	                                       .ldb = a->k,
	                                       .ldc = a->y_stride,
	                                       .a = a->w,
	                                       .b = a->x,
	                                       .c = a->y};
	const struct gemm_args args = {.y = a->y,
	                               .w = a->w,
	                               .x = a->x,
	                               .m = a->m,
	                               .k = a->k,
	                               .n = a->n,
	                               .y_stride = a->y_stride};
	if (matmul->cublas)
		return cublas_multiply(matmul->cublas, &product);
	return row_launch(matmul->device, "gemm", (struct kase){{a->dtype, a->add}},
	                  (struct shape){.m = a->m, .k = a->k, .len = a->n}, &args);
}
