#include "model/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kv_append.h"
#include "model/cache.h"
#include "model/parallel.h"

/* Unit roundoff of f32. A sum of n products in any order, fused or not, errs by at most about n U
 * times the sum of their magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 3.1);
 * SLACK covers the few operations around it: scales, exponentials and square roots of a few ulp. */
#define U     0x1p-24
#define SLACK 32
/* Below this, f32 arithmetic may flush to zero. */
#define TINY 0x1p-120

static const struct tensor *layer_tensor(const struct decoder *d, const struct launch *l,
                                         enum layer_tensor t)
{
	return &d->model->layers[l->layer][t];
}

/* Adds what the launch must leave in `memory`. */
static struct expectation *expect(struct check *c, const char *what, const void *memory, int dtype,
                                  size_t rows, size_t cols, size_t stride)
{
	struct expectation *e = &c->expected[c->n_expected];
	size_t used = 0;
	for (int i = 0; i < c->n_expected; i++)
		used += c->expected[i].rows * c->expected[i].cols;
	*e = (struct expectation){.what = what,
	                          .memory = memory,
	                          .dtype = dtype,
	                          .count = rows * stride,
	                          .rows = rows,
	                          .cols = cols,
	                          .stride = stride,
	                          .value = c->values + used,
	                          .tolerance = c->tolerances + used};
	c->n_expected++;
	return e;
}

static struct expectation *expect_vector(struct check *c, const char *what, const float *memory,
                                         size_t n)
{
	return expect(c, what, memory, DTYPE_F32, 1, n, n);
}

static enum status read_floats(const struct decoder *d, const float *from, size_t n, float *to)
{
	return device_read(d->device, to, from, n * sizeof *to);
}

/* A normalised x: what is multiplied, without the common factor `scale`, which errs relatively by
 * `scale_error`; 1 and 0 without a norm. */
struct normed {
	double scale, scale_error;
};

/* Tensor cores take x as the sum of two bf16. */
#define X_SPLIT 0x1p-16

/* value = scale W x and how far f32 arithmetic on x, of which each element may be off by x_error,
 * may be from it. */
struct product {
	const struct tensor *w;
	const double *x, *x_error;
	struct normed normed;
	double *value, *tolerance;
	bool failed;
};

static void multiply_rows(void *context, size_t first, size_t last)
{
	struct product *p = context;
	size_t k = p->w->cols;
	float *row = malloc(k * sizeof *row);
	if (!row) {
		p->failed = true;
		return;
	}
	for (size_t r = first; r < last; r++) {
		double sum = 0, magnitude = 0, operand = 0;
		tensor_rows_f32(p->w, r, 1, row);
		for (size_t i = 0; i < k; i++) {
			double term = (double)row[i] * p->x[i];
			sum += term;
			magnitude += fabs(term);
			operand += fabs((double)row[i]) * p->x_error[i];
		}
		p->value[r] = p->normed.scale * sum;
		p->tolerance[r] =
		        p->normed.scale * (((double)k + SLACK) * U * magnitude + operand) +
		        p->normed.scale_error * fabs(p->value[r]) + TINY;
	}
	free(row);
}

static enum status multiply(const struct check *c, const struct tensor *w, struct normed normed,
                            double *value, double *tolerance)
{
	struct product p = {w, c->x, c->x_error, normed, value, tolerance, false};
	parallel_for(w->rows, multiply_rows, &p);
	return p.failed ? fail(STATUS_NO_MEMORY, "out of host memory for a reference") : STATUS_OK;
}

/* How far each element of x may be off as it is multiplied. */
static void bound_operand(struct check *c, bool quantised, size_t n)
{
	for (size_t i = 0; i < n; i += 32) {
		size_t end = i + 32 < n ? i + 32 : n;
		double largest = 0;
		for (size_t j = i; j < end; j++)
			largest = fmax(largest, fabs(c->x[j]));
		for (size_t j = i; j < end; j++)
			c->x_error[j] = fabs(c->x[j]) * X_SPLIT +
			                (quantised ? GEMV_INT_ROUNDING * largest : 0);
	}
}

