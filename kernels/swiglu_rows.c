#include "kernels/swiglu_rows.h"
#include "kernels/describe.h"

static const struct param params[] = {SWIGLU_ROWS_PARAMS(PARAM_ROW)};
static const struct param fields[] = {SWIGLU_ROWS_FIELDS(FIELD_ROW)};

/* Elements behind each row of y in a problem. */
enum { Y_BEHIND = 5 };
enum { Y, X, N_BUFFERS };

static bool legal(const int *kase, const int *config, struct target target)
{
	return swiglu_rows_legal(*AS(swiglu_rows_case, kase), *AS(swiglu_rows_config, config),
	                         target);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	(void)shape;
	return legal(kase, config, info->target);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)kase;
	return grid_of_rows(shape, AS(swiglu_rows_config, config)->warps, info);
}

static size_t y_count(const struct shape *shape)
{
	return (size_t)shape->m * ((size_t)shape->k + Y_BEHIND);
}

static double bytes(const struct shape *shape, const int *kase)
{
	return 8.0 * (double)matrix_count(shape) +
	       (double)dtype_bytes(AS(swiglu_rows_case, kase)->y, matrix_count(shape));
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 5.0 * (double)matrix_count(shape);
}

SHAPE_IS_A_MATRIX("swiglu_rows")

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const int y = AS(swiglu_rows_case, kase)->y;
	b[Y] = (struct buffer){"y", BUFFER_OUTPUT, y, y_count(shape), 0};
	b[X] = (struct buffer){"x", BUFFER_INPUT, DTYPE_F32, 2 * matrix_count(shape), 2};
	return N_BUFFERS;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct swiglu_rows_args *)args = (struct swiglu_rows_args){
	        .y = memory[Y],
	        .x = memory[X],
	        .n = shape->m,
	        .width = shape->k,
	        .y_stride = shape->k + Y_BEHIND,
	};
}

/* e^-gate is computed as a power of two, whose exponent is rounded. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const int dtype = AS(swiglu_rows_case, kase)->y;
	const size_t k = (size_t)shape->k, stride = k + Y_BEHIND;
	for (size_t i = 0; i < matrix_count(shape); i++) {
		const float *x = (const float *)data[X] + 2 * i;
		const double gate = x[0], y = gate / (1 + exp(-gate)) * x[1];
		const double error = F32_ROUNDING * (16 + 2 * fabs(gate)) * fabs(y);
		const size_t at = i / k * stride + i % k;
		expected[Y][at] = y;
		tolerance[Y][at] = error + store_rounding(dtype, fabs(y) + error);
	}
}

const struct kernel swiglu_rows_kernel = {
        KERNEL_MEMBERS(swiglu_rows),
        .defaults_only = true,
};
