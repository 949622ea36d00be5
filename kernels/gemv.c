#include "kernels/gemv.h"
#include "kernels/describe.h"
#include "kernels/rope.h"

const struct kernel gemv_kernel;
static const struct param params[] = {GEMV_PARAMS(PARAM_ROW)};
static const struct param fields[] = {GEMV_FIELDS(FIELD_ROW)};

/* Buffers in this order, those that a case has. */
enum { Y, W, X, NORM, ADDEND, TURNS, POSITION, K_CACHE, V_CACHE, BEST, N_BUFFERS };

/* Beyond this many weights the reference computes some rows only. */
#define REFERENCE_WEIGHTS (1u << 26)

static bool legal(const int *kase, const int *config, struct target target)
{
	return gemv_legal(*AS(gemv_case, kase), *AS(gemv_config, config), target);
}

/* How many blocks there are is the grid's, what is asked for ahead the arguments'. */
static void code_of(int *config)
{
	struct gemv_config *c = (struct gemv_config *)(void *)config;
	c->blocks = c->blocks ? 8 : 0; /* which is legal with every min_blocks */
	c->ahead = c->ahead != 0;
	c->ahead_mb = 4;
}

static bool is_paired(int epilogue)
{
	return epilogue == EPILOGUE_SWIGLU || epilogue == EPILOGUE_QKV;
}

/* What the rows of an EPILOGUE_QKV are, where only their number is known: a ninth of the heads are
 * key and as many value heads, as in the models with groups of seven. */
struct heads {
	int dim, query, kv, capacity;
};
static struct heads heads_of(const struct shape *shape)
{
	static const int dims[] = {128, 64, 32, 16, 8, 2};
	for (int i = 0; i < LENGTH(dims); i++) {
		const int n = shape->m / dims[i], kv = n < 9 ? 1 : n / 9;
		if (shape->m % dims[i] == 0 && n >= 3)
			return (struct heads){dims[i], n - 2 * kv, kv, 3};
	}
	return (struct heads){0};
}

/* Clusters that run with a block to a multiprocessor. */
static int at_once(int cluster, const struct device_info *info)
{
	const int known = info->clusters[__builtin_ctz((unsigned)cluster)];
	const int guess = info->sm_count / cluster;
	return known ? known : guess ? guess : 1;
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	const struct gemv_config c = *AS(gemv_config, config);
	const int warp = info->target.lanes;
	const int clusters = gemv_clusters(c, shape->m, at_once(c.cluster, info), warp);
	return (struct grid){
	        .x = (unsigned)(clusters * c.cluster),
	        .y = 1,
	        .threads = (unsigned)(c.slices * c.tiles * warp),
	        .cluster = (unsigned)c.cluster,
	        .smem_bytes =
	                sizeof(float) * (size_t)gemv_smem_floats(*AS(gemv_case, kase), c, shape->m,
	                                                         shape->k, clusters, warp),
	};
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	const int epilogue = AS(gemv_case, kase)->epilogue;
	const struct gemv_config *c = AS(gemv_config, config);
	const size_t static_bytes = /* of keys, and a barrier for each stage */
	        256 + sizeof(uint64_t) * (size_t)(c->slices * c->tiles * c->copy);
	return legal(kase, config, info->target) && shape->k % 32 == 0 &&
	       (double)shape->m * shape->k < 4294967296.0 && /* kernels count elements in 32 bits */
	       shape->k % dtype_block(AS(gemv_case, kase)->w) == 0 &&
	       (!is_paired(epilogue) || shape->m % 2 == 0) &&
	       (epilogue != EPILOGUE_QKV || heads_of(shape).dim) &&
	       (!c->held || gemv_slice_steps(*AS(gemv_case, kase), *c, shape->k,
	                                     info->target.lanes) <= c->unroll) &&
	       (!info->smem_block_bytes ||
	        grid(shape, kase, config, info).smem_bytes + static_bytes <=
	                info->smem_block_bytes);
}