/* The n activations that a launch multiplies, to c->x: those at `plain`, or x times the norm's
 * weights where the norm is folded in. */
static enum status read_operand(struct check *c, const struct decoder *d, const struct launch *l,
                                const struct tensor *norm, const float *plain, size_t n,
                                struct normed *normed)
{
	enum status status;
	struct gemv_case kase;
	double squares = 0;
	memcpy(&kase, l->kase.value, sizeof kase);
	*normed = (struct normed){1, 0};
	TRY(read_floats(d, kase.norm ? d->state.x : plain, n, c->input));
	for (size_t i = 0; i < n; i++) {
		c->x[i] = (double)c->input[i];
		squares += c->x[i] * c->x[i];
	}
	if (kase.norm) {
		tensor_rows_f32(norm, 0, 1, c->residual);
		for (size_t i = 0; i < n; i++)
			c->x[i] *= (double)c->residual[i];
		normed->scale = 1 / sqrt(squares / (double)n + d->model->hparams.eps);
		/* the root halves the relative error of the sum of squares */
		normed->scale_error = ((double)n / 2 + SLACK) * U;
	}
	bound_operand(c, dtype_block(kase.w) > 1, n);
done:
	return status;
}

static void add_terms(const float *terms, size_t n, double *value, double *tolerance)
{
	for (size_t i = 0; i < n; i++) {
		tolerance[i] += 2 * U * (fabs(value[i]) + fabs((double)terms[i]));
		value[i] += (double)terms[i];
	}
}

static enum status expect_embed(struct check *c, const struct decoder *d, const struct launch *l)
{
	const struct tensor *table = &d->model->embed;
	struct expectation *e = expect_vector(c, "x", d->state.x, table->cols);
	(void)l;
	tensor_rows_f32(table, (size_t)c->token, 1, c->input);
	for (size_t i = 0; i < table->cols; i++) {
		e->value[i] = (double)c->input[i];
		e->tolerance[i] = 0; /* scale times quant is exact in f32 */
	}
	return STATUS_OK;
}

static enum status expect_norm(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	const struct tensor *w = l->op == OP_ATTN_NORM  ? layer_tensor(d, l, ATTN_NORM)
	                         : l->op == OP_FFN_NORM ? layer_tensor(d, l, FFN_NORM)
	                                                : &d->model->norm;
	size_t n = w->cols;
	struct expectation *e = expect_vector(c, "normed", d->state.normed, n);
	double squares = 0;
	TRY(read_floats(d, d->state.x, n, c->input));
	tensor_rows_f32(w, 0, 1, c->residual);
	for (size_t i = 0; i < n; i++)
		squares += (double)c->input[i] * (double)c->input[i];
	double scale = 1 / sqrt(squares / (double)n + d->model->hparams.eps);
	for (size_t i = 0; i < n; i++) {
		e->value[i] = (double)c->residual[i] * (double)c->input[i] * scale;
		/* the root halves the relative error of the sum of squares */
		e->tolerance[i] = fabs(e->value[i]) * ((double)n / 2 + SLACK) * U + TINY;
	}
done:
	return status;
}

/* Row r of the fused query, key and value matrix is row paired_row() of theirs: see weights.h. */
static size_t paired_row(const struct hparams *h, size_t r)
{
	size_t dim = (size_t)h->head_dim, within = r % dim;
	if (r >= (size_t)(h->heads + h->kv_heads) * dim)
		return r;
	return r - within + within / 2 + within % 2 * (dim / 2);
}

