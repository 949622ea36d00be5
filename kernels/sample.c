#include "kernels/sample.h"

#include <float.h>

#include "kernels/describe.h"

static const struct param params[] = {SAMPLE_PARAMS(PARAM_ROW)};
static const struct param fields[] = {SAMPLE_FIELDS(FIELD_ROW)};

static bool legal(const int *kase, const int *config, struct target target)
{
	return sample_legal(*AS(sample_case, kase), *AS(sample_config, config), target);
}

/* Of a problem: how its token is drawn, and the position before it. */
static const struct sampling problem_sampling[] = {{0.8, 0, 1, 1}, {0.8, 40, 0.95, 1}};
enum { POSITION_BEFORE = 6 };
enum { X, BEST, LARGEST, POSITION, WEIGHT, LIST, COUNTERS, N_BUFFERS };

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	/* finishers wait for blocks that must find room: one fits every multiprocessor */
	const bool is_room = !info->target.sm || !info->sm_count ||
	                     AS(sample_config, config)->finishers <= info->sm_count;
	return shape->m <= SAMPLE_MAX_N && is_room && legal(kase, config, info->target);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)kase;
	const struct sample_config *c = AS(sample_config, config);
	const unsigned threads = (unsigned)(c->warps * info->target.lanes);
	const unsigned enough = div_up((size_t)shape->m, threads), blocks = (unsigned)c->blocks;
	return (struct grid){
	        .x = blocks < enough ? blocks : enough,
	        .y = 1,
	        .threads = threads,
	};
}

static double bytes(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 4.0 * shape->m + 2 * sizeof(unsigned long long) + sizeof(int);
}

/* The polynomial of each weight. */
static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 20.0 * shape->m;
}

SHAPE_IS_A_COUNT("sample shape")

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)kase, (void)config, (void)info;
	const size_t n = (size_t)shape->m;
	b[X] = (struct buffer){"x", BUFFER_INPUT, DTYPE_F32, n, 3};
	b[BEST] = (struct buffer){"best", BUFFER_OUTPUT, DTYPE_I32, 2, 0};      /* one key */
	b[LARGEST] = (struct buffer){"largest", BUFFER_INPUT, DTYPE_I32, 2, 0}; /* one key */
	b[POSITION] = (struct buffer){"position", BUFFER_INPUT, DTYPE_I32, 1, 0};
	b[WEIGHT] = (struct buffer){"weight", BUFFER_SCRATCH, DTYPE_U64, SAMPLE_BINS, 0};
	b[LIST] = (struct buffer){"list", BUFFER_SCRATCH, DTYPE_U64, n, 0};
	b[COUNTERS] = (struct buffer){"counters", BUFFER_SCRATCH, DTYPE_I32, SAMPLE_COUNTERS, 0};
	return N_BUFFERS;
}

/* The first of the largest; NaN is smaller than everything. */
static int largest_of(const float *x, int n)
{
	int best = 0;
	for (int i = 1; i < n; i++)
		if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i])))
			best = i;
	return best;
}

/* Both halves of a key, the lower one first, see kernels/argmax_key.h. */
static void key_of(const float *x, int i, int32_t key[2])
{
	const float v = x[i] + 0.0f;
	uint32_t bits;
	memcpy(&bits, &v, sizeof bits);
	key[0] = ~i;
	key[1] = (int32_t)(isnan(v) ? 0 : bits >> 31 ? ~bits : bits | 0x80000000u);
}

/* Among the logits: NaN, -infinity, and the largest twice. */
static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)kase;
	float *x = data[X];
	const int n = shape->m;
	if (n > 4) {
		x[0] = x[n / 2] = NAN;
		x[1] = -INFINITY;
		x[n - 1] = x[largest_of(x, n)];
	}
	key_of(x, largest_of(x, n), data[LARGEST]);
	*(int *)data[POSITION] = POSITION_BEFORE;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)config, (void)info;
	struct sample_args *a = args;
	*a = (struct sample_args){
	        .best = memory[BEST],
	        .largest = memory[LARGEST],
	        .x = memory[X],
	        .position = memory[POSITION],
	        .weight = memory[WEIGHT],
	        .list = memory[LIST],
	        .counters = memory[COUNTERS],
	        .n = shape->m,
	};
	sampling_bind(&problem_sampling[AS(sample_case, kase)->cut], a);
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	(void)tolerance; /* exact: calloc'ed zeros */
	const float *x = data[X];
	const int token = sampling_reference(&problem_sampling[AS(sample_case, kase)->cut], x,
	                                     shape->m, *(const int *)data[POSITION]);
	int32_t key[2] = {0};
	if (token >= 0)
		key_of(x, token, key);
	expected[BEST][0] = key[0];
	expected[BEST][1] = key[1];
}

const struct kernel sample_kernel = {
        KERNEL_MEMBERS(sample),
        .fill = fill,
};

bool sampling_cuts(const struct sampling *s)
{
	return s->top_k > 0 || s->top_p < 1;
}

/* p > 0 in units of 2^-64 */
static unsigned long long share_of(double p)
{
	const double units = ldexp(p, 64);
	return p >= 1 ? 0 : units < 1 ? 1 : (unsigned long long)units;
}

void sampling_bind(const struct sampling *s, struct sample_args *a)
{
	a->scale = (float)fmin(1.4426950408889634 / s->temperature, (double)FLT_MAX);
	a->top_k = (unsigned)s->top_k;
	a->top_p = share_of(s->top_p);
	a->seed = s->seed;
}

struct candidate {
	float logit;
	int id;
	double weight;
};

/* Largest logit first, then lowest id. */
static int compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	if (x->logit != y->logit)
		return x->logit < y->logit ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

/* The number of candidates, weighed, that it takes until their weights sum to `share` of all; *sum
 * is what they weigh. */
static size_t cut(const struct candidate *c, size_t n, double share, double *sum)
{
	double total = 0;
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		total += c[i].weight;
	for (*sum = 0; kept < n && *sum < share * total; kept++)
		*sum += c[kept].weight;
	return kept;
}

int sampling_reference(const struct sampling *s, const float *x, int n, int position)
{
	const int best = largest_of(x, n);
	size_t kept = 0, chosen = 0;
	double sum;
	if (!isfinite(x[best]))
		return best;
	struct candidate *c = malloc((size_t)n * sizeof *c);
	if (!c)
		return -1;
	for (int i = 0; i < n; i++)
		if (x[i] > -INFINITY) /* nor NaN */
			c[kept++] = (struct candidate){
			        x[i], i, exp(((double)x[i] - (double)x[best]) / s->temperature)};
	qsort(c, kept, sizeof *c, compare);
	if (s->top_k && (size_t)s->top_k < kept)
		kept = (size_t)s->top_k;
	kept = cut(c, kept, s->top_p, &sum);
	double left = ldexp((double)sample_bits(s->seed, position), -64) * sum;
	for (; chosen + 1 < kept && left >= c[chosen].weight; chosen++)
		left -= c[chosen].weight;
	const int token = c[chosen].id;
	free(c);
	return token;
}
