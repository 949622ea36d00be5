#include "kernels/norm_rows.h"
#include "kernels/describe.h"

static const struct param params[] = {NORM_ROWS_PARAMS(PARAM_ROW)};
static const struct param fields[] = {NORM_ROWS_FIELDS(FIELD_ROW)};

#define EPS 1e-6f
enum { Y, X, WEIGHT, N_BUFFERS };

static bool legal(const int *kase, const int *config, struct target target)
{
	return norm_rows_legal(*AS(norm_rows_case, kase), *AS(norm_rows_config, config), target);
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
	return grid_of_rows(shape, AS(norm_rows_config, config)->warps, info);
}

static double bytes(const struct shape *shape, const int *kase)
{
	return (double)dtype_bytes(AS(norm_rows_case, kase)->y, matrix_count(shape)) +
	       4.0 * ((double)matrix_count(shape) + shape->k);
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 4.0 * (double)matrix_count(shape);
}

SHAPE_IS_A_MATRIX("norm_rows")

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const int y = AS(norm_rows_case, kase)->y;
	b[Y] = (struct buffer){"y", BUFFER_OUTPUT, y, matrix_count(shape), 0};
	b[X] = (struct buffer){"x", BUFFER_INPUT, DTYPE_F32, matrix_count(shape), 2};
	b[WEIGHT] = (struct buffer){"w", BUFFER_WEIGHT, DTYPE_F32, (size_t)shape->k, 1};
	return N_BUFFERS;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct norm_rows_args *)args = (struct norm_rows_args){
	        .y = memory[Y],
	        .x = memory[X],
	        .w = memory[WEIGHT],
	        .eps = EPS,
	        .n = shape->m,
	        .k = shape->k,
	        .n_norm = shape->k,
	};
}

/* Errors: as of rms_norm. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const int dtype = AS(norm_rows_case, kase)->y;
	const size_t k = (size_t)shape->k;
	const float *w = data[WEIGHT];
	const double scale_error = DEVIATIONS * F32_ROUNDING * (sqrt((double)k) / 2 + 4);
	for (size_t r = 0; r < (size_t)shape->m; r++) {
		const float *x = (const float *)data[X] + r * k;
		double squares = 0;
		for (size_t i = 0; i < k; i++)
			squares += (double)x[i] * x[i];
		const double scale = 1 / sqrt(squares / (double)k + EPS);
		for (size_t i = 0; i < k; i++) {
			const double y = x[i] * scale * w[i], error = fabs(y) * scale_error;
			expected[Y][r * k + i] = y;
			tolerance[Y][r * k + i] = error + store_rounding(dtype, fabs(y) + error);
		}
	}
}

const struct kernel norm_rows_kernel = {
        KERNEL_MEMBERS(norm_rows),
        .defaults_only = true,
};