/* Query, key and value without rotation, one after the other, to c->product. */
static enum status multiply_qkv(struct check *c, const struct decoder *d, const struct launch *l)
{
	static const enum layer_tensor weights[] = {ATTN_Q, ATTN_K, ATTN_V};
	static const enum layer_tensor biases[] = {ATTN_Q_BIAS, ATTN_K_BIAS, ATTN_V_BIAS};
	enum status status;
	struct normed normed;
	double *value = c->product, *tolerance = c->product_tolerance;
	TRY(read_operand(c, d, l, layer_tensor(d, l, ATTN_NORM), d->state.normed,
	                 layer_tensor(d, l, ATTN_Q)->cols, &normed));
	for (int i = 0; i < 3; i++) {
		const struct tensor *w = layer_tensor(d, l, weights[i]);
		TRY(multiply(c, w, normed, value, tolerance));
		if (c->use_bias) {
			tensor_rows_f32(layer_tensor(d, l, biases[i]), 0, 1, c->residual);
			add_terms(c->residual, w->rows, value, tolerance);
		}
		value += w->rows;
		tolerance += w->rows;
	}
done:
	return status;
}

/* Keys, or values, that are yet to be quantised. */
static struct expectation *expect_new_row(struct check *c, const struct decoder *d, bool is_value)
{
	const struct hparams *h = &d->model->hparams;
	return expect_vector(c, is_value ? "new value" : "new key",
	                     is_value ? d->state.v_new : d->state.k_new,
	                     (size_t)(h->kv_heads * h->head_dim));
}

/* This step's row of a cache, of one layer. */
static struct expectation *expect_cache_row(struct check *c, const struct decoder *d,
                                            const struct launch *l, bool is_value)
{
	const struct hparams *h = &d->model->hparams;
	const uint8_t *cache = is_value ? d->state.v_cache : d->state.k_cache;
	size_t dim = (size_t)h->head_dim, stride = (size_t)d->state.capacity * dim;
	struct expectation *e = expect(c, is_value ? "cached value" : "cached key",
	                               cache + (size_t)l->layer * d->state.cache_layer_bytes,
	                               d->state.kv, (size_t)h->kv_heads, dim, stride);
	e->first = (size_t)c->position * dim;
	e->cache = is_value ? c->v : c->k;
	e->slack = is_value ? c->v_slack : c->k_slack;
	return e;
}

/* NeoX rotation of n heads at x, which errs by dx, by the position's angles. */
static void rotate(const struct check *c, const struct hparams *h, const double *x,
                   const double *dx, int n, struct expectation *e)
{
	int half = h->head_dim / 2;
	for (int i = 0; i < half; i++) {
		long double angle = (long double)c->position *
		                    powl((long double)h->rope_base, -2.0L * i / h->head_dim);
		double cosine = (double)cosl(angle), sine = (double)sinl(angle);
		for (int head = 0; head < n; head++) {
			size_t lo = (size_t)(head * h->head_dim + i), hi = lo + (size_t)half;
			double a = x[lo], b = x[hi];
			/* 2^-25 turns of angle, 2 ulp of sine and cosine, three roundings */
			double turning = 12 * U * (fabs(a) + fabs(b)) + TINY;
			e->value[lo] = a * cosine - b * sine;
			e->value[hi] = a * sine + b * cosine;
			e->tolerance[lo] = fabs(cosine) * dx[lo] + fabs(sine) * dx[hi] + turning;
			e->tolerance[hi] = fabs(sine) * dx[lo] + fabs(cosine) * dx[hi] + turning;
		}
	}
}

/* Where keys, or values, go from the product. */
static struct expectation *expect_appended(struct check *c, const struct decoder *d,
                                           const struct launch *l, bool is_value)
{
	return dtype_block(d->state.kv) > 1 ? expect_new_row(c, d, is_value)
	                                    : expect_cache_row(c, d, l, is_value);
}

/* What becomes of rows [first, end) of c->product, which are whole tensors: the query, and a row of
 * each cache. */