static size_t n_outputs(const struct shape *shape, const int *kase)
{
	const int epilogue = AS(gemv_case, kase)->epilogue;
	if (epilogue == EPILOGUE_QKV)
		return (size_t)(heads_of(shape).query * heads_of(shape).dim);
	return (size_t)shape->m / (epilogue == EPILOGUE_SWIGLU ? 2 : 1);
}

/* Elements of what the epilogue adds, and their dtype. */
static size_t n_addends(const struct shape *shape, int epilogue)
{
	return epilogue == EPILOGUE_BIAS || epilogue == EPILOGUE_RESIDUAL ||
	                       epilogue == EPILOGUE_QKV
	               ? (size_t)shape->m
	               : 0;
}
static int addend_dtype(const struct gemv_case *k)
{
	return k->epilogue == EPILOGUE_RESIDUAL ? k->x : DTYPE_F32;
}

static double bytes(const struct shape *shape, const int *kase)
{
	const struct gemv_case *k = AS(gemv_case, kase);
	const size_t cached = k->epilogue == EPILOGUE_QKV
	                              ? 2 * (size_t)(heads_of(shape).kv * heads_of(shape).dim)
	                              : 0;
	return (double)dtype_bytes(k->w, (size_t)shape->m * (size_t)shape->k) +
	       (double)dtype_bytes(k->x, (size_t)shape->k + n_outputs(shape, kase)) +
	       (double)dtype_bytes(addend_dtype(k), n_addends(shape, k->epilogue)) +
	       (double)dtype_bytes(DTYPE_BF16, cached) +
	       (double)dtype_bytes(DTYPE_F32, k->norm ? (size_t)shape->k : 0);
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 2.0 * shape->m * shape->k;
}

static enum status parse_shape(const char *text, struct shape *shape)
{
	char end;
	*shape = (struct shape){0};
	if (sscanf(text, "%dx%d%c", &shape->m, &shape->k, &end) != 2 || shape->m < 1 ||
	    shape->k < 1 || shape->k % 32)
		return fail(STATUS_USAGE,
		            "gemv shape '%s': expected MxK such as 896x4864, K a multiple of 32",
		            text);
	return STATUS_OK;
}

static void format_shape(const struct shape *shape, char text[64])
{
	snprintf(text, 64, "%dx%d", shape->m, shape->k);
}

/* Index of each buffer of a case among its buffers; -1 where it has none. */
struct places {
	int at[N_BUFFERS], n;
};
static struct places places_of(const int *kase)
{
	const struct gemv_case *k = AS(gemv_case, kase);
	const bool qkv = k->epilogue == EPILOGUE_QKV;
	const bool has[N_BUFFERS] = {
	        [Y] = true,
	        [W] = true,
	        [X] = true,
	        [NORM] = k->norm,
	        [ADDEND] = qkv || k->epilogue == EPILOGUE_BIAS || k->epilogue == EPILOGUE_RESIDUAL,
	        [TURNS] = qkv,
	        [POSITION] = qkv,
	        [K_CACHE] = qkv,
	        [V_CACHE] = qkv,
	        [BEST] = k->epilogue == EPILOGUE_ARGMAX,
	};
	struct places p = {.n = 0};
	for (int i = 0; i < N_BUFFERS; i++)
		p.at[i] = has[i] ? p.n++ : -1;
	return p;
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)config, (void)info;
	const struct gemv_case *k = AS(gemv_case, kase);
	const struct heads h = heads_of(shape);
	const struct places p = places_of(kase);
	const size_t m = (size_t)shape->m, n = (size_t)shape->k;
	const size_t cache = (size_t)(h.kv * h.capacity * h.dim);
	const struct buffer all[N_BUFFERS] = {
	        [Y] = {"y", BUFFER_OUTPUT, k->x, n_outputs(shape, kase), 0},
	        [W] = {"w", BUFFER_WEIGHT, k->w, m * n, 0.05f},
	        [X] = {"x", BUFFER_INPUT, k->x, n, 1},
	        [NORM] = {"norm", BUFFER_WEIGHT, DTYPE_F32, n, 1},
	        [ADDEND] = {k->epilogue == EPILOGUE_RESIDUAL ? "residual" : "bias",
	                    k->epilogue == EPILOGUE_RESIDUAL ? BUFFER_INPUT : BUFFER_WEIGHT,
	                    addend_dtype(k), m, 1},
	        [TURNS] = {"turns", BUFFER_INPUT, DTYPE_U64, (size_t)h.dim / 2, 0},
	        [POSITION] = {"position", BUFFER_INPUT, DTYPE_I32, 1, 0},
	        [K_CACHE] = {"k_cache", BUFFER_INOUT, DTYPE_BF16, cache, 1},
	        [V_CACHE] = {"v_cache", BUFFER_INOUT, DTYPE_BF16, cache, 1},
	        [BEST] = {"best", BUFFER_INOUT, DTYPE_I32, 2, 0}, /* one key */
	};
	for (int i = 0; i < N_BUFFERS; i++)
		if (p.at[i] >= 0)
			b[p.at[i]] = all[i];
	return p.n;
}

