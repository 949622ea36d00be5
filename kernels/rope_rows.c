#include "kernels/rope_rows.h"
#include "kernels/describe.h"
#include "kernels/rope.h"

static const struct param params[] = {ROPE_ROWS_PARAMS(PARAM_ROW)};
static const struct param fields[] = {ROPE_ROWS_FIELDS(FIELD_ROW)};

/* Where the tokens of a problem begin, their cache rows, and rows behind them. */
enum { POSITION_NOW = 1000, ROW_NOW = 30, ROWS_BEHIND = 2 };
#define THETA 1e6
enum { Q, QKV, BIAS, K_CACHE, V_CACHE, TURNS, N_BUFFERS };

static bool legal(const int *kase, const int *config, struct target target)
{
	return rope_rows_legal(*AS(rope_rows_case, kase), *AS(rope_rows_config, config), target);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return legal(kase, config, info->target) && shape->head_dim % 2 == 0;
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)kase;
	const struct rope_rows_config *c = AS(rope_rows_config, config);
	return (struct grid){.x = (unsigned)shape->len,
	                     .y = 1,
	                     .threads = (unsigned)(c->warps * info->target.lanes)};
}

static size_t q_width(const struct shape *s)
{
	return (size_t)s->m * (size_t)s->head_dim;
}
static size_t kv_width(const struct shape *s)
{
	return (size_t)s->k * (size_t)s->head_dim;
}
static size_t width(const struct shape *s)
{
	return q_width(s) + 2 * kv_width(s);
}
static size_t capacity(const struct shape *s)
{
	return (size_t)s->len + ROW_NOW + ROWS_BEHIND;
}

static double bytes(const struct shape *shape, const int *kase)
{
	const int kv = AS(rope_rows_case, kase)->kv;
	return shape->len * (4.0 * (double)(width(shape) + q_width(shape)) +
	                     2.0 * (double)dtype_bytes(kv, kv_width(shape))) +
	       4.0 * (double)width(shape);
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return shape->len *
	       (4.0 * (double)(q_width(shape) + kv_width(shape)) + (double)kv_width(shape));
}

SHAPE_IS_HEADS("rope_rows")

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const int kv = AS(rope_rows_case, kase)->kv;
	const size_t n = (size_t)shape->len, cache = kv_width(shape) * capacity(shape);
	b[Q] = (struct buffer){"q", BUFFER_OUTPUT, DTYPE_F32, n * q_width(shape), 0};
	b[QKV] = (struct buffer){"qkv", BUFFER_INPUT, DTYPE_F32, n * width(shape), 1};
	b[BIAS] = (struct buffer){"bias", BUFFER_WEIGHT, DTYPE_F32, width(shape), 1};
	b[K_CACHE] = (struct buffer){"k_cache", BUFFER_INOUT, kv, cache, 1};
	b[V_CACHE] = (struct buffer){"v_cache", BUFFER_INOUT, kv, cache, 1};
	b[TURNS] =
	        (struct buffer){"turns", BUFFER_INPUT, DTYPE_U64, (size_t)shape->head_dim / 2, 0};
	return N_BUFFERS;
}

static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)kase;
	rope_turns(THETA, shape->head_dim, data[TURNS]);
	((float *)data[BIAS])[width(shape) / 2] = -34;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct rope_rows_args *)args = (struct rope_rows_args){
	        .q = memory[Q],
	        .qkv = memory[QKV],
	        .bias = memory[BIAS],
	        .k_cache = memory[K_CACHE],
	        .v_cache = memory[V_CACHE],
	        .turns = memory[TURNS],
	        .position = POSITION_NOW,
	        .row = ROW_NOW,
	        .n = shape->len,
	        .n_heads = shape->m,
	        .n_kv_heads = shape->k,
	        .head_dim = shape->head_dim,
	        .capacity = (int)capacity(shape),
	};
}

/* Elements i and i + head_dim / 2 of a head at x, with errors as of rope, and one more of the
 * bias. */
static void rotated(const float *x, const float *bias, int head_dim, int i, int position,
                    double to[2], double *tolerance)
{
	const double angle = position * pow(THETA, -2.0 * i / head_dim);
	const double c = cos(angle), s = sin(angle);
	const double a = (double)x[2 * i] + bias[2 * i], b = (double)x[2 * i + 1] + bias[2 * i + 1];
	*tolerance = (fabs(a) + fabs(b)) * (0x1p-25 * 6.2831853 + 8 * F32_ROUNDING);
	to[0] = a * c - b * s;
	to[1] = b * c + a * s;
}

/* One head of one token: expected[at] and, half a head on, its partner, or a value head's. */
struct head {
	const float *x, *bias;
	size_t at;
	int dtype; /* it is stored as */
};

static void reference_head(const struct shape *shape, const struct head *h, int position,
                           bool is_value, double *expected, double *tolerance)
{
	const int half = shape->head_dim / 2;
	for (int i = 0; i < half; i++)
		for (int j = 0; j < 2; j++) {
			double turned[2], error;
			rotated(h->x, h->bias, shape->head_dim, i, position, turned, &error);
			const int e = is_value ? 2 * i + j : i + j * half;
			const double v = is_value ? (double)h->x[e] + h->bias[e] : turned[j];
			if (is_value)
				error = F32_ROUNDING * fabs(v);
			expected[h->at + (size_t)e] = v;
			tolerance[h->at + (size_t)e] =
			        error + store_rounding(h->dtype, fabs(v) + error);
		}
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const int kv = AS(rope_rows_case, kase)->kv, n_heads = shape->m, n_kv = shape->k;
	const size_t d = (size_t)shape->head_dim, rows = capacity(shape);
	for (int b = K_CACHE; b <= V_CACHE; b++) {
		float *cache = decode_all(kv, data[b], kv_width(shape) * rows);
		for (size_t i = 0; cache && i < kv_width(shape) * rows; i++)
			expected[b][i] = cache[i];
		free(cache);
	}
	for (int t = 0; t < shape->len; t++)
		for (int i = 0; i < n_heads + 2 * n_kv; i++) {
			const bool is_query = i < n_heads, is_value = i >= n_heads + n_kv;
			const int b = is_query ? Q : is_value ? V_CACHE : K_CACHE;
			const size_t kv_head = (size_t)((i - n_heads) % n_kv);
			const struct head h = {
			        .x = (const float *)data[QKV] + (size_t)t * width(shape) +
			             (size_t)i * d,
			        .bias = (const float *)data[BIAS] + (size_t)i * d,
			        .at = is_query ? ((size_t)t * (size_t)n_heads + (size_t)i) * d
			                       : (kv_head * rows + ROW_NOW + (size_t)t) * d,
			        .dtype = is_query ? DTYPE_F32 : kv,
			};
			reference_head(shape, &h, POSITION_NOW + t, is_value, expected[b],
			               tolerance[b]);
		}
}

const struct kernel rope_rows_kernel = {
        KERNEL_MEMBERS(rope_rows),
        .defaults_only = true,
        .fill = fill,
};