static void expect_rotated(struct check *c, const struct decoder *d, const struct launch *l,
                           size_t first, size_t end)
{
	const struct hparams *h = &d->model->hparams;
	size_t q = (size_t)(h->heads * h->head_dim), kv = (size_t)(h->kv_heads * h->head_dim);
	const double *x = c->product, *dx = c->product_tolerance;
	if (first < q)
		rotate(c, h, x, dx, h->heads, expect_vector(c, "query", d->state.q, q));
	if (first <= q && end > q)
		rotate(c, h, x + q, dx + q, h->kv_heads, expect_appended(c, d, l, false));
	if (end <= q + kv)
		return;
	struct expectation *v = expect_appended(c, d, l, true);
	memcpy(v->value, x + q + kv, kv * sizeof *x);
	memcpy(v->tolerance, dx + q + kv, kv * sizeof *dx);
}

static enum status expect_qkv(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	const struct hparams *h = &d->model->hparams;
	struct gemv_case kase;
	memcpy(&kase, l->kase.value, sizeof kase);
	const size_t first = (size_t)l->args.gemv.first_row, n = (size_t)l->args.gemv.m;
	TRY(multiply_qkv(c, d, l));
	if (kase.epilogue == EPILOGUE_QKV) {
		expect_rotated(c, d, l, first, first + n);
		return STATUS_OK;
	}
	struct expectation *e = expect_vector(c, "query, key and value", d->state.qkv + first, n);
	for (size_t r = 0; r < n; r++) {
		e->value[r] = c->product[paired_row(h, first + r)];
		e->tolerance[r] = c->product_tolerance[paired_row(h, first + r)];
	}
done:
	return status;
}

static enum status expect_rope(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	const struct hparams *h = &d->model->hparams;
	size_t n = (size_t)((h->heads + 2 * h->kv_heads) * h->head_dim);
	TRY(read_floats(d, d->state.qkv, n, c->input));
	for (size_t r = 0; r < n; r++) {
		c->product[paired_row(h, r)] = (double)c->input[r];
		c->product_tolerance[r] = 0;
	}
	expect_rotated(c, d, l, 0, n);
done:
	return status;
}

static enum status expect_kv_append(struct check *c, const struct decoder *d,
                                    const struct launch *l)
{
	enum status status = STATUS_OK;
	const struct hparams *h = &d->model->hparams;
	const size_t n = (size_t)(h->kv_heads * h->head_dim);
	for (int is_value = 0; is_value < 2; is_value++) {
		struct expectation *e = expect_cache_row(c, d, l, is_value);
		TRY(read_floats(d, is_value ? d->state.v_new : d->state.k_new, n, c->input));
		for (size_t i = 0; i < n; i++)
			e->value[i] = (double)c->input[i];
		kv_append_rounding(e->value, e->tolerance, (int)n);
	}
done:
	return status;
}

static float round_to(int dtype, double value)
{
	float rounded = (float)value;
	uint8_t bits[4];
	dtype_from_f32(dtype, &rounded, bits, 1);
	dtype_to_f32(dtype, bits, &rounded, 1);
	return rounded;
}

/* Appends to the reference's cache what has just been found admissible on the device. The nearest
 * quants may be two, and another rounding of d changes them all: they are taken as they are. */
static void keep_cache_row(struct check *c, const struct launch *l, const struct expectation *e,
                           const float *seen)
{
	for (size_t head = 0; head < e->rows; head++)
		for (size_t i = 0; i < e->cols; i++) {
			size_t from = head * e->cols + i;
			size_t to = (size_t)l->layer * c->layer_stride + head * c->head_stride +
			            (size_t)c->position * e->cols + i;
			e->cache[to] = dtype_block(e->dtype) > 1
			                       ? seen[from]
			                       : round_to(e->dtype, e->value[from]);
			e->slack[to] = fabsf(seen[from] - e->cache[to]);
		}
}

/* One query head against the reference's cache.
 *
 * A score errs by ds = (dim + SLACK) U sum|q k| scale, plus what the device's keys differ by. Its
 * weight before the sum, exp(score - max), then errs relatively by w = expm1(2 ds) and the rounding
 * of the exponent, |score - max|; numerator and denominator are sums of n such terms. */
