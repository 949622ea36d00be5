#include <stddef.h>

#include "kernels/gqa_attention.h"
#include "kernels/describe.h"

const struct kernel gqa_attention_kernel;
static const struct param params[] = {GQA_ATTENTION_PARAMS(PARAM_ROW)};
static const struct param fields[] = {GQA_ATTENTION_FIELDS(FIELD_ROW)};

enum {
	SPLITS = offsetof(struct gqa_attention_config, splits) / sizeof(int),
	COMBINERS = offsetof(struct gqa_attention_config, combiners) / sizeof(int)
};

static bool legal(const int *kase, const int *config, struct target target)
{
	return gqa_attention_legal(*AS(gqa_attention_case, kase), *AS(gqa_attention_config, config),
	                           target);
}

/* The splits are the grid's; as many as there may be go with all else. */
static void code_of(int *config)
{
	config[SPLITS] = params[SPLITS].values[params[SPLITS].n_values - 1];
}

enum { OUT, Q, K, V, POSITION, PARTIAL, POSTED, ARRIVED, SPLIT_TRACE, HEAD_TRACE, N_BUFFERS };

static int group_of(const struct shape *shape)
{
	return shape->m / shape->k;
}

/* Query heads that one block serves. */
static int block_group(const int *kase)
{
	const int group = AS(gqa_attention_case, kase)->group;
	return group ? group : 1;
}

static size_t smem_bytes(const struct shape *shape, const int *kase, const int *config,
                         const struct device_info *info)
{
	return sizeof(float) * (size_t)gqa_attention_smem_floats(*AS(gqa_attention_case, kase),
	                                                         *AS(gqa_attention_config, config),
	                                                         info->target, shape->head_dim);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	const struct gqa_attention_case *k = AS(gqa_attention_case, kase);
	const bool fits =
	        k->head_dim
	                ? k->head_dim == shape->head_dim && k->group == group_of(shape)
	                : shape->head_dim % 8 == 0 && shape->head_dim <= GQA_ATTENTION_MAX_HEAD_DIM;
	const bool whole_blocks = shape->head_dim % dtype_block(k->kv) == 0;
	/* combiners wait for blocks that must find room: one block fits every multiprocessor */
	const struct gqa_attention_config *c = AS(gqa_attention_config, config);
	const int rows = shape->m / block_group(kase), waiting = rows * (c->combiners - 1);
	const size_t smem = smem_bytes(shape, kase, config, info) + 1024; /* 1 KB is the system's */
	/* who polls holds the place of a block that it waits for, unless all have one */
	const bool all_fit = (int64_t)rows * c->splits <= (int64_t)info->sm_count * c->min_blocks &&
	                     (size_t)c->min_blocks * smem <= info->smem_block_bytes + 1024;
	return legal(kase, config, info->target) && shape->k > 0 && shape->m % shape->k == 0 &&
	       fits && whole_blocks && (!waiting || waiting < info->sm_count) &&
	       (!c->poll || all_fit) && (!info->smem_block_bytes || smem <= info->smem_block_bytes);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	const struct gqa_attention_config *c = AS(gqa_attention_config, config);
	return (struct grid){
	        .x = (unsigned)(shape->m / block_group(kase)),
	        .y = (unsigned)c->splits,
	        .threads = (unsigned)(c->warps * info->target.lanes),
	        .smem_bytes = smem_bytes(shape, kase, config, info),
	};
}

static size_t q_width(const struct shape *s)
{
	return (size_t)s->m * (size_t)s->head_dim;
}
static size_t cache_width(const struct shape *s)
{
	return (size_t)s->k * (size_t)s->len * (size_t)s->head_dim;
}

static double bytes(const struct shape *shape, const int *kase)
{
	return 2.0 * (double)dtype_bytes(AS(gqa_attention_case, kase)->kv, cache_width(shape)) +
	       8.0 * (double)q_width(shape);
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 4.0 * (double)q_width(shape) * shape->len;
}

static enum status parse_shape(const char *text, struct shape *shape)
{
	char end;
	*shape = (struct shape){0};
	if (sscanf(text, "%d/%d/%d@%d%c", &shape->m, &shape->k, &shape->head_dim, &shape->len,
	           &end) != 4 ||
	    shape->m < 1 || shape->k < 1 || shape->m % shape->k || shape->len < 1 ||
	    shape->head_dim < 8 || shape->head_dim % 8 ||
	    shape->head_dim > GQA_ATTENTION_MAX_HEAD_DIM)
		return fail(
		        STATUS_USAGE,
		        "gqa_attention shape '%s': expected heads/kv-heads/head_dim@length such as "
		        "14/2/64@1024, head_dim a multiple of 8 up to %d",
		        text, GQA_ATTENTION_MAX_HEAD_DIM);
	return STATUS_OK;
}

