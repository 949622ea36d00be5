#include "kernels/rope.h"
#include "kernels/describe.h"

static const struct param params[] = {ROPE_PARAMS(PARAM_ROW)};
static const struct param fields[] = {ROPE_FIELDS(FIELD_ROW)};

static bool legal(const int *kase, const int *config, struct target target)
{
	return rope_legal(*AS(rope_case, kase), *AS(rope_config, config), target);
}

/* State of a problem: the position of the new token, the cache it goes into. */
enum { POSITION_NOW = 1000, CAPACITY = 1024 };
#define THETA 1e6
enum { Q, K, V, K_CACHE, V_CACHE, TURNS, POSITION, Q_OUT, N_BUFFERS };

/* Head shapes by their width, for shapes given as one number. */
static const struct shape known_shapes[] = {
        {.m = 14, .k = 2, .head_dim = 64},  {.m = 12, .k = 2, .head_dim = 128},
        {.m = 16, .k = 2, .head_dim = 128}, {.m = 28, .k = 4, .head_dim = 128},
        {.m = 40, .k = 8, .head_dim = 128}, {.m = 64, .k = 8, .head_dim = 128},
};
enum { UNKNOWN_HEAD_DIM = 64 };

void rope_turns(double theta, int head_dim, unsigned long long *turns)
{
	for (int i = 0; i < head_dim / 2; i++) {
		const long double frequency = powl((long double)theta, -2.0L * i / head_dim);
		turns[i] = (unsigned long long)(frequency / (2 * 3.14159265358979323846264338328L) *
		                                        18446744073709551616.0L +
		                                0.5L);
	}
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return legal(kase, config, info->target) &&
	       shape->head_dim / 2 % AS(rope_config, config)->pairs == 0;
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)kase;
	const struct rope_config *c = AS(rope_config, config);
	const unsigned threads = (unsigned)(c->warps * info->target.lanes);
	return (struct grid){.x = div_up((size_t)(shape->head_dim / 2 / c->pairs), threads),
	                     .y = (unsigned)(shape->m + shape->k),
	                     .threads = threads};
}

/* Elements of all query, and of all key or value heads. */
static size_t q_width(const struct shape *s)
{
	return (size_t)s->m * (size_t)s->head_dim;
}
static size_t kv_width(const struct shape *s)
{
	return (size_t)s->k * (size_t)s->head_dim;
}

static double bytes(const struct shape *shape, const int *kase)
{
	const struct rope_case *k = AS(rope_case, kase);
	const double q = 8.0 * (double)q_width(shape), kv = 4.0 * (double)kv_width(shape);
	return q + (k->append ? 2 * kv + 2 * (double)dtype_bytes(k->kv, kv_width(shape)) : 2 * kv);
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 3.0 * (double)(q_width(shape) + kv_width(shape));
}

static enum status parse_shape(const char *text, struct shape *shape)
{
	int width = 0;
	enum status status = STATUS_OK;
	*shape = (struct shape){0};
	TRY(parse_count(text, "rope shape", &width));
	for (int i = 0; i < LENGTH(known_shapes); i++)
		if (q_width(&known_shapes[i]) == (size_t)width)
			*shape = known_shapes[i];
	if (!shape->m && width % UNKNOWN_HEAD_DIM)
		status = fail(STATUS_USAGE, "rope shape '%s': expected a multiple of %d", text,
		              UNKNOWN_HEAD_DIM);
	else if (!shape->m)
		*shape = (struct shape){.m = width / UNKNOWN_HEAD_DIM,
		                        .k = width / UNKNOWN_HEAD_DIM,
		                        .head_dim = UNKNOWN_HEAD_DIM};
done:
	return status;
}

static void format_shape(const struct shape *shape, char text[64])
{
	snprintf(text, 64, "%zu", q_width(shape));
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const struct rope_case *k = AS(rope_case, kase);
	const size_t cache = k->append ? kv_width(shape) * CAPACITY : 32;
	b[Q] = (struct buffer){"q", k->append ? BUFFER_INPUT : BUFFER_INOUT, DTYPE_F32,
	                       q_width(shape), 1};
	b[K] = (struct buffer){"k", k->append ? BUFFER_INPUT : BUFFER_INOUT, DTYPE_F32,
	                       kv_width(shape), 1};
	b[V] = (struct buffer){"v", BUFFER_INPUT, DTYPE_F32, kv_width(shape), 1};
	b[K_CACHE] = (struct buffer){"k_cache", BUFFER_INOUT, k->kv, cache, 1};
	b[V_CACHE] = (struct buffer){"v_cache", BUFFER_INOUT, k->kv, cache, 1};
	b[TURNS] =
	        (struct buffer){"turns", BUFFER_INPUT, DTYPE_U64, (size_t)shape->head_dim / 2, 0};
	b[POSITION] = (struct buffer){"position", BUFFER_INPUT, DTYPE_I32, 1, 0};
	b[Q_OUT] = (struct buffer){"q_out", BUFFER_OUTPUT, DTYPE_F32, q_width(shape), 0};
	return k->append ? N_BUFFERS : Q_OUT;
}