struct attention_job {
	const struct check *c;
	const struct hparams *h;
	const struct expectation *e;
	int layer;
	bool failed;
};

static void attend_head(const struct attention_job *job, int head, double *score, double *error)
{
	const struct check *c = job->c;
	const struct hparams *h = job->h;
	int dim = h->head_dim, n = c->position + 1;
	size_t cache = (size_t)job->layer * c->layer_stride +
	               (size_t)(head / (h->heads / h->kv_heads)) * c->head_stride;
	const float *q = c->input + head * dim;
	double scale = 1 / sqrt((double)dim), max = -INFINITY, sum = 0, sum_error = 0;
	double *out = job->e->value + head * dim, *tolerance = job->e->tolerance + head * dim;
	for (int j = 0; j < n; j++) {
		const float *k = c->k + cache + (size_t)j * (size_t)dim;
		const float *slack = c->k_slack + cache + (size_t)j * (size_t)dim;
		double dot = 0, magnitude = 0, differ = 0;
		for (int i = 0; i < dim; i++) {
			double term = (double)q[i] * (double)k[i];
			dot += term;
			magnitude += fabs(term);
			differ += fabs((double)q[i]) * (double)slack[i];
		}
		score[j] = scale * dot;
		error[j] = scale * ((dim + SLACK) * U * magnitude + differ);
		max = fmax(max, score[j]);
	}
	for (int i = 0; i < dim; i++)
		out[i] = tolerance[i] = 0;
	for (int j = 0; j < n; j++) {
		const float *v = c->v + cache + (size_t)j * (size_t)dim;
		const float *slack = c->v_slack + cache + (size_t)j * (size_t)dim;
		double weight = exp(score[j] - max);
		double relative = expm1(2 * error[j]) + (n + SLACK + 4 * (max - score[j])) * U;
		sum += weight;
		sum_error += weight * relative;
		for (int i = 0; i < dim; i++) {
			out[i] += weight * (double)v[i];
			tolerance[i] += weight * (fabs((double)v[i]) * relative +
			                          (double)slack[i] * (1 + relative));
		}
	}
	for (int i = 0; i < dim; i++) {
		out[i] /= sum;
		tolerance[i] = (tolerance[i] + fabs(out[i]) * sum_error) / sum + TINY;
	}
}

static void attend_heads(void *context, size_t first, size_t last)
{
	struct attention_job *job = context;
	size_t n = (size_t)job->c->position + 1;
	double *score = malloc(2 * n * sizeof *score);
	if (!score)
		job->failed = true;
	for (size_t head = first; score && head < last; head++)
		attend_head(job, (int)head, score, score + n);
	free(score);
}

static enum status expect_attention(struct check *c, const struct decoder *d,
                                    const struct launch *l)
{
	enum status status;
	const struct hparams *h = &d->model->hparams;
	size_t n = (size_t)(h->heads * h->head_dim);
	struct attention_job job = {.c = c, .h = h, .layer = l->layer};
	TRY(read_floats(d, d->state.q, n, c->input));
	job.e = expect_vector(c, "output", d->state.attention, n);
	parallel_for((size_t)h->heads, attend_heads, &job);
	if (job.failed)
		status = fail(STATUS_NO_MEMORY, "out of host memory for a reference");
done:
	return status;
}

static enum status expect_residual(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	bool down = l->op == OP_DOWN;
	const struct tensor *w = layer_tensor(d, l, down ? FFN_DOWN : ATTN_O);
	struct expectation *e = expect_vector(c, "x", d->state.x, w->rows);
	struct normed normed;
	TRY(read_operand(c, d, l, NULL, down ? d->state.hidden : d->state.attention, w->cols,
	                 &normed));
	TRY(read_floats(d, d->state.x, w->rows, c->residual));
	TRY(multiply(c, w, normed, e->value, e->tolerance));
	add_terms(c->residual, w->rows, e->value, e->tolerance);
done:
	return status;
}

