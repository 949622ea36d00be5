#include "kernels/rms_norm.h"
#include "kernels/describe.h"

static const struct param params[] = {RMS_NORM_PARAMS(PARAM_ROW)};
static const struct param fields[] = {RMS_NORM_FIELDS(FIELD_ROW)};

static bool legal(const int *kase, const int *config, struct target target)
{
	return rms_norm_legal(*AS(rms_norm_case, kase), *AS(rms_norm_config, config), target);
}

#define EPS 1e-6f
enum { Y, X, WEIGHT, RESIDUAL, SUM, N_BUFFERS };

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return legal(kase, config, info->target) && shape->m % 8 == 0;
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)shape, (void)kase;
	const struct rms_norm_config *c = AS(rms_norm_config, config);
	return (struct grid){.x = (unsigned)c->blocks,
	                     .y = 1,
	                     .threads = (unsigned)(c->warps * info->target.lanes)};
}

static double bytes(const struct shape *shape, const int *kase)
{
	const struct rms_norm_case *k = AS(rms_norm_case, kase);
	const size_t n = (size_t)shape->m;
	return (double)dtype_bytes(k->x, (k->residual ? 4 : 2) * n) + 4.0 * shape->m;
}

static double flops(const struct shape *shape, const int *kase)
{
	return (AS(rms_norm_case, kase)->residual ? 5.0 : 4.0) * shape->m;
}

static enum status parse_shape(const char *text, struct shape *shape)
{
	enum status status = STATUS_OK;
	*shape = (struct shape){0};
	TRY(parse_count(text, "rms_norm shape", &shape->m));
	if (shape->m % 8)
		status = fail(STATUS_USAGE, "rms_norm shape '%s': expected a multiple of 8", text);
done:
	return status;
}

static void format_shape(const struct shape *shape, char text[64])
{
	snprintf(text, 64, "%d", shape->m);
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const struct rms_norm_case *k = AS(rms_norm_case, kase);
	const size_t n = (size_t)shape->m;
	b[Y] = (struct buffer){"y", BUFFER_OUTPUT, k->x, n, 0};
	b[X] = (struct buffer){"x", BUFFER_INPUT, k->x, n, 2};
	b[WEIGHT] = (struct buffer){"w", BUFFER_WEIGHT, DTYPE_F32, n, 1};
	b[RESIDUAL] = (struct buffer){"residual", BUFFER_INPUT, k->x, n, 1};
	b[SUM] = (struct buffer){"sum", BUFFER_OUTPUT, k->x, n, 0};
	return k->residual ? N_BUFFERS : RESIDUAL;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	const bool residual = AS(rms_norm_case, kase)->residual;
	(void)config, (void)info;
	*(struct rms_norm_args *)args = (struct rms_norm_args){
	        .y = memory[Y],
	        .x = memory[X],
	        .w = memory[WEIGHT],
	        .residual = residual ? memory[RESIDUAL] : NULL,
	        .sum = residual ? memory[SUM] : NULL,
	        .eps = EPS,
	        .n = shape->m,
	};
}

/* Errors: the sum of squares is of one sign, so its relative error is at most that of n additions,
 * as a random walk; its root halves it. Stored sums are rounded once more before they are
 * normalised. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const struct rms_norm_case *k = AS(rms_norm_case, kase);
	const size_t n = (size_t)shape->m;
	float *x = decode_all(k->x, data[X], n), *w = decode_all(DTYPE_F32, data[WEIGHT], n);
	float *residual = k->residual ? decode_all(k->x, data[RESIDUAL], n) : NULL;
	double squares = 0;
	for (size_t i = 0; i < n && x && w; i++) {
		const double s = x[i] + (residual ? (double)residual[i] : 0);
		squares += s * s;
	}
	const double scale = 1 / sqrt(squares / (double)n + EPS);
	const double scale_error = DEVIATIONS * F32_ROUNDING * (sqrt((double)n) / 2 + 4);
	for (size_t i = 0; i < n && x && w; i++) {
		const double s = x[i] + (residual ? (double)residual[i] : 0);
		const double y = s * scale * w[i];
		const double stored = residual ? store_rounding(k->x, s) : 0;
		expected[Y][i] = y;
		tolerance[Y][i] = fabs(y) * scale_error + stored * fabs(scale * w[i]) +
		                  store_rounding(k->x, y);
		if (residual) {
			expected[SUM][i] = s;
			tolerance[SUM][i] = F32_ROUNDING * fabs(s) + stored;
		}
	}
	free(x);
	free(w);
	free(residual);
}

const struct kernel rms_norm_kernel = {
        KERNEL_MEMBERS(rms_norm),
};