static void format_shape(const struct shape *shape, char text[64])
{
	snprintf(text, 64, "%d/%d/%d@%d", shape->m, shape->k, shape->head_dim, shape->len);
}

#define CASE_VALUES(...) {__VA_ARGS__},
static const int cases[][LENGTH(fields)] = {GQA_ATTENTION_CASES(CASE_VALUES)};

static void specialise(const struct shape *shape, int *kase)
{
	struct gqa_attention_case k = *AS(gqa_attention_case, kase);
	k.head_dim = k.group = 0;
	for (int i = 0; i < LENGTH(cases); i++) {
		const struct gqa_attention_case *known = AS(gqa_attention_case, cases[i]);
		if (known->kv == k.kv && known->head_dim == shape->head_dim &&
		    known->group == group_of(shape))
			k = *known;
	}
	memcpy(kase, &k, sizeof k);
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)info;
	const struct gqa_attention_case *k = AS(gqa_attention_case, kase);
	const size_t heads = (size_t)shape->m;
	const size_t records = heads * (size_t)AS(gqa_attention_config, config)->splits;
	const size_t record = (size_t)shape->head_dim + ATTENTION_RECORD_TAIL;
	b[OUT] = (struct buffer){"out", BUFFER_OUTPUT, DTYPE_F32, q_width(shape), 0};
	b[Q] = (struct buffer){"q", BUFFER_INPUT, DTYPE_F32, q_width(shape), 2};
	b[K] = (struct buffer){"k", BUFFER_WEIGHT, k->kv, cache_width(shape), 1};
	b[V] = (struct buffer){"v", BUFFER_WEIGHT, k->kv, cache_width(shape), 1};
	b[POSITION] = (struct buffer){"position", BUFFER_INPUT, DTYPE_I32, 1, 0};
	b[PARTIAL] = (struct buffer){"partial", BUFFER_SCRATCH, DTYPE_F32, records * record, 0};
	b[POSTED] = (struct buffer){"posted", BUFFER_SCRATCH, DTYPE_F32,
	                            records * (size_t)shape->head_dim / 4 * ATTENTION_POSTED, 0};
	b[ARRIVED] = (struct buffer){"arrived", BUFFER_SCRATCH, DTYPE_I32, heads, 0};
	b[SPLIT_TRACE] =
	        (struct buffer){"split_trace", BUFFER_SCRATCH, DTYPE_I32,
	                        records * sizeof(struct attention_split_trace) / sizeof(int), 0};
	b[HEAD_TRACE] =
	        (struct buffer){"head_trace", BUFFER_SCRATCH, DTYPE_I32,
	                        heads * sizeof(struct attention_head_trace) / sizeof(int), 0};
	return N_BUFFERS;
}

/* One element as biases of -34 make them, and a last head with scores up to 10^4, of which one
 * takes all weight. */
static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)kase;
	float *q = data[Q];
	q[0] = -34;
	for (int i = 0; i < shape->head_dim && shape->m > 1; i++)
		q[q_width(shape) - 1 - (size_t)i] *= 1000;
	*(int *)data[POSITION] = shape->len - 1;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct gqa_attention_args *)args = (struct gqa_attention_args){
	        .out = memory[OUT],
	        .q = memory[Q],
	        .k = memory[K],
	        .v = memory[V],
	        .partial = memory[PARTIAL],
	        .posted = memory[POSTED],
	        .arrived = memory[ARRIVED],
	        .position = memory[POSITION],
	        .scale = 1 / sqrtf((float)shape->head_dim),
	        .n_heads = shape->m,
	        .n_kv_heads = shape->k,
	        .head_dim = shape->head_dim,
	        .capacity = shape->len,
	        .split_trace = memory[SPLIT_TRACE],
	        .head_trace = memory[HEAD_TRACE],
	};
}

/* Scores of one query against all keys, the largest of them, and the largest error of any. A score
 * is an f32 sum whose factors q were scaled (two roundings); in base 2 its exponent is rounded once
 * more. */