/* Outliers as the biases of Qwen2 have them; the last row of the cache is the one to be written. */
static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	const int epilogue = AS(gemv_case, kase)->epilogue;
	const struct places p = places_of(kase);
	if ((epilogue == EPILOGUE_BIAS || epilogue == EPILOGUE_QKV) && shape->m >= 8) {
		float *bias = data[p.at[ADDEND]];
		bias[shape->m / 2] = -14;
		bias[shape->m - 3] = -34;
	}
	if (epilogue != EPILOGUE_QKV)
		return;
	rope_turns(10000, heads_of(shape).dim, data[p.at[TURNS]]);
	*(int *)data[p.at[POSITION]] = heads_of(shape).capacity - 1;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)config, (void)info;
	const struct gemv_case *k = AS(gemv_case, kase);
	const struct heads h = heads_of(shape);
	const struct places p = places_of(kase);
	const size_t count = (size_t)shape->m * (size_t)shape->k;
	void *at[N_BUFFERS];
	for (int i = 0; i < N_BUFFERS; i++)
		at[i] = p.at[i] >= 0 ? memory[p.at[i]] : NULL;
	*(struct gemv_args *)args = (struct gemv_args){
	        .y = at[Y],
	        .w = at[W],
	        .scale = (const char *)at[W] + dtype_scale_offset(k->w, count),
	        .x = at[X],
	        .norm = at[NORM],
	        .bias = k->epilogue == EPILOGUE_RESIDUAL ? NULL : at[ADDEND],
	        .residual = at[ADDEND],
	        .eps = 1e-6f,
	        .m = shape->m,
	        .k = shape->k,
	        .n_norm = shape->k,
	        .turns = at[TURNS],
	        .position = at[POSITION],
	        .k_cache = at[K_CACHE],
	        .v_cache = at[V_CACHE],
	        .n_heads = h.query,
	        .n_kv_heads = h.kv,
	        .head_dim = h.dim,
	        .capacity = h.capacity,
	        .kv = DTYPE_BF16,
	        .best = at[BEST],
	};
}

/* By how much an element of x is off as it is multiplied: the norm's weights round it, and tensor
 * cores take it as the sum of two bf16, which drops what is below the halves of the second. */
static const double X_ROUNDING = 2 * F32_ROUNDING + BF16_ROUNDING * BF16_ROUNDING;

/* x (n) and its errors. */
struct operand {
	double *value, *error;
	size_t n;
};

