#include "kernels/gemv.h"
#include "kernels/describe.h"

static const struct param params[] = {GEMV_PARAMS(PARAM_ROW)};
static const struct param fields[] = {GEMV_FIELDS(FIELD_ROW)};

enum { Y, W, X, ADDEND, N_BUFFERS };

/* Beyond this many weights the reference computes some rows only. */
#define REFERENCE_WEIGHTS (1u << 26)

static bool legal(const int *kase, const int *config, struct target target)
{
	return gemv_legal(*AS(gemv_case, kase), *AS(gemv_config, config), target);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return legal(kase, config, info->target) && shape->k % 32 == 0 &&
	       (AS(gemv_case, kase)->epilogue != EPILOGUE_SWIGLU || shape->m % 2 == 0);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)kase;
	const struct gemv_config *c = AS(gemv_config, config);
	const int warp = info->target.lanes, lanes = c->lanes < warp ? c->lanes : warp;
	return (struct grid){
	        .x = div_up((size_t)shape->m, (size_t)(c->warps * warp / lanes * c->rows)),
	        .y = 1,
	        .threads = (unsigned)(c->warps * warp),
	};
}

static size_t n_outputs(const struct shape *shape, const int *kase)
{
	return (size_t)shape->m / (AS(gemv_case, kase)->epilogue == EPILOGUE_SWIGLU ? 2 : 1);
}

static bool has_addend(int epilogue)
{
	return epilogue == EPILOGUE_BIAS || epilogue == EPILOGUE_RESIDUAL;
}

static double bytes(const struct shape *shape, const int *kase)
{
	const struct gemv_case *k = AS(gemv_case, kase);
	const int addend = k->epilogue == EPILOGUE_BIAS ? DTYPE_F32 : k->x;
	return (double)dtype_bytes(k->w, (size_t)shape->m * (size_t)shape->k) +
	       (double)dtype_bytes(k->x, (size_t)shape->k + n_outputs(shape, kase)) +
	       (has_addend(k->epilogue) ? (double)dtype_bytes(addend, (size_t)shape->m) : 0);
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 2.0 * shape->m * shape->k;
}

static enum status parse_shape(const char *text, struct shape *shape)
{
	char end;
	*shape = (struct shape){0};
	if (sscanf(text, "%dx%d%c", &shape->m, &shape->k, &end) != 2 || shape->m < 1 ||
	    shape->k < 1 || shape->k % 32)
		return fail(STATUS_USAGE,
		            "gemv shape '%s': expected MxK such as 896x4864, K a multiple of 32",
		            text);
	return STATUS_OK;
}

static void format_shape(const struct shape *shape, char text[64])
{
	snprintf(text, 64, "%dx%d", shape->m, shape->k);
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const struct gemv_case *k = AS(gemv_case, kase);
	const size_t m = (size_t)shape->m, n = (size_t)shape->k;
	b[Y] = (struct buffer){"y", BUFFER_OUTPUT, k->x, n_outputs(shape, kase), 0};
	b[W] = (struct buffer){"w", BUFFER_WEIGHT, k->w, m * n, 0.05f};
	b[X] = (struct buffer){"x", BUFFER_INPUT, k->x, n, 1};
	b[ADDEND] = k->epilogue == EPILOGUE_BIAS
	                    ? (struct buffer){"bias", BUFFER_WEIGHT, DTYPE_F32, m, 1}
	                    : (struct buffer){"residual", BUFFER_INPUT, k->x, m, 1};
	return has_addend(k->epilogue) ? N_BUFFERS : ADDEND;
}

/* Outliers as the biases of Qwen2 have them. */
static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	if (AS(gemv_case, kase)->epilogue != EPILOGUE_BIAS || shape->m < 8)
		return;
	float *bias = data[ADDEND];
	bias[shape->m / 2] = -14;
	bias[shape->m - 3] = -34;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)config, (void)info;
	const struct gemv_case *k = AS(gemv_case, kase);
	const size_t count = (size_t)shape->m * (size_t)shape->k;
	*(struct gemv_args *)args = (struct gemv_args){
	        .y = memory[Y],
	        .w = memory[W],
	        .scale = (const char *)memory[W] + dtype_scale_offset(k->w, count),
	        .x = memory[X],
	        .bias = k->epilogue == EPILOGUE_BIAS ? memory[ADDEND] : NULL,
	        .residual = k->epilogue == EPILOGUE_RESIDUAL ? memory[ADDEND] : NULL,
	        .m = shape->m,
	        .k = shape->k,
	};
}

/* A row's product and its allowed error. */
static void reference_row(const float *w, const float *x, size_t n, double *sum, double *error)
{
	double sums[4] = {0}, squares[4] = {0};
	for (size_t i = 0; i < n; i += 4) /* n is a multiple of 32 */
		for (size_t j = 0; j < 4; j++) {
			const double p = (double)w[i + j] * x[i + j];
			sums[j] += p;
			squares[j] += p * p;
		}
	*sum = sums[0] + sums[1] + sums[2] + sums[3];
	*error = DEVIATIONS *
	         sum_deviation(n, *sum, squares[0] + squares[1] + squares[2] + squares[3]);
}

/* y = silu(gate) up; e^-gate is computed as a power of two, whose exponent is rounded. */
static void reference_swiglu(const double *sum, const double *error, double *y, double *tolerance)
{
	const double gate = sum[0], up = sum[1], silu = gate / (1 + exp(-gate));
	*y = silu * up;
	*tolerance = 1.1 * error[0] * fabs(up) + error[1] * fabs(silu) +
	             F32_ROUNDING * (16 + 2 * fabs(gate)) * fabs(*y);
}

/* Errors: those of an f32 sum of exact products, of the epilogue, and of storing y. Large matrices
 * are checked on a random subset of outputs; the tolerance of the others is infinite. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const struct gemv_case *k = AS(gemv_case, kase);
	const size_t n = (size_t)shape->k, count = (size_t)shape->m * n,
	             n_y = n_outputs(shape, kase);
	const size_t rows = (size_t)shape->m / n_y;
	float *x = decode_all(k->x, data[X], n), *w = malloc(n * sizeof *w);
	float *addend = has_addend(k->epilogue)
	                        ? decode_all(k->epilogue == EPILOGUE_BIAS ? DTYPE_F32 : k->x,
	                                     data[ADDEND], n_y)
	                        : NULL;
	const double share = (double)REFERENCE_WEIGHTS / (double)count;
	unsigned random = 1;
	for (size_t i = 0; i < n_y && x && w; i++) {
		double sum[2], error[2], *y = &expected[Y][i], *allowed = &tolerance[Y][i];
		random = random * 1664525 + 1013904223;
		*y = 0;
		*allowed = INFINITY;
		if (i > 0 && i + 1 < n_y && random / 4294967296.0 > share)
			continue;
		for (size_t r = 0; r < rows; r++) {
			decode(k->w, data[W], count, (i * rows + r) * n, w, n);
			reference_row(w, x, n, &sum[r], &error[r]);
		}
		*y = sum[0] + (addend ? addend[i] : 0);
		*allowed = error[0] + F32_ROUNDING * fabs(*y);
		if (k->epilogue == EPILOGUE_SWIGLU)
			reference_swiglu(sum, error, y, allowed);
		*allowed += store_rounding(k->x, *y);
	}
	free(x);
	free(w);
	free(addend);
}

const struct kernel gemv_kernel = {
        KERNEL_MEMBERS(gemv),
        .fill = fill,
};
