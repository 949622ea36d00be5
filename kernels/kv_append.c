#include "kernels/kv_append.h"
#include "kernels/describe.h"

static const struct param params[] = {KV_APPEND_PARAMS(PARAM_ROW)};
static const struct param fields[] = {KV_APPEND_FIELDS(FIELD_ROW)};

/* Where the rows of a problem begin, and cache rows behind them. */
enum { ROW_NOW = 7, POSITION_NOW = 30, ROWS_BEHIND = 2 };
enum { K, V, K_CACHE, V_CACHE, POSITION, N_BUFFERS };

static bool legal(const int *kase, const int *config, struct target target)
{
	return kv_append_legal(*AS(kv_append_case, kase), *AS(kv_append_config, config), target);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return legal(kase, config, info->target) &&
	       shape->head_dim % dtype_block(AS(kv_append_case, kase)->kv) == 0;
}

/* Elements of the new keys, or values. */
static size_t count(const struct shape *s)
{
	return (size_t)s->m * (size_t)s->k * (size_t)s->head_dim;
}
static int capacity(const struct shape *s)
{
	return s->m + ROW_NOW + POSITION_NOW + ROWS_BEHIND;
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	const size_t block = (size_t)dtype_block(AS(kv_append_case, kase)->kv);
	const unsigned threads =
	        (unsigned)(AS(kv_append_config, config)->warps * info->target.lanes);
	return (struct grid){
	        .x = div_up(2 * count(shape) / block, threads), .y = 1, .threads = threads};
}

static double bytes(const struct shape *shape, const int *kase)
{
	return 2.0 * (double)(dtype_bytes(DTYPE_F32, count(shape)) +
	                      dtype_bytes(AS(kv_append_case, kase)->kv, count(shape)));
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 4.0 * (double)count(shape);
}

static enum status parse_shape(const char *text, struct shape *shape)
{
	char end;
	*shape = (struct shape){0};
	if (sscanf(text, "%d/%d/%d%c", &shape->m, &shape->k, &shape->head_dim, &end) != 3 ||
	    shape->m < 1 || shape->k < 1 || shape->head_dim < 32 || shape->head_dim % 32)
		return fail(STATUS_USAGE,
		            "kv_append shape '%s': expected tokens/kv-heads/head_dim such as "
		            "1/2/64, head_dim a multiple of 32",
		            text);
	return STATUS_OK;
}

static void format_shape(const struct shape *shape, char text[64])
{
	snprintf(text, 64, "%d/%d/%d", shape->m, shape->k, shape->head_dim);
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const int kv = AS(kv_append_case, kase)->kv;
	const size_t cache = (size_t)shape->k * (size_t)capacity(shape) * (size_t)shape->head_dim;
	b[K] = (struct buffer){"k", BUFFER_INPUT, DTYPE_F32, count(shape), 1};
	b[V] = (struct buffer){"v", BUFFER_INPUT, DTYPE_F32, count(shape), 1};
	b[K_CACHE] = (struct buffer){"k_cache", BUFFER_INOUT, kv, cache, 1};
	b[V_CACHE] = (struct buffer){"v_cache", BUFFER_INOUT, kv, cache, 1};
	b[POSITION] = (struct buffer){"position", BUFFER_INPUT, DTYPE_I32, 1, 0};
	return N_BUFFERS;
}

/* One element as biases of -34 make them, and a block of zeros. */
static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)shape;
	((float *)data[K])[1] = -34;
	memset(data[V], 0, (size_t)dtype_block(AS(kv_append_case, kase)->kv) * sizeof(float));
	*(int *)data[POSITION] = POSITION_NOW;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct kv_append_args *)args = (struct kv_append_args){
	        .k = memory[K],
	        .v = memory[V],
	        .k_cache = memory[K_CACHE],
	        .v_cache = memory[V_CACHE],
	        .position = memory[POSITION],
	        .row = ROW_NOW,
	        .n = shape->m,
	        .n_kv_heads = shape->k,
	        .head_dim = shape->head_dim,
	        .capacity = capacity(shape),
	};
}

void kv_append_rounding(const double *x, double *error, int n)
{
	for (int i = 0; i < n; i += 32) {
		double largest = 0;
		for (int j = i; j < i + 32; j++)
			largest = fmax(largest, fabs(x[j]));
		for (int j = i; j < i + 32; j++)
			error[j] = largest / 254 * (1 + 2 * F16_ROUNDING) +
			           fabs(x[j]) * F16_ROUNDING + 127 * 0x1p-25;
	}
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const int kv = AS(kv_append_case, kase)->kv;
	const size_t d = (size_t)shape->head_dim, n = (size_t)shape->m;
	const size_t rows = (size_t)capacity(shape), heads = (size_t)shape->k;
	for (int is_value = 0; is_value < 2; is_value++) {
		const float *x = data[is_value ? V : K];
		double *to = expected[K_CACHE + is_value], *error = tolerance[K_CACHE + is_value];
		float *cache = decode_all(kv, data[K_CACHE + is_value], heads * rows * d);
		for (size_t i = 0; cache && i < heads * rows * d; i++)
			to[i] = cache[i];
		free(cache);
		for (size_t row = 0; row < heads * n; row++) {
			const size_t at = (row / n * rows + ROW_NOW + POSITION_NOW + row % n) * d;
			for (size_t i = 0; i < d; i++)
				to[at + i] = x[row * d + i];
			kv_append_rounding(to + at, error + at, shape->head_dim);
		}
	}
}

const struct kernel kv_append_kernel = {
        KERNEL_MEMBERS(kv_append),
        .defaults_only = true,
        .fill = fill,
};
