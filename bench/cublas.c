/* cuBLAS as a peer of gemv. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/peer.h"
#include "device/library.h"

/* From cublas_api.h and library_types.h, which machines without the toolkit lack. */
struct cublas_context;
enum {
	CUBLAS_STATUS_SUCCESS = 0,
	CUBLAS_OP_N = 0,
	CUBLAS_OP_T = 1,
	CUBLAS_COMPUTE_32F = 68,
	CUBLAS_GEMM_DEFAULT = -1,
};

/* Ways to state y = Wx as a matrix product: W times one column, one row times W transposed. Which
 * is faster depends on the shape. */
enum { FORM_COLUMN, FORM_ROW, N_FORMS };

struct cublas {
	struct peer base;
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
	struct product product;
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
	return cublas->library ? STATUS_OK
	                       : fail(STATUS_UNSUPPORTED, "not found (libcublas.so.13 or .12)");
}

static enum status check(int code, const char *call)
{
	return code == CUBLAS_STATUS_SUCCESS
	               ? STATUS_OK
	               : fail(STATUS_UNSUPPORTED, "%s: cuBLAS status %d", call, code);
}

static void cublas_close(struct peer *peer)
{
	struct cublas *cublas = (struct cublas *)peer;
	if (!cublas)
		return;
	if (cublas->context)
		cublas->destroy(cublas->context);
	device_free(cublas->base.device, cublas->workspace);
	library_close(cublas->library);
	free(cublas);
}

static enum status cublas_open(struct device *device, struct peer **peer)
{
	enum status status;
	int version = 0;
	struct cublas *cublas = calloc(1, sizeof *cublas);
	if (!cublas)
		return fail(STATUS_NO_MEMORY, "no memory for cuBLAS");
	cublas->base = (struct peer){.kind = &cublas_kind, .device = device};
	TRY(load(cublas));
	TRY(device_alloc(device, PEER_WORKSPACE_BYTES, &cublas->workspace));
	TRY(check(cublas->create(&cublas->context), "cublasCreate"));
	TRY(check(cublas->get_version(cublas->context, &version), "cublasGetVersion"));
	TRY(check(cublas->set_stream(cublas->context, device_stream(device)), "cublasSetStream"));
	TRY(check(cublas->set_workspace(cublas->context, cublas->workspace, PEER_WORKSPACE_BYTES),
	          "cublasSetWorkspace"));
	snprintf(cublas->base.version, sizeof cublas->base.version, "%d.%d.%d", version / 10000,
	         version / 100 % 100, version % 100);
	*peer = &cublas->base;
	cublas = NULL;
done:
	cublas_close((struct peer *)cublas);
	return status;
}

static enum status cublas_plan(struct peer *peer, const struct product *product, int *n)
{
	((struct cublas *)peer)->product = *product;
	*n = N_FORMS;
	return STATUS_OK;
}

/* cuBLAS is column-major: to it, W is (k, m). */
static enum status cublas_run(struct peer *peer, int plan, const struct operands *o)
{
	static const float one = 1, zero = 0;
	struct cublas *cublas = (struct cublas *)peer;
	const int m = cublas->product.m, k = cublas->product.k;
	const int in = cuda_data_type(cublas->product.dtype),
	          out = cuda_data_type(cublas->product.y_dtype);
	const int code = plan == FORM_COLUMN
	                         ? cublas->gemm(cublas->context, CUBLAS_OP_T, CUBLAS_OP_N, m, 1, k,
	                                        &one, o->w, in, k, o->x, in, k, &zero, o->y, out, m,
	                                        CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT)
	                         : cublas->gemm(cublas->context, CUBLAS_OP_N, CUBLAS_OP_N, 1, m, k,
	                                        &one, o->x, in, 1, o->w, in, k, &zero, o->y, out, 1,
	                                        CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
	return check(code, "cublasGemmEx");
}

const struct peer_kind cublas_kind = {
        .name = "cublas",
        .open = cublas_open,
        .close = cublas_close,
        .plan = cublas_plan,
        .run = cublas_run,
};
