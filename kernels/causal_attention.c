#include "kernels/causal_attention.h"
#include "kernels/describe.h"

static const struct param params[] = {CAUSAL_ATTENTION_PARAMS(PARAM_ROW)};
static const struct param fields[] = {CAUSAL_ATTENTION_FIELDS(FIELD_ROW)};

/* Keys before the tokens of a problem, and cache rows behind them. */
enum { POSITION_NOW = 37, ROWS_BEHIND = 3 };
enum { OUT, Q, K, V, N_BUFFERS };

static bool legal(const int *kase, const int *config, struct target target)
{
	return causal_attention_legal(*AS(causal_attention_case, kase),
	                              *AS(causal_attention_config, config), target);
}

static size_t smem_bytes(const struct shape *shape, const int *kase, const int *config,
                         const struct device_info *info)
{
	return sizeof(float) *
	       (size_t)causal_attention_smem_floats(*AS(causal_attention_case, kase),
	                                            *AS(causal_attention_config, config),
	                                            info->target, shape->head_dim);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	const struct causal_attention_case *k = AS(causal_attention_case, kase);
	const int dim = k->head_dim;
	return legal(kase, config, info->target) && shape->k > 0 && shape->m % shape->k == 0 &&
	       shape->head_dim % dtype_block(k->kv) == 0 &&
	       (dim ? dim == shape->head_dim
	            : shape->head_dim % 8 == 0 &&
	                        shape->head_dim <= CAUSAL_ATTENTION_MAX_HEAD_DIM) &&
	       (!info->smem_block_bytes ||
	        smem_bytes(shape, kase, config, info) + 1024 <= info->smem_block_bytes);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	const struct causal_attention_config *c = AS(causal_attention_config, config);
	const int block = causal_attention_rows(*AS(causal_attention_case, kase), *c, info->target);
	const size_t rows = (size_t)shape->len * (size_t)(shape->m / shape->k);
	return (struct grid){.x = div_up(rows, (size_t)block),
	                     .y = (unsigned)shape->k,
	                     .threads = (unsigned)(c->warps * info->target.lanes),
	                     .smem_bytes = smem_bytes(shape, kase, config, info)};
}

static size_t width(const struct shape *s)
{
	return (size_t)s->m * (size_t)s->head_dim;
}
static size_t capacity(const struct shape *s)
{
	return (size_t)s->len + POSITION_NOW + ROWS_BEHIND;
}
static size_t cache_count(const struct shape *s)
{
	return (size_t)s->k * capacity(s) * (size_t)s->head_dim;
}

static double bytes(const struct shape *shape, const int *kase)
{
	const struct causal_attention_case *k = AS(causal_attention_case, kase);
	const size_t n = (size_t)shape->len * width(shape);
	return 4.0 * (double)n + (double)dtype_bytes(k->y, n) +
	       2.0 * (double)dtype_bytes(k->kv, cache_count(shape));
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 4.0 * (double)width(shape) * shape->len * (POSITION_NOW + shape->len / 2.0);
}

SHAPE_IS_HEADS("causal_attention")

static void specialise(const struct shape *shape, int *kase)
{
	const bool known = shape->head_dim == 64 || shape->head_dim == 128;
	kase[0] = known ? shape->head_dim : 0;
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const struct causal_attention_case *k = AS(causal_attention_case, kase);
	const size_t n = (size_t)shape->len * width(shape);
	b[OUT] = (struct buffer){"out", BUFFER_OUTPUT, k->y, n, 0};
	b[Q] = (struct buffer){"q", BUFFER_INPUT, DTYPE_F32, n, 2};
	b[K] = (struct buffer){"k", BUFFER_WEIGHT, k->kv, cache_count(shape), 1};
	b[V] = (struct buffer){"v", BUFFER_WEIGHT, k->kv, cache_count(shape), 1};
	return N_BUFFERS;
}

/* One element as biases of -34 make them, and a last head with scores up to 10^4, of which one
 * takes all weight. */