/* A row's product and its allowed error. */
static void reference_row(const float *w, const struct operand *x, double *sum, double *error)
{
	double sums[4] = {0}, squares[4] = {0}, errors[4] = {0};
	for (size_t i = 0; i < x->n; i += 4) /* n is a multiple of 32 */
		for (size_t j = 0; j < 4; j++) {
			const double p = (double)w[i + j] * x->value[i + j];
			const double e = (double)w[i + j] * x->error[i + j];
			sums[j] += p;
			squares[j] += p * p;
			errors[j] += e * e;
		}
	const double square = squares[0] + squares[1] + squares[2] + squares[3];
	*sum = sums[0] + sums[1] + sums[2] + sums[3];
	*error = DEVIATIONS * (sum_deviation(x->n, *sum, square) +
	                       sqrt(errors[0] + errors[1] + errors[2] + errors[3]));
}

/* y = silu(gate) up; e^-gate is computed as a power of two, whose exponent is rounded. */
static void reference_swiglu(const double *sum, const double *error, double *y, double *tolerance)
{
	const double gate = sum[0], up = sum[1], silu = gate / (1 + exp(-gate));
	*y = silu * up;
	*tolerance = 1.1 * error[0] * fabs(up) + error[1] * fabs(silu) +
	             F32_ROUNDING * (16 + 2 * fabs(gate)) * fabs(*y);
}

/* x as it is multiplied, but for the common factor 1 / rms(x), which is returned: the root halves
 * the relative error of the sum of squares. */
static double reference_x(const struct gemv_case *k, const float *x, const float *norm, double eps,
                          struct operand *to)
{
	double squares = 0;
	for (size_t i = 0; i < to->n; i++) {
		to->value[i] = k->norm ? (double)x[i] * norm[i] : x[i];
		to->error[i] = X_ROUNDING * fabs(to->value[i]);
		squares += (double)x[i] * x[i];
	}
	for (size_t i = 0; dtype_block(k->w) > 1 && i < to->n; i += 32) {
		double largest = 0;
		for (size_t j = i; j < i + 32; j++)
			largest = fmax(largest, fabs(to->value[j]));
		for (size_t j = i; j < i + 32; j++)
			to->error[j] += GEMV_INT_ROUNDING * largest;
	}
	return k->norm ? 1 / sqrt(squares / (double)to->n + eps) : 1;
}

/* Where the epilogue puts rows `row`, `row` + 1 of a QKV product. */
static void reference_qkv(const struct shape *shape, const struct places *p, int y_dtype,
                          size_t row, double a, double b, double error, double *const *expected,
                          double *const *tolerance)
{
	const struct heads h = heads_of(shape);
	const size_t dim = (size_t)h.dim, head = row / dim, i = row % dim / 2;
	const size_t query = (size_t)h.query, kv = (size_t)h.kv;
	const double angle =
	        (h.capacity - 1) * pow(10000, -2.0 * (double)i / h.dim); /* as of fill() */
	const bool is_query = head < query, is_value = head >= query + kv;
	const int buffer = p->at[is_query ? Y : is_value ? V_CACHE : K_CACHE];
	const size_t base =
	        is_query
	                ? head * dim
	                : ((head - query) % kv * (size_t)h.capacity + (size_t)h.capacity - 1) * dim;
	const double turned[2] = {a * cos(angle) - b * sin(angle), b * cos(angle) + a * sin(angle)};
	for (size_t j = 0; j < 2; j++) {
		const size_t at = base + (is_value ? row % dim + j : i + j * dim / 2);
		const double v = is_value ? (j ? b : a) : turned[j];
		expected[buffer][at] = v;
		tolerance[buffer][at] =
		        (is_value ? error : 2 * error) + 12 * F32_ROUNDING * (fabs(a) + fabs(b)) +
		        1.01 * store_rounding(is_query ? y_dtype : DTYPE_BF16, fabs(v) + error);
	}
}