/* silu(g) u: the slope of silu is at most 1.1; its exponential errs by the rounding of g. */
static enum status expect_gate_up(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	const struct tensor *gate = layer_tensor(d, l, FFN_GATE), *up = layer_tensor(d, l, FFN_UP);
	size_t n = gate->rows;
	struct expectation *e = expect_vector(c, "hidden", d->state.hidden, n);
	struct normed normed;
	double *u = c->product, *du = c->product_tolerance;
	TRY(read_operand(c, d, l, layer_tensor(d, l, FFN_NORM), d->state.normed, gate->cols,
	                 &normed));
	TRY(multiply(c, gate, normed, e->value, e->tolerance));
	TRY(multiply(c, up, normed, u, du));
	for (size_t i = 0; i < n; i++) {
		double g = e->value[i], dg = e->tolerance[i], silu = g / (1 + exp(-g));
		e->value[i] = silu * u[i];
		e->tolerance[i] = 1.1 * dg * (fabs(u[i]) + du[i]) + fabs(silu) * du[i] +
		                  (2 * fabs(g) + SLACK) * U * fabs(silu * u[i]) + TINY;
	}
done:
	return status;
}

static enum status expect_head(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	const struct tensor *w = &d->model->head;
	struct expectation *e = expect_vector(c, "logits", d->state.logits, w->rows);
	struct normed normed;
	TRY(read_operand(c, d, l, &d->model->norm, d->state.normed, w->cols, &normed));
	TRY(multiply(c, w, normed, e->value, e->tolerance));
done:
	return status;
}

static void expect_int(struct check *c, const char *what, const int *memory, int value)
{
	struct expectation *e = expect(c, what, memory, DTYPE_I32, 1, 1, 1);
	e->value[0] = value;
	e->tolerance[0] = 0;
}

/* What is chosen of the logits as they are on the device: the argmax, or the token that is drawn.
 */
static enum status choose(struct check *c, const struct decoder *d)
{
	enum status status;
	const struct sampling *s = &d->options.sampling;
	const int vocab = d->model->hparams.vocab;
	int best = 0;
	TRY(decoder_logits(d, c->input));
	for (int i = 1; i < vocab; i++)
		if (c->input[i] > c->input[best] || (isnan(c->input[best]) && !isnan(c->input[i])))
			best = i;
	c->largest = c->chosen = best;
	if (s->temperature > 0)
		c->chosen = sampling_reference(s, c->input, vocab, c->position);
	if (c->chosen < 0)
		return fail(STATUS_NO_MEMORY, "out of host memory for a reference");
done:
	return status;
}

/* The lower half of the key is the complement of the index. */
static enum status expect_argmax(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	(void)l;
	TRY(choose(c, d));
	expect_int(c, "argmax key", (const int *)d->state.best, ~c->largest);
done:
	return status;
}

static enum status expect_sample(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	(void)l;
	TRY(choose(c, d));
	expect_int(c, "key of the drawn token", (const int *)d->state.best, ~c->chosen);
done:
	return status;
}

static enum status expect_advance(struct check *c, const struct decoder *d, const struct launch *l)
{
	enum status status;
	(void)l;
	TRY(choose(c, d));
	expect_int(c, "position", d->state.position, c->position + 1);
	expect_int(c, "token", d->state.token, c->chosen);
	if (c->position + 1 < d->state.capacity)
		expect_int(c, "history", d->state.history + c->position + 1, c->chosen);
done:
	return status;
}

