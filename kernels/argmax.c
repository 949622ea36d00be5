#include "kernels/argmax.h"
#include "kernels/describe.h"

static const struct param params[] = {ARGMAX_PARAMS(PARAM_ROW)};
static const struct param fields[] = {ARGMAX_FIELDS(FIELD_ROW)};

static bool legal(const int *kase, const int *config, struct target target)
{
	return argmax_legal(*AS(argmax_case, kase), *AS(argmax_config, config), target);
}

enum { BEST, X, N_BUFFERS };

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	(void)shape;
	return legal(kase, config, info->target);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)shape, (void)kase;
	const struct argmax_config *c = AS(argmax_config, config);
	return (struct grid){
	        .x = (unsigned)c->blocks,
	        .y = 1,
	        .threads = (unsigned)(c->warps * info->target.lanes),
	};
}

static double bytes(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 4.0 * shape->m + 4;
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return shape->m;
}

SHAPE_IS_A_COUNT("argmax shape")

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)kase, (void)config, (void)info;
	b[BEST] = (struct buffer){"best", BUFFER_INOUT, DTYPE_I32, 2, 0}; /* one key */
	b[X] = (struct buffer){"x", BUFFER_INPUT, DTYPE_F32, (size_t)shape->m, 1};
	return N_BUFFERS;
}

/* The largest value twice, with NaN before and between: the first of the two is the answer. */
static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)kase;
	float *x = data[X];
	const int n = shape->m;
	x[0] = x[n / 2] = NAN;
	x[n - 1] = 100;
	x[n - 1 - n / 3] = 100;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct argmax_args *)args = (struct argmax_args){
	        .best = memory[BEST],
	        .x = memory[X],
	        .n = shape->m,
	};
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	(void)kase, (void)tolerance; /* exact: calloc'ed zeros */
	const float *x = data[X];
	int best = 0;
	for (int i = 1; i < shape->m; i++)
		if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i])))
			best = i;
	uint32_t bits;
	memcpy(&bits, &x[best], sizeof bits);
	const uint32_t order = isnan(x[best]) ? 0 : bits >> 31 ? ~bits : bits | 0x80000000u;
	expected[BEST][0] = ~best;
	expected[BEST][1] = (int32_t)order;
}

const struct kernel argmax_kernel = {
        KERNEL_MEMBERS(argmax),
        .fill = fill,
};