static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)kase;
	float *q = data[Q];
	const size_t n = (size_t)shape->len * width(shape);
	q[0] = -34;
	for (int i = 0; i < shape->head_dim && shape->m > 1; i++)
		q[n - 1 - (size_t)i] *= 1000;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct causal_attention_args *)args = (struct causal_attention_args){
	        .out = memory[OUT],
	        .q = memory[Q],
	        .k = memory[K],
	        .v = memory[V],
	        .scale = 1 / sqrtf((float)shape->head_dim),
	        .position = POSITION_NOW,
	        .n = shape->len,
	        .n_heads = shape->m,
	        .n_kv_heads = shape->k,
	        .head_dim = shape->head_dim,
	        .capacity = (int)capacity(shape),
	        .out_stride = (int)width(shape),
	};
}

/* By how much a query or a weight is off as tensor cores take it. */
#define SPLIT_ROUNDING (BF16_ROUNDING * BF16_ROUNDING)

/* Scores of one query against n keys, the largest of them, and the largest error of any, as of
 * gqa_attention. */
static double reference_scores(size_t d, int n, const float *q, const float *k, double *score,
                               double *error)
{
	const double scale = 1 / sqrt((double)d);
	double top = -INFINITY;
	*error = 0;
	for (int i = 0; i < n; i++) {
		double sum = 0, squares = 0;
		for (size_t e = 0; e < d; e++) {
			const double p = (double)q[e] * k[(size_t)i * d + e];
			sum += p;
			squares += p * p;
		}
		score[i] = sum * scale;
		top = fmax(top, score[i]);
		*error = fmax(*error, scale * (DEVIATIONS * (sum_deviation(d, sum, squares) +
		                                             SPLIT_ROUNDING * sqrt(squares)) +
		                               4 * F32_ROUNDING * (fabs(sum) + sqrt(squares))));
	}
	return top;
}

/* One query head, which sees n keys. */
static void reference_head(const struct causal_attention_case *kase, size_t d, int n,
                           const float *q, const float *k, const float *v, double *score,
                           double *out, double *tolerance)
{
	double error, sum = 0;
	const double top = reference_scores(d, n, q, k, score, &error);
	for (int i = 0; i < n; i++)
		sum += score[i] = exp(score[i] - top);
	const double relative = expm1(2 * error) +
	                        DEVIATIONS * F32_ROUNDING * (8 + sqrt((double)n)) +
	                        2 * SPLIT_ROUNDING;
	for (size_t e = 0; e < d; e++) {
		double total = 0, mass = 0;
		for (int i = 0; i < n; i++) {
			const double p = score[i] / sum * v[(size_t)i * d + e];
			total += p;
			mass += fabs(p);
		}
		out[e] = total;
		tolerance[e] = relative * mass + 1e-30;
		tolerance[e] += store_rounding(kase->y, fabs(total) + tolerance[e]);
	}
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const struct causal_attention_case *kc = AS(causal_attention_case, kase);
	const size_t d = (size_t)shape->head_dim, rows = capacity(shape) * d;
	float *k = decode_all(kc->kv, data[K], cache_count(shape));
	float *v = decode_all(kc->kv, data[V], cache_count(shape));
	double *score = malloc(capacity(shape) * sizeof *score);
	for (int i = 0; i < shape->len * shape->m && k && v && score; i++) {
		const size_t kv = (size_t)(i % shape->m / (shape->m / shape->k)) * rows;
		const size_t at = (size_t)i * d;
		reference_head(kc, d, POSITION_NOW + i / shape->m + 1, (const float *)data[Q] + at,
		               k + kv, v + kv, score, expected[OUT] + at, tolerance[OUT] + at);
	}
	free(k);
	free(v);
	free(score);
}

const struct kernel causal_attention_kernel = {
        KERNEL_MEMBERS(causal_attention),
        .defaults_only = true,
        .specialise = specialise,
        .fill = fill,
};
