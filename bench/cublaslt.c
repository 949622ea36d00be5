/* cuBLASLt as a peer of gemv: the algorithms that its heuristics propose for both forms of the
 * product. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/peer.h"
#include "device/cublas.h"
#include "device/library.h"

/* From cublasLt.h, which machines without the toolkit lack. */
struct lt_context;
struct lt_descriptor;
struct lt_layout;
struct lt_preference;
enum {
	CUBLASLT_MATMUL_DESC_TRANSA = 3,
	CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
};
struct lt_algorithm {
	uint64_t data[8];
};
/* cublasLtMatmulHeuristicResult_t */
struct lt_result {
	struct lt_algorithm algorithm;
	size_t workspace_bytes;
	int state;
	float waves;
	int reserved[4];
};
_Static_assert(sizeof(struct lt_result) == 96, "as in cublasLt.h");

enum { ALGORITHMS = 16 }; /* of a form */

struct form {
	struct lt_descriptor *descriptor;
	struct lt_layout *a, *b, *c;
};

struct plan {
	int form;
	struct lt_algorithm algorithm;
};

struct cublaslt {
	struct peer base;
	void *library;
	int (*create)(struct lt_context **context);
	int (*destroy)(struct lt_context *context);
	size_t (*get_version)(void);
	int (*descriptor_create)(struct lt_descriptor **d, int compute, int scale_type);
	int (*descriptor_destroy)(struct lt_descriptor *d);
	int (*descriptor_set)(struct lt_descriptor *d, int attribute, const void *value,
	                      size_t bytes);
	int (*layout_create)(struct lt_layout **layout, int type, uint64_t rows, uint64_t columns,
	                     int64_t ld);
	int (*layout_destroy)(struct lt_layout *layout);
	int (*preference_create)(struct lt_preference **p);
	int (*preference_destroy)(struct lt_preference *p);
	int (*preference_set)(struct lt_preference *p, int attribute, const void *value,
	                      size_t bytes);
	int (*heuristic)(struct lt_context *context, struct lt_descriptor *d, struct lt_layout *a,
	                 struct lt_layout *b, struct lt_layout *c, struct lt_layout *d_layout,
	                 struct lt_preference *p, int wanted, struct lt_result *results,
	                 int *found);
	int (*matmul)(struct lt_context *context, struct lt_descriptor *d, const void *alpha,
	              const void *a, struct lt_layout *a_layout, const void *b,
	              struct lt_layout *b_layout, const void *beta, const void *c,
	              struct lt_layout *c_layout, void *y, struct lt_layout *d_layout,
	              const struct lt_algorithm *algorithm, void *workspace, size_t bytes,
	              void *stream);
	struct lt_context *context;
	void *workspace;
	struct form form[N_FORMS];
	struct plan plan[N_FORMS * ALGORITHMS];
};

static enum status load(struct cublaslt *lt)
{
	const struct library_function functions[] = {
	        {"cublasLtCreate", &lt->create},
	        {"cublasLtDestroy", &lt->destroy},
	        {"cublasLtGetVersion", &lt->get_version},
	        {"cublasLtMatmulDescCreate", &lt->descriptor_create},
	        {"cublasLtMatmulDescDestroy", &lt->descriptor_destroy},
	        {"cublasLtMatmulDescSetAttribute", &lt->descriptor_set},
	        {"cublasLtMatrixLayoutCreate", &lt->layout_create},
	        {"cublasLtMatrixLayoutDestroy", &lt->layout_destroy},
	        {"cublasLtMatmulPreferenceCreate", &lt->preference_create},
	        {"cublasLtMatmulPreferenceDestroy", &lt->preference_destroy},
	        {"cublasLtMatmulPreferenceSetAttribute", &lt->preference_set},
	        {"cublasLtMatmulAlgoGetHeuristic", &lt->heuristic},
	        {"cublasLtMatmul", &lt->matmul},
	};
	lt->library = library_open("cublasLt", functions, sizeof functions / sizeof functions[0]);
	return lt->library ? STATUS_OK
	                   : fail(STATUS_UNSUPPORTED, "not found (libcublasLt.so.13 or .12)");
}

static void form_close(struct cublaslt *lt, struct form *form)
{
	if (form->descriptor)
		lt->descriptor_destroy(form->descriptor);
	struct lt_layout *const layouts[] = {form->a, form->b, form->c};
	for (int i = 0; i < 3; i++)
		if (layouts[i])
			lt->layout_destroy(layouts[i]);
	*form = (struct form){0};
}

static void cublaslt_close(struct peer *peer)
{
	struct cublaslt *lt = (struct cublaslt *)peer;
	if (!lt)
		return;
	for (int f = 0; f < N_FORMS; f++)
		form_close(lt, &lt->form[f]);
	if (lt->context)
		lt->destroy(lt->context);
	device_free(lt->base.device, lt->workspace);
	library_close(lt->library);
	free(lt);
}