static enum status (*const references[N_OPS])(struct check *c, const struct decoder *d,
                                              const struct launch *l) = {
        [OP_EMBED] = expect_embed,
        [OP_ATTN_NORM] = expect_norm,
        [OP_QKV] = expect_qkv,
        [OP_ROPE] = expect_rope,
        [OP_KV_APPEND] = expect_kv_append,
        [OP_ATTENTION] = expect_attention,
        [OP_ATTN_OUT] = expect_residual,
        [OP_FFN_NORM] = expect_norm,
        [OP_GATE_UP] = expect_gate_up,
        [OP_DOWN] = expect_residual,
        [OP_FINAL_NORM] = expect_norm,
        [OP_HEAD] = expect_head,
        [OP_ARGMAX] = expect_argmax,
        [OP_SAMPLE] = expect_sample,
        [OP_ADVANCE] = expect_advance,
};

static enum status check_begin(void *context, const struct decoder *d, int token)
{
	struct check *c = context;
	(void)d;
	c->token = token >= 0 ? token : c->chosen;
	return STATUS_OK;
}

static enum status check_before(void *context, const struct decoder *d, const struct launch *l)
{
	struct check *c = context;
	c->n_expected = 0;
	return references[l->op](c, d, l);
}

/* Error as a share of what is allowed; more than 1 is wrong. A 16-bit value is right when it is
 * what some value within the tolerance rounds to. */
static double share_of_tolerance(const struct expectation *e, size_t i, float seen)
{
	double error = fabs((double)seen - e->value[i]), allowed = e->tolerance[i];
	if (e->dtype == DTYPE_BF16 || e->dtype == DTYPE_F16) {
		float lo = round_to(e->dtype, e->value[i] - allowed);
		float hi = round_to(e->dtype, e->value[i] + allowed);
		return seen >= lo && seen <= hi ? 0 : INFINITY;
	}
	if (error == 0)
		return 0;
	return allowed > 0 ? error / allowed : INFINITY;
}

/* rows x cols values of one expectation as floats, and for integers too. */
static enum status read_seen(struct check *c, const struct decoder *d, const struct expectation *e)
{
	enum status status = STATUS_OK;
	uint8_t *raw = c->seen;
	float *seen = (float *)c->seen + e->rows * e->cols;
	for (size_t r = 0; r < e->rows; r++) {
		TRY(cache_read(d->device, e->dtype, e->memory, e->count, e->first + r * e->stride,
		               raw, e->cols));
		if (e->dtype == DTYPE_I32)
			for (size_t i = 0; i < e->cols; i++)
				seen[r * e->cols + i] = (float)((int32_t *)c->seen)[i];
		else
			dtype_to_f32(e->dtype, raw, seen + r * e->cols, e->cols);
	}
done:
	return status;
}

static enum status compare(struct check *c, const struct decoder *d, const struct launch *l,
                           const struct expectation *e)
{
	enum status status;
	size_t n = e->rows * e->cols, worst = 0, wrong = 0;
	double worst_share = -1;
	const float *seen = (const float *)c->seen + n;
	TRY(read_seen(c, d, e));
	for (size_t i = 0; i < n; i++) {
		double share = share_of_tolerance(e, i, seen[i]);
		share = isnan(share) ? INFINITY : share;
		wrong += share > 1;
		if (share > worst_share) {
			worst_share = share;
			worst = i;
		}
	}
	if (worst_share > c->worst[l->op])
		c->worst[l->op] = worst_share;
	if (wrong) {
		char layer[32] = "";
		if (l->layer >= 0)
			snprintf(layer, sizeof layer, "layer %d, ", l->layer);
		status =
		        fail(STATUS_VIOLATION,
		             "check: position %d, %soperation %s (%s): %zu of %zu elements of %s "
		             "differ, "
		             "worst at %zu: expected %.9g, seen %.9g, allowed error %.3g",
		             c->position, layer, op_name(l->op), l->kernel->name, wrong, n, e->what,
		             worst, e->value[worst], (double)seen[worst], e->tolerance[worst]);
	}
done:
	return status;
}

