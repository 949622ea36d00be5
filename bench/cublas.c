#include "bench/cublas.h"

#include <stdio.h>
#include <stdlib.h>

#include "device/library.h"

#define WORKSPACE_BYTES ((size_t)32 << 20) /* what cuBLAS recommends for sm_90 */

/* From cublas_api.h and library_types.h, which machines without the toolkit lack. */
struct cublas_context;
enum {
	CUBLAS_STATUS_SUCCESS = 0,
	CUBLAS_OP_N = 0,
	CUBLAS_OP_T = 1,
	CUBLAS_COMPUTE_32F = 68,
	CUBLAS_GEMM_DEFAULT = -1,
	CUDA_R_32F = 0,
	CUDA_R_16F = 2,
	CUDA_R_16BF = 14,
};

struct cublas {
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
	struct device *device;
	void *workspace;
	char version[16];
};

static enum status load(struct cublas *cublas)
{
	const struct library_function functions[] = {
	        {"cublasCreate_v2", &cublas->create},
	        {"cublasDestroy_v2", &cublas->destroy},
	        {"cublasGetVersion_v2", &cublas->get_version},
	        {"cublasSetStream_v2", &cublas->set_stream},
	        {"cublasSetWorkspace_v2", &cublas->set_workspace},
	        {"cublasGemmEx", &cublas->gemm},
	};
	cublas->library = library_open("cublas", functions, sizeof functions / sizeof functions[0]);
	return cublas->library
	               ? STATUS_OK
	               : fail(STATUS_UNSUPPORTED, "cuBLAS not found (libcublas.so.13 or .12)");
}

static enum status check(int code, const char *call)
{
	return code == CUBLAS_STATUS_SUCCESS
	               ? STATUS_OK
	               : fail(STATUS_UNSUPPORTED, "%s: cuBLAS status %d", call, code);
}

enum status cublas_open(struct device *device, struct cublas **out)
{
	enum status status;
	int version = 0;
	if (!device_stream(device))
		return fail(STATUS_UNSUPPORTED, "cuBLAS needs a GPU, not device %s",
		            device_info(device)->name);
	struct cublas *cublas = calloc(1, sizeof *cublas);
	if (!cublas)
		return fail(STATUS_NO_MEMORY, "no memory for cuBLAS");
	cublas->device = device;
	TRY(load(cublas));
	TRY(device_alloc(device, WORKSPACE_BYTES, &cublas->workspace));
	TRY(check(cublas->create(&cublas->context), "cublasCreate"));
	TRY(check(cublas->get_version(cublas->context, &version), "cublasGetVersion"));
	TRY(check(cublas->set_stream(cublas->context, device_stream(device)), "cublasSetStream"));
	TRY(check(cublas->set_workspace(cublas->context, cublas->workspace, WORKSPACE_BYTES),
	          "cublasSetWorkspace"));
	snprintf(cublas->version, sizeof cublas->version, "%d.%d.%d", version / 10000,
	         version / 100 % 100, version % 100);
	*out = cublas;
	cublas = NULL;
done:
	cublas_close(&cublas);
	return status;
}

void cublas_close(struct cublas **out)
{
	struct cublas *cublas = *out;
	if (!cublas)
		return;
	if (cublas->context)
		cublas->destroy(cublas->context);
	device_free(cublas->device, cublas->workspace);
	library_close(cublas->library);
	free(cublas);
	*out = NULL;
}

const char *cublas_version(const struct cublas *cublas)
{
	return cublas->version;
}

/* -1 for what cuBLAS cannot multiply. */
static int type_of(int dtype)
{
	return dtype == DTYPE_F32    ? CUDA_R_32F
	       : dtype == DTYPE_F16  ? CUDA_R_16F
	       : dtype == DTYPE_BF16 ? CUDA_R_16BF
	                             : -1;
}

enum status cublas_gemv(struct cublas *cublas, int form, int m, int k, int dtype, const void *w,
                        const void *x, int y_dtype, void *y)
{
	static const float one = 1, zero = 0;
	const int in = type_of(dtype), out = type_of(y_dtype);
	if (in < 0 || (out != in && out != CUDA_R_32F))
		return fail(STATUS_UNSUPPORTED, "cuBLAS has no product of %s weights into %s",
		            dtype_name(dtype), dtype_name(y_dtype));
	/* cuBLAS is column-major: to it, W is (k, m). */
	const int code = form == 0 ? cublas->gemm(cublas->context, CUBLAS_OP_T, CUBLAS_OP_N, m, 1,
	                                          k, &one, w, in, k, x, in, k, &zero, y, out, m,
	                                          CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT)
	                           : cublas->gemm(cublas->context, CUBLAS_OP_N, CUBLAS_OP_N, 1, m,
	                                          k, &one, x, in, 1, w, in, k, &zero, y, out, 1,
	                                          CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
	return check(code, "cublasGemmEx");
}
