#include "kernels/unpack.h"
#include "kernels/describe.h"

static const struct param params[] = {UNPACK_PARAMS(PARAM_ROW)};
static const struct param fields[] = {UNPACK_FIELDS(FIELD_ROW)};

/* Rows of the table that a problem gathers from. */
enum { TABLE_ROWS = 67 };
enum { Y, W, TOKENS, N_BUFFERS };

static bool legal(const int *kase, const int *config, struct target target)
{
	return unpack_legal(*AS(unpack_case, kase), *AS(unpack_config, config), target);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return legal(kase, config, info->target) && shape->k % 32 == 0 &&
	       shape->k % dtype_block(AS(unpack_case, kase)->w) == 0;
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)kase;
	return grid_of_rows(shape, AS(unpack_config, config)->warps, info);
}

static double bytes(const struct shape *shape, const int *kase)
{
	const struct unpack_case *k = AS(unpack_case, kase);
	return (double)dtype_bytes(k->w, matrix_count(shape)) +
	       (double)dtype_bytes(k->y, matrix_count(shape));
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)shape, (void)kase;
	return 0;
}

SHAPE_IS_A_MATRIX("unpack")

static int table_rows(const struct shape *shape, const int *kase)
{
	return AS(unpack_case, kase)->gather ? TABLE_ROWS : shape->m;
}

static size_t table_count(const struct shape *shape, const int *kase)
{
	return (size_t)table_rows(shape, kase) * (size_t)shape->k;
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const struct unpack_case *k = AS(unpack_case, kase);
	b[Y] = (struct buffer){"y", BUFFER_OUTPUT, k->y, matrix_count(shape), 0};
	b[W] = (struct buffer){"w", BUFFER_WEIGHT, k->w, table_count(shape, kase), 0.05f};
	b[TOKENS] = (struct buffer){"tokens", BUFFER_INPUT, DTYPE_I32, (size_t)shape->m, 0};
	return N_BUFFERS;
}

/* Some token twice, and the first and the last. */
static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)kase;
	for (int i = 0; i < shape->m; i++)
		((int *)data[TOKENS])[i] = (TABLE_ROWS - 1 + 22 * i) % TABLE_ROWS;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)config, (void)info;
	*(struct unpack_args *)args = (struct unpack_args){
	        .y = memory[Y],
	        .w = memory[W],
	        .scale = (const char *)memory[W] +
	                 dtype_scale_offset(AS(unpack_case, kase)->w, table_count(shape, kase)),
	        .tokens = memory[TOKENS],
	        .n_rows = table_rows(shape, kase),
	        .n = shape->m,
	        .k = shape->k,
	};
}

/* Exact: dequantising has at most one rounding, which is the same everywhere, and that to bf16 is
 * to nearest even. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const struct unpack_case *kc = AS(unpack_case, kase);
	const size_t k = (size_t)shape->k;
	float *row = malloc(k * sizeof *row);
	for (size_t r = 0; row && r < (size_t)shape->m; r++) {
		const size_t from = kc->gather ? (size_t)((const int *)data[TOKENS])[r] : r;
		decode(kc->w, data[W], table_count(shape, kase), from * k, row, k);
		for (size_t i = 0; i < k; i++) {
			const float v = row[i];
			expected[Y][r * k + i] =
			        kc->y == DTYPE_BF16 ? bf16_to_f32(f32_to_bf16(v)) : v;
			tolerance[Y][r * k + i] = 0;
		}
	}
	free(row);
}

const struct kernel unpack_kernel = {
        KERNEL_MEMBERS(unpack),
        .defaults_only = true,
        .fill = fill,
};