/* The upper half of an argmax key as a signed integer, see kernels/argmax_key.h. */
static double key_of(double value)
{
	const float v = (float)value;
	uint32_t bits;
	memcpy(&bits, &v, sizeof bits);
	return (int32_t)(bits >> 31 ? ~bits : bits | 0x80000000u);
}

/* What one row, or one pair of rows, of the product becomes. */
struct reference {
	const struct shape *shape;
	const struct gemv_case *k;
	struct places p;
	const float *addend;
	double *const *expected, *const *tolerance;
	double best, best_error;
};

static void reference_output(struct reference *r, size_t i, const double *sum, const double *error)
{
	const struct gemv_case *k = r->k;
	const size_t row = is_paired(k->epilogue) ? 2 * i : i;
	double *y = r->expected[Y], *allowed = r->tolerance[Y];
	if (k->epilogue == EPILOGUE_QKV) {
		reference_qkv(r->shape, &r->p, k->x, row, sum[0] + r->addend[row],
		              sum[1] + r->addend[row + 1], fmax(error[0], error[1]), r->expected,
		              r->tolerance);
		return;
	}
	y[i] = sum[0] + (r->addend ? r->addend[i] : 0);
	allowed[i] = error[0] + F32_ROUNDING * fabs(y[i]);
	if (k->epilogue == EPILOGUE_SWIGLU)
		reference_swiglu(sum, error, &y[i], &allowed[i]);
	allowed[i] += store_rounding(k->x, y[i]);
	if (y[i] > r->best) {
		r->best = y[i];
		r->best_error = allowed[i];
	}
}

/* Rows of the caches that the launch leaves alone. */
static void expect_unchanged(int dtype, const void *data, size_t n, double *expected)
{
	float *values = decode_all(dtype, data, n);
	for (size_t i = 0; values && i < n; i++)
		expected[i] = values[i];
	free(values);
}

/* Errors: those of an f32 sum of exact products, of the epilogue, and of storing y. Large matrices
 * are checked on a random subset of outputs; the tolerance of the others is infinite. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const struct gemv_case *k = AS(gemv_case, kase);
	struct reference r = {shape, k, places_of(kase), NULL, expected, tolerance, -INFINITY, 0};
	const size_t n = (size_t)shape->k, count = (size_t)shape->m * n;
	const size_t rows = is_paired(k->epilogue) ? 2 : 1, n_items = (size_t)shape->m / rows;
	const size_t n_addend = n_addends(shape, k->epilogue);
	float *x = decode_all(k->x, data[X], n), *w = malloc(n * sizeof *w);
	struct operand operand = {malloc(n * sizeof(double)), malloc(n * sizeof(double)), n};
	float *addend =
	        n_addend ? decode_all(addend_dtype(k), data[r.p.at[ADDEND]], n_addend) : NULL;
	const double share =
	        k->epilogue == EPILOGUE_ARGMAX ? 1 : (double)REFERENCE_WEIGHTS / (double)count;
	unsigned random = 1;
	if (!x || !w || !operand.value || !operand.error || (n_addend && !addend))
		goto done;
	r.addend = addend;
	const double scale =
	        reference_x(k, x, k->norm ? data[r.p.at[NORM]] : NULL, (double)1e-6f, &operand);
	if (k->epilogue == EPILOGUE_QKV) {
		const struct heads h = heads_of(shape);
		const size_t cache = (size_t)(h.kv * h.capacity * h.dim);
		expect_unchanged(DTYPE_BF16, data[r.p.at[K_CACHE]], cache,
		                 expected[r.p.at[K_CACHE]]);
		expect_unchanged(DTYPE_BF16, data[r.p.at[V_CACHE]], cache,
		                 expected[r.p.at[V_CACHE]]);
	}
	for (size_t i = 0; i < n_items && (k->epilogue != EPILOGUE_QKV || heads_of(shape).dim);
	     i++) {
		double sum[2] = {0}, error[2] = {INFINITY, INFINITY};
		random = random * 1664525 + 1013904223;
		const bool skip = i > 0 && i + 1 < n_items && random / 4294967296.0 > share;
		for (size_t j = 0; j < rows && !skip; j++) {
			decode(k->w, data[W], count, (i * rows + j) * n, w, n);
			reference_row(w, &operand, &sum[j], &error[j]);
			sum[j] *= scale;
			error[j] =
			        scale * error[j] +
			        (k->norm ? F32_ROUNDING * (8 + sqrt((double)n)) * fabs(sum[j]) : 0);
		}
		reference_output(&r, i, sum, error);
	}
	if (k->epilogue == EPILOGUE_ARGMAX) {
		double *best = expected[r.p.at[BEST]], *allowed = tolerance[r.p.at[BEST]];
		best[1] = key_of(r.best);
		allowed[0] = INFINITY; /* of near ties any may win */
		allowed[1] = 1 + fmax(key_of(r.best + r.best_error) - best[1],
		                      best[1] - key_of(r.best - r.best_error));
	}
