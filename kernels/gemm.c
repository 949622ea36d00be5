#include "kernels/gemm.h"
#include "kernels/describe.h"

static const struct param params[] = {GEMM_PARAMS(PARAM_ROW)};
static const struct param fields[] = {GEMM_FIELDS(FIELD_ROW)};

/* Floats of a row of y in a problem that are not part of the product. */
enum { Y_BEHIND = 3 };
enum { Y, W, X, N_BUFFERS };

static bool legal(const int *kase, const int *config, struct target target)
{
	return gemm_legal(*AS(gemm_case, kase), *AS(gemm_config, config), target);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return legal(kase, config, info->target) && shape->k % 8 == 0;
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)kase;
	const struct gemm_config *c = AS(gemm_config, config);
	return (struct grid){.x = div_up((size_t)shape->m, (size_t)(c->warps * c->rows)),
	                     .y = div_up((size_t)shape->len, (size_t)c->tokens),
	                     .threads = (unsigned)(c->warps * info->target.lanes)};
}

static size_t x_count(const struct shape *shape)
{
	return (size_t)shape->len * (size_t)shape->k;
}
static size_t y_stride(const struct shape *shape)
{
	return (size_t)shape->m + Y_BEHIND;
}

static double bytes(const struct shape *shape, const int *kase)
{
	const struct gemm_case *k = AS(gemm_case, kase);
	return (double)dtype_bytes(k->x, matrix_count(shape) + x_count(shape)) +
	       (k->add ? 8.0 : 4.0) * shape->len * shape->m;
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 2.0 * shape->len * (double)matrix_count(shape);
}

static enum status parse_shape(const char *text, struct shape *shape)
{
	char end;
	*shape = (struct shape){0};
	if (sscanf(text, "%dx%d@%d%c", &shape->m, &shape->k, &shape->len, &end) != 3 ||
	    shape->m < 1 || shape->k < 1 || shape->k % 8 || shape->len < 1)
		return fail(STATUS_USAGE,
		            "gemm shape '%s': expected MxK@TOKENS such as 896x4864@512, K a "
		            "multiple of 8",
		            text);
	return STATUS_OK;
}

static void format_shape(const struct shape *shape, char text[64])
{
	snprintf(text, 64, "%dx%d@%d", shape->m, shape->k, shape->len);
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const struct gemm_case *k = AS(gemm_case, kase);
	b[Y] = (struct buffer){"y", BUFFER_INOUT, DTYPE_F32, (size_t)shape->len * y_stride(shape),
	                       1};
	b[W] = (struct buffer){"w", BUFFER_WEIGHT, k->x, matrix_count(shape), 0.05f};
	b[X] = (struct buffer){"x", BUFFER_INPUT, k->x, x_count(shape), 1};
	return N_BUFFERS;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct gemm_args *)args = (struct gemm_args){
	        .y = memory[Y],
	        .w = memory[W],
	        .x = memory[X],
	        .m = shape->m,
	        .k = shape->k,
	        .n = shape->len,
	        .y_stride = (int)y_stride(shape),
	};
}

/* Products of bf16 are exact in f32: the error is that of their sum. What is behind a row stays. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const struct gemm_case *kc = AS(gemm_case, kase);
	const size_t k = (size_t)shape->k, m = (size_t)shape->m, n = (size_t)shape->len;
	const float *before = data[Y];
	float *w = decode_all(kc->x, data[W], matrix_count(shape));
	float *x = decode_all(kc->x, data[X], x_count(shape));
	for (size_t i = 0; i < n * y_stride(shape); i++) {
		const size_t t = i / y_stride(shape), r = i % y_stride(shape);
		double sum = 0, squares = 0;
		for (size_t j = 0; r < m && w && x && j < k; j++) {
			const double p = (double)w[r * k + j] * x[t * k + j];
			sum += p;
			squares += p * p;
		}
		const double y = kc->add || r >= m ? sum + before[i] : sum;
		expected[Y][i] = y;
		tolerance[Y][i] = r >= m ? 0
		                         : DEVIATIONS * (sum_deviation(k, sum, squares) +
		                                         2 * F32_ROUNDING * sqrt(squares)) +
		                                   F32_ROUNDING * fabs(y);
	}
	free(w);
	free(x);
}

const struct kernel gemm_kernel = {
        KERNEL_MEMBERS(gemm),
        .defaults_only = true,
};