static enum status cublaslt_open(struct device *device, struct peer **peer)
{
	enum status status;
	struct cublaslt *lt = calloc(1, sizeof *lt);
	if (!lt)
		return fail(STATUS_NO_MEMORY, "no memory for cuBLASLt");
	lt->base = (struct peer){.kind = &cublaslt_kind, .device = device};
	TRY(load(lt));
	TRY(device_alloc(device, CUBLAS_WORKSPACE_BYTES, &lt->workspace));
	TRY(cublas_check(lt->create(&lt->context), "cublasLtCreate"));
	cublas_format_version(lt->get_version(), lt->base.version);
	*peer = &lt->base;
	lt = NULL;
done:
	cublaslt_close((struct peer *)lt);
	return status;
}

/* Column-major: W is (k, m). FORM_COLUMN: y (m, 1) = W' x; FORM_ROW: y' (1, m) = x' W. Both have
 * their first operand transposed, since x (k, 1) lies in memory as x' does. */
static enum status form_open(struct cublaslt *lt, struct form *form, int which,
                             const struct product *p)
{
	enum status status;
	const bool column = which == FORM_COLUMN;
	const int in = cuda_data_type(p->dtype), out = cuda_data_type(p->y_dtype),
	          transposed = CUBLAS_OP_T;
	const uint64_t m = (uint64_t)p->m, k = (uint64_t)p->k;
	TRY(cublas_check(lt->descriptor_create(&form->descriptor, CUBLAS_COMPUTE_32F,
	                                       cuda_data_type(DTYPE_F32)),
	                 "cublasLtMatmulDescCreate"));
	TRY(cublas_check(lt->descriptor_set(form->descriptor, CUBLASLT_MATMUL_DESC_TRANSA,
	                                    &transposed, sizeof transposed),
	                 "cublasLtMatmulDescSetAttribute"));
	TRY(cublas_check(lt->layout_create(&form->a, in, k, column ? m : 1, p->k),
	                 "cublasLtMatrixLayoutCreate"));
	TRY(cublas_check(lt->layout_create(&form->b, in, k, column ? 1 : m, p->k),
	                 "cublasLtMatrixLayoutCreate"));
	TRY(cublas_check(
	        lt->layout_create(&form->c, out, column ? m : 1, column ? 1 : m, column ? p->m : 1),
	        "cublasLtMatrixLayoutCreate"));
done:
	return status;
}

/* A form for which there is no algorithm has no plans. */
static void add_plans(struct cublaslt *lt, int which, struct lt_preference *preference, int *n)
{
	struct form *f = &lt->form[which];
	struct lt_result results[ALGORITHMS];
	int found = 0;
	if (lt->heuristic(lt->context, f->descriptor, f->a, f->b, f->c, f->c, preference,
	                  ALGORITHMS, results, &found) != CUBLAS_STATUS_SUCCESS)
		return;
	for (int i = 0; i < found; i++)
		if (results[i].state == CUBLAS_STATUS_SUCCESS &&
		    results[i].workspace_bytes <= CUBLAS_WORKSPACE_BYTES)
			lt->plan[(*n)++] = (struct plan){which, results[i].algorithm};
}

static enum status cublaslt_plan(struct peer *peer, const struct product *product, int *n)
{
	enum status status;
	struct cublaslt *lt = (struct cublaslt *)peer;
	struct lt_preference *preference = NULL;
	const size_t workspace = CUBLAS_WORKSPACE_BYTES;
	TRY(cublas_check(lt->preference_create(&preference), "cublasLtMatmulPreferenceCreate"));
	TRY(cublas_check(lt->preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
	                                    &workspace, sizeof workspace),
	                 "cublasLtMatmulPreferenceSetAttribute"));
	for (int f = 0; f < N_FORMS; f++) {
		form_close(lt, &lt->form[f]);
		TRY(form_open(lt, &lt->form[f], f, product));
		add_plans(lt, f, preference, n);
	}
	if (!*n)
		status = fail(STATUS_UNSUPPORTED, "cuBLASLt has no algorithm for %dx%d", product->m,
		              product->k);
done:
	if (preference)
		lt->preference_destroy(preference);
	return status;
}

static enum status cublaslt_run(struct peer *peer, int plan, const struct operands *o)
{
	static const float one = 1, zero = 0;
	struct cublaslt *lt = (struct cublaslt *)peer;
	const struct plan *p = &lt->plan[plan];
	const struct form *f = &lt->form[p->form];
	const bool column = p->form == FORM_COLUMN;
	return cublas_check(lt->matmul(lt->context, f->descriptor, &one, column ? o->w : o->x, f->a,
	                               column ? o->x : o->w, f->b, &zero, o->y, f->c, o->y, f->c,
	                               &p->algorithm, lt->workspace, CUBLAS_WORKSPACE_BYTES,
	                               device_stream(lt->base.device)),
	                    "cublasLtMatmul");
}

const struct peer_kind cublaslt_kind = {
        .name = "cublaslt",
        .open = cublaslt_open,
        .close = cublaslt_close,
        .plan = cublaslt_plan,
        .run = cublaslt_run,
};