done:
	free(x);
	free(w);
	free(operand.value);
	free(operand.error);
	free(addend);
}

/* The slices that leave the fewest lanes of a warp idle when each lane holds x of `unroll` steps;
 * false where x is too long for that. */
static bool slice_for_registers(struct gemv_case kase, struct gemv_config *c, int k, int warp)
{
	const struct param *slices = &params[offsetof(struct gemv_config, slices) / sizeof(int)];
	const struct param *unroll = &params[offsetof(struct gemv_config, unroll) / sizeof(int)];
	const int held = c->math == GEMV_INT ? 128 : 64, step = gemv_step(kase, *c, warp);
	double best = 0;
	for (int s = 0; s < slices->n_values; s++)
		for (int u = 0; u < unroll->n_values; u++) {
			struct gemv_config at = *c;
			at.slices = slices->values[s];
			at.unroll = unroll->values[u];
			const double busy = (double)k / step / at.slices / at.unroll;
			if (busy <= best || at.unroll * at.rows > 16 ||
			    at.unroll * dtype_chunk(kase.w) > held ||
			    gemv_slice_steps(kase, at, k, warp) > at.unroll)
				continue;
			best = busy;
			*c = at;
		}
	return best > 0;
}

/* x in registers: `slices` and `unroll` have to fit k together, and `tiles` fills the block. */
static int suggest(const struct shape *shape, const int *kase, const struct device_info *info,
                   struct config *configs)
{
	static const int rows[] = {2, 4, 1}, lanes[] = {32, 16, 32};
	const struct gemv_case *k = AS(gemv_case, kase);
	const struct param *tiles = &params[offsetof(struct gemv_config, tiles) / sizeof(int)];
	int n = 0;
	for (int i = 0; i < LENGTH(rows); i++)
		for (int blocks = 1; blocks <= 2; blocks++) {
			struct config config = config_default(&gemv_kernel);
			struct gemv_config c;
			memcpy(&c, config.value, sizeof c);
			c.math = dtype_block(k->w) > 1 ? GEMV_INT : GEMV_FMA;
			c.rows = rows[i];
			c.lanes = lanes[i];
			c.held = 1;
			c.blocks = blocks;
			if (!slice_for_registers(*k, &c, shape->k, info->target.lanes))
				continue;
			c.tiles = 1;
			for (int t = 0; t < tiles->n_values; t++)
				if (tiles->values[t] > c.tiles &&
				    c.slices * tiles->values[t] * blocks <= 16)
					c.tiles = tiles->values[t];
			memcpy(config.value, &c, sizeof c);
			configs[n++] = config;
		}
	return n;
}

const struct kernel gemv_kernel = {
        KERNEL_MEMBERS(gemv), .n_step_params = GEMV_STEP_PARAMS,
        .lends_rows = true,   .code_of = code_of,
        .fill = fill,         .suggest = suggest,
};