static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)kase;
	rope_turns(THETA, shape->head_dim, data[TURNS]);
	*(int *)data[POSITION] = POSITION_NOW;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)config, (void)info;
	*(struct rope_args *)args = (struct rope_args){
	        .q = memory[Q],
	        .k = memory[K],
	        .q_out = AS(rope_case, kase)->append ? memory[Q_OUT] : NULL,
	        .v = memory[V],
	        .k_cache = memory[K_CACHE],
	        .v_cache = memory[V_CACHE],
	        .turns = memory[TURNS],
	        .position = memory[POSITION],
	        .n_heads = shape->m,
	        .head_dim = shape->head_dim,
	        .capacity = CAPACITY,
	};
}

/* Element i of a head after rotation, and its allowed error: sine and cosine are within 4
 * roundings, the phase within 2^-25 turns, products and sum round thrice. */
static double rotated(const float *x, bool paired, int head_dim, int i, double *tolerance)
{
	const int half = head_dim / 2, p = i % half;
	const double angle = POSITION_NOW * pow(THETA, -2.0 * p / head_dim);
	const double c = cos(angle), s = sin(angle);
	const double a = x[paired ? 2 * p : p], b = x[paired ? 2 * p + 1 : p + half];
	*tolerance = (fabs(a) + fabs(b)) * (0x1p-25 * 6.2831853 + 7 * F32_ROUNDING);
	return i < half ? a * c - b * s : b * c + a * s;
}

static void rotate_heads(const float *x, bool paired, size_t width, int head_dim, double *expected,
                         double *tolerance)
{
	for (size_t i = 0; i < width; i++) {
		const size_t in_head = i % (size_t)head_dim;
		expected[i] =
		        rotated(x + i - in_head, paired, head_dim, (int)in_head, &tolerance[i]);
	}
}

/* The caches as they were, but for the new rows. */
static void reference_caches(const struct shape *shape, int dtype, const void *const *data,
                             double *const *expected, double *const *tolerance)
{
	const size_t d = (size_t)shape->head_dim, count = kv_width(shape) * CAPACITY;
	for (int b = K_CACHE; b <= V_CACHE; b++) {
		float *cache = decode_all(dtype, data[b], count);
		for (size_t i = 0; i < count && cache; i++)
			expected[b][i] = cache[i];
		free(cache);
	}
	for (size_t i = 0; i < kv_width(shape); i++) {
		const size_t at = (i / d * CAPACITY + POSITION_NOW) * d + i % d;
		const float *k = (const float *)data[K] + i / d * d;
		const double v = ((const float *)data[V])[i];
		double *allowed = &tolerance[K_CACHE][at];
		expected[K_CACHE][at] = rotated(k, true, shape->head_dim, (int)(i % d), allowed);
		*allowed += store_rounding(dtype, fabs(expected[K_CACHE][at]) + *allowed);
		expected[V_CACHE][at] = v;
		tolerance[V_CACHE][at] = store_rounding(dtype, v);
	}
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const struct rope_case *k = AS(rope_case, kase);
	const int q = k->append ? Q_OUT : Q;
	rotate_heads(data[Q], k->append, q_width(shape), shape->head_dim, expected[q],
	             tolerance[q]);
	if (k->append) {
		reference_caches(shape, k->kv, data, expected, tolerance);
		return;
	}
	rotate_heads(data[K], false, kv_width(shape), shape->head_dim, expected[K], tolerance[K]);
	for (int b = K_CACHE; b <= V_CACHE; b++) {
		float *cache = decode_all(k->kv, data[b], 32);
		for (size_t i = 0; i < 32 && cache; i++)
			expected[b][i] = cache[i];
		free(cache);
	}
}

const struct kernel rope_kernel = {
        KERNEL_MEMBERS(rope),
        .fill = fill,
};
