#include "device/cublas.h"

#include <stdio.h>
#include <stdlib.h>

#include "device/library.h"

struct cublas_context;
enum { CUBLAS_GEMM_DEFAULT = -1 }; /* of cublas_api.h */

struct cublas {
	struct device *device;
	void *library;
	int (*create)(struct cublas_context **context);
	int (*destroy)(struct cublas_context *context);
	int (*get_version)(struct cublas_context *context, int *version);
	int (*set_stream)(struct cublas_context *context, void *stream);
	int (*set_workspace)(struct cublas_context *context, void *workspace, size_t bytes);
	int (*gemm)(struct cublas_context *context, int op_a, int op_b, int m, int n, int k,
	            const void *alpha, const void *a, int a_type, int lda, const void *b,
	            int b_type, int ldb, const void *beta, void *c, int c_type, int ldc,
	            int compute, int algorithm);
	struct cublas_context *context;
	void *workspace;
	char version[32];
};

static enum status load(struct cublas *c)
{
	const struct library_function functions[] = {
	        {"cublasCreate_v2", &c->create},
	        {"cublasDestroy_v2", &c->destroy},
	        {"cublasGetVersion_v2", &c->get_version},
	        {"cublasSetStream_v2", &c->set_stream},
	        {"cublasSetWorkspace_v2", &c->set_workspace},
	        {"cublasGemmEx", &c->gemm},
	};
	c->library = library_open("cublas", functions, sizeof functions / sizeof functions[0]);
	return c->library ? STATUS_OK
	                  : fail(STATUS_UNSUPPORTED, "not found (libcublas.so.13 or .12)");
}

enum status cublas_check(int code, const char *call)
{
	return code == CUBLAS_STATUS_SUCCESS
	               ? STATUS_OK
	               : fail(STATUS_UNSUPPORTED, "%s: cuBLAS status %d", call, code);
}

void cublas_format_version(size_t version, char text[32])
{
	snprintf(text, 32, "%zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
}

void cublas_close(struct cublas **cublas)
{
	struct cublas *c = *cublas;
	if (!c)
		return;
	if (c->context)
		c->destroy(c->context);
	device_free(c->device, c->workspace);
	library_close(c->library);
	free(c);
	*cublas = NULL;
}

enum status cublas_open(struct device *device, struct cublas **cublas)
{
	enum status status;
	int version = 0;
	*cublas = NULL;
	if (!device_stream(device))
		return fail(STATUS_UNSUPPORTED, "cublas needs a GPU, not device %s",
		            device_info(device)->name);
	struct cublas *c = *cublas = calloc(1, sizeof *c);
	if (!c)
		return fail(STATUS_NO_MEMORY, "no memory for cuBLAS");
	c->device = device;
	TRY(load(c));
	TRY(device_alloc(device, CUBLAS_WORKSPACE_BYTES, &c->workspace));
	TRY(cublas_check(c->create(&c->context), "cublasCreate"));
	TRY(cublas_check(c->get_version(c->context, &version), "cublasGetVersion"));
	TRY(cublas_check(c->set_stream(c->context, device_stream(device)), "cublasSetStream"));
	TRY(cublas_check(c->set_workspace(c->context, c->workspace, CUBLAS_WORKSPACE_BYTES),
	                 "cublasSetWorkspace"));
	cublas_format_version((size_t)version, c->version);
done:
	if (status != STATUS_OK)
		cublas_close(cublas);
	return status;
}

const char *cublas_version(const struct cublas *cublas)
{
	return cublas->version;
}

enum status cublas_multiply(struct cublas *cublas, const struct cublas_product *p)
{
	const float one = 1, beta = p->add ? 1 : 0;
	const int in = cuda_data_type(p->dtype), out = cuda_data_type(p->c_dtype);
	return cublas_check(cublas->gemm(cublas->context,
	                                 p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, CUBLAS_OP_N,
	                                 p->m, p->n, p->k, &one, p->a, in, p->lda, p->b, in, p->ldb,
	                                 &beta, p->c, out, p->ldc, CUBLAS_COMPUTE_32F,
	                                 CUBLAS_GEMM_DEFAULT),
	                    "cublasGemmEx");
}

int cuda_data_type(int dtype)
{
	return dtype == DTYPE_F32 ? 0 : dtype == DTYPE_F16 ? 2 : dtype == DTYPE_BF16 ? 14 : -1;
}