static enum status check_after(void *context, const struct decoder *d, const struct launch *l)
{
	enum status status = STATUS_OK;
	struct check *c = context;
	for (int i = 0; i < c->n_expected; i++) {
		const struct expectation *e = &c->expected[i];
		const float *seen = (const float *)c->seen + e->rows * e->cols;
		TRY(compare(c, d, l, e));
		if (e->cache)
			keep_cache_row(c, l, e, seen);
	}
	c->operations++;
	if (l->op == OP_ADVANCE) {
		c->position++;
		c->forwards++;
	}
done:
	return status;
}

struct observer check_observer(struct check *check)
{
	return (struct observer){.begin = check_begin,
	                         .before = check_before,
	                         .after = check_after,
	                         .context = check};
}

enum status check_open(const struct decoder *d, struct check *c)
{
	const struct hparams *h = &d->model->hparams;
	size_t q = (size_t)(h->heads * h->head_dim), kv = (size_t)(h->kv_heads * h->head_dim);
	size_t longest = (size_t)h->vocab;
	const size_t sizes[] = {q + 2 * kv, (size_t)h->hidden, (size_t)h->ffn};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		longest = longest > sizes[i] ? longest : sizes[i];
	*c = (struct check){.use_bias = d->options.use_bias, .head_dim = h->head_dim};
	c->head_stride = (size_t)d->state.capacity * (size_t)h->head_dim;
	c->layer_stride = (size_t)h->kv_heads * c->head_stride;
	size_t cache = (size_t)h->layers * c->layer_stride;
	const struct {
		void *memory;
		size_t bytes;
	} buffers[] = {
	        {&c->input, longest * sizeof *c->input},
	        {&c->residual, longest * sizeof *c->residual},
	        {&c->x, longest * sizeof *c->x},
	        {&c->x_error, longest * sizeof *c->x_error},
	        {&c->product, longest * sizeof *c->product},
	        {&c->product_tolerance, longest * sizeof *c->product_tolerance},
	        {&c->seen, 2 * longest * sizeof(float)},
	        {&c->values, longest * sizeof *c->values},
	        {&c->tolerances, longest * sizeof *c->tolerances},
	        {&c->k, cache * sizeof *c->k},
	        {&c->v, cache * sizeof *c->v},
	        {&c->k_slack, cache * sizeof *c->k_slack},
	        {&c->v_slack, cache * sizeof *c->v_slack},
	};
	/* zeroed pages take no memory until they are used */
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		if (!(*(void **)buffers[i].memory = calloc(1, buffers[i].bytes))) {
			check_close(c);
			return fail(STATUS_NO_MEMORY, "out of host memory for the references");
		}
	return STATUS_OK;
}

void check_close(struct check *c)
{
	void *memory[] = {
	        c->x_error, c->input,  c->residual,   c->x, c->product, c->product_tolerance,
	        c->seen,    c->values, c->tolerances, c->k, c->v,       c->k_slack,
	        c->v_slack};
	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
		free(memory[i]);
	*c = (struct check){0};
}

struct seek_job {
	struct check *check;
	int dtype, n;
};

static void take_rows(void *context, int layer, int head, bool is_value, const void *rows)
{
	const struct seek_job *job = context;
	const struct check *c = job->check;
	float *cache = is_value ? c->v : c->k;
	dtype_to_f32(job->dtype, rows,
	             cache + (size_t)layer * c->layer_stride + (size_t)head * c->head_stride,
	             (size_t)job->n * (size_t)c->head_dim);
}

enum status check_seek(struct check *c, struct decoder *d, int position)
{
	enum status status;
	struct seek_job job = {c, d->state.kv, position};
	TRY(decoder_seek(d, position));
	TRY(decoder_fill_cache(d, position, take_rows, &job));
	c->position = position;
done:
	return status;
}

void check_summary(const struct check *c, FILE *to)
{
	fprintf(to, "check: %d forwards, %d operations agree with the reference\n", c->forwards,
	        c->operations);
	fprintf(to, "check: worst error as a share of the allowed one:");
	for (int op = 0; op < N_OPS; op++)
		fprintf(to, " %s %.3f", op_name(op), c->worst[op]);
	fprintf(to, "\n");
}