static double reference_scores(const struct shape *shape, const float *q, const float *k,
                               double *score, double *error)
{
	const size_t d = (size_t)shape->head_dim;
	const double scale = 1 / sqrt((double)d);
	double top = -INFINITY;
	*error = 0;
	for (int i = 0; i < shape->len; i++) {
		double sum = 0, squares = 0;
		for (size_t e = 0; e < d; e++) {
			const double p = (double)q[e] * k[(size_t)i * d + e];
			sum += p;
			squares += p * p;
		}
		score[i] = sum * scale;
		top = fmax(top, score[i]);
		*error = fmax(*error, scale * (DEVIATIONS * sum_deviation(d, sum, squares) +
		                               4 * F32_ROUNDING * (fabs(sum) + sqrt(squares))));
	}
	return top;
}

/* One query head. An error e of every score changes a weight by at most the factor exp(2 e); a
 * power of two is good to a few roundings; sums over keys are walks of as many roundings. */
static void reference_head(const struct shape *shape, const float *q, const float *k,
                           const float *v, double *score, double *out, double *tolerance)
{
	const size_t d = (size_t)shape->head_dim;
	double error, sum = 0;
	const double top = reference_scores(shape, q, k, score, &error);
	for (int i = 0; i < shape->len; i++)
		sum += score[i] = exp(score[i] - top);
	const double relative =
	        expm1(2 * error) + DEVIATIONS * F32_ROUNDING * (8 + sqrt((double)shape->len));
	for (size_t e = 0; e < d; e++) {
		double total = 0, mass = 0;
		for (int i = 0; i < shape->len; i++) {
			const double p = score[i] / sum * v[(size_t)i * d + e];
			total += p;
			mass += fabs(p);
		}
		out[e] = total;
		tolerance[e] = relative * mass + F32_ROUNDING * fabs(total) + 1e-30;
	}
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const int dtype = AS(gqa_attention_case, kase)->kv;
	const size_t d = (size_t)shape->head_dim, rows = (size_t)shape->len * d;
	float *k = decode_all(dtype, data[K], cache_width(shape));
	float *v = decode_all(dtype, data[V], cache_width(shape));
	double *score = malloc((size_t)shape->len * sizeof *score);
	for (int h = 0; h < shape->m && k && v && score; h++) {
		const size_t kv = (size_t)(h / group_of(shape)) * rows, at = (size_t)h * d;
		reference_head(shape, (const float *)data[Q] + at, k + kv, v + kv, score,
		               expected[OUT] + at, tolerance[OUT] + at);
	}
	free(k);
	free(v);
	free(score);
}

static int listed_at_least(const struct param *param, int n)
{
	int i = 0;
	while (i + 1 < param->n_values && param->values[i] < n)
		i++;
	return param->values[i];
}
static int listed_at_most(const struct param *param, int n)
{
	int i = param->n_values - 1;
	while (i > 0 && param->values[i] > n)
		i--;
	return param->values[i];
}

/* All keys in one trip of each warp, by few splits with long steps, the fewest of which have
 * nothing to sum, or by many with short ones; of a long cache as many splits as all multiprocessors
 * take. */
static int suggest(const struct shape *shape, const int *kase, const struct device_info *info,
                   struct config *configs)
{
	const int rows = shape->m / block_group(kase), room = info->sm_count / rows;
	int n = 0;
	if (!gqa_attention_has_mma(*AS(gqa_attention_case, kase), info->target) || room < 1)
		return 0;
	for (int warps = 4; warps <= 8; warps *= 2)
		for (int unroll = 1; unroll <= 4; unroll *= 4)
			for (int copy = COPY_LANES; copy <= COPY_BULK; copy++) {
				struct config config = config_default(&gqa_attention_kernel);
				struct gqa_attention_config c;
				memcpy(&c, config.value, sizeof c);
				const int run = warps * unroll * ATTENTION_TILE;
				const int wanted = (shape->len + run - 1) / run;
				const bool fits = wanted <= room;
				c.warps = warps;
				c.unroll = unroll;
				c.copy = c.early = copy;
				c.splits = fits ? listed_at_least(&params[SPLITS], wanted)
				                : listed_at_most(&params[SPLITS], room);
				c.combiners = listed_at_most(&params[COMBINERS], c.splits);
				c.poll = fits && c.splits > 1;
				c.stages = fits || unroll > 1 ? 1 : 2;
				memcpy(config.value, &c, sizeof c);
				if (valid(shape, kase, config.value, info))
					configs[n++] = config;
			}
	return n;
}

const struct kernel gqa_attention_kernel = {
        KERNEL_MEMBERS(gqa_attention),
        .n_step_params = GQA_ATTENTION_STEP_PARAMS,
        .tells_beside = true,
        .specialise = specialise,
        .code_of = code_of,
        .fill = fill,
        .suggest = suggest,
};
