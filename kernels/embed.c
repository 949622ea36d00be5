#include "kernels/embed.h"
#include "kernels/describe.h"

static const struct param params[] = {EMBED_PARAMS(PARAM_ROW)};
static const struct param fields[] = {EMBED_FIELDS(FIELD_ROW)};

static bool legal(const int *kase, const int *config, struct target target)
{
	return embed_legal(*AS(embed_case, kase), *AS(embed_config, config), target);
}

/* Rows of the table in a problem, and the one that is looked up. */
enum { ROWS = 67, TOKEN_ROW = 41 };
enum { Y, W, TOKEN, N_BUFFERS };

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return legal(kase, config, info->target) && shape->m % 32 == 0 &&
	       shape->m % dtype_block(AS(embed_case, kase)->w) == 0;
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)shape, (void)kase;
	const struct embed_config *c = AS(embed_config, config);
	return (struct grid){.x = 1, .y = 1, .threads = (unsigned)(c->warps * info->target.lanes)};
}

static double bytes(const struct shape *shape, const int *kase)
{
	return (double)dtype_bytes(AS(embed_case, kase)->w, (size_t)shape->m) + 4.0 * shape->m;
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)shape, (void)kase;
	return 0;
}

SHAPE_IS_A_COUNT("embed shape")

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const size_t n = (size_t)shape->m;
	b[Y] = (struct buffer){"y", BUFFER_OUTPUT, DTYPE_F32, n, 0};
	b[W] = (struct buffer){"w", BUFFER_WEIGHT, AS(embed_case, kase)->w, ROWS * n, 0.05f};
	b[TOKEN] = (struct buffer){"token", BUFFER_INPUT, DTYPE_I32, 1, 0};
	return N_BUFFERS;
}

static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)shape, (void)kase;
	*(int *)data[TOKEN] = TOKEN_ROW;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)config, (void)info;
	*(struct embed_args *)args = (struct embed_args){
	        .y = memory[Y],
	        .w = memory[W],
	        .scale = (const char *)memory[W] +
	                 dtype_scale_offset(AS(embed_case, kase)->w, (size_t)shape->m * ROWS),
	        .token = memory[TOKEN],
	        .n_rows = ROWS,
	        .n = shape->m,
	};
}

/* Exact: a conversion to f32, with at most one rounding. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const size_t n = (size_t)shape->m;
	float *row = malloc(n * sizeof *row);
	if (!row)
		return;
	dtype_planes_to_f32(AS(embed_case, kase)->w, data[W], ROWS * n, TOKEN_ROW * n, n, row);
	for (size_t i = 0; i < n; i++) {
		expected[Y][i] = row[i];
		tolerance[Y][i] = 0;
	}
	free(row);
}

const struct kernel embed_kernel = {
        KERNEL_MEMBERS(embed),
        .fill = fill,
};
