#include "model/prefill.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/causal_attention.h"
#include "kernels/norm_rows.h"
#include "kernels/rope_rows.h"
#include "kernels/swiglu_rows.h"
#include "kernels/unpack.h"
#include "model/matmul.h"
#include "model/ranges.h"
#include "model/row_launch.h"

/* Tokens at a time on a GPU: enough for tensor cores, and for a dequantised matrix to pay. */
enum { GPU_CHUNK = 1024 };
/* Tokens whose logits are kept at a time. */
enum { LOGIT_ROWS = 64 };

struct prefill {
	struct decoder *decoder;
	struct matmul *matmul;
	int chunk, dtype;
	int *tokens; /* (capacity), of a whole prompt, so that no chunk waits for them */
	int n;       /* tokens of the chunk that is being computed */
	/* rows of a chunk; zeros behind what a row has, as matrices are padded */
	float *x, *q;
	float *wide;                       /* of the QKV and of the gate and up product */
	float *k_new, *v_new;              /* (kv_heads, n, head_dim) before they are quantised */
	void *normed, *attention, *hidden; /* of `dtype`: operands */
	void *weights;                     /* room for one matrix of `dtype`, unless all are */
	/* once logits were asked for: */
	void *head;         /* the head's weights as `dtype`, unless they are */
	float *logits;      /* (LOGIT_ROWS, vocab) */
	float *host_logits; /* the same on the host */
};

int prefill_default_chunk(const struct device_info *info)
{
	return info->target.sm ? GPU_CHUNK : 1;
}

int prefill_default_dtype(const struct device_info *info)
{
	return info->target.sm ? DTYPE_BF16 : DTYPE_F32;
}

const char *prefill_product(const struct prefill *p)
{
	return matmul_name(p->matmul);
}

int prefill_dtype(const struct prefill *p)
{
	return p->dtype;
}

int prefill_chunk(const struct prefill *p)
{
	return p->chunk;
}

static const struct hparams *hparams(const struct prefill *p)
{
	return &p->decoder->model->hparams;
}

static int q_width(const struct hparams *h)
{
	return h->heads * h->head_dim;
}

static int qkv_width(const struct hparams *h)
{
	return q_width(h) + 2 * h->kv_heads * h->head_dim;
}

/* Elements of the largest matrix of a layer that is of another dtype than products take. */
static size_t unpacked_count(const struct prefill *p)
{
	size_t most = 0;
	for (int l = 0; l < p->decoder->weights.n_layers; l++) {
		const struct layer_weights *lw = &p->decoder->weights.layers[l];
		const struct matrix *all[] = {&lw->qkv, &lw->qkv_rest[0], &lw->qkv_rest[1],
		                              &lw->o,   &lw->gate_up,     &lw->down};
		for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
			size_t count = (size_t)all[i]->m * (size_t)all[i]->k;
			if (all[i]->dtype != p->dtype && count > most)
				most = count;
		}
	}
	return most;
}

/* Whether new keys and values are quantised on their way to the cache. */
static bool is_staged(const struct prefill *p)
{
	return dtype_block(p->decoder->state.kv) > 1;
}

static enum status open_rows(struct prefill *p)
{
	enum status status = STATUS_OK;
	const struct hparams *h = hparams(p);
	const size_t n = (size_t)p->chunk, unpacked = unpacked_count(p);
	const size_t staged = is_staged(p) ? n * (size_t)(h->kv_heads * h->head_dim) : 1;
	const int wide = qkv_width(h) > 2 * h->ffn ? qkv_width(h) : 2 * h->ffn;
	const struct {
		void *memory;
		int dtype;
		size_t count;
	} buffers[] = {
	        {&p->tokens, DTYPE_I32, (size_t)p->decoder->state.capacity},
	        {&p->x, DTYPE_F32, n * (size_t)padded(h->hidden)},
	        {&p->q, DTYPE_F32, n * (size_t)q_width(h)},
	        {&p->wide, DTYPE_F32, n * (size_t)wide},
	        {&p->k_new, DTYPE_F32, staged},
	        {&p->v_new, DTYPE_F32, staged},
	        {&p->normed, p->dtype, n * (size_t)padded(h->hidden)},
	        {&p->attention, p->dtype, n * (size_t)padded(q_width(h))},
	        {&p->hidden, p->dtype, n * (size_t)padded(h->ffn)},
	        {&p->weights, p->dtype, unpacked ? unpacked : 1},
	};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
		const size_t bytes = dtype_bytes(buffers[i].dtype, buffers[i].count);
		TRY(device_alloc(p->decoder->device, bytes, buffers[i].memory));
		TRY(device_fill(p->decoder->device, *(void **)buffers[i].memory, 0, bytes));
	}
done:
	return status;
}

enum status prefill_open(struct decoder *decoder, int chunk, int dtype, struct prefill **prefill)
{
	enum status status;
	struct prefill *p = *prefill = calloc(1, sizeof *p);
	if (!p)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	*p = (struct prefill){.decoder = decoder, .chunk = chunk, .dtype = dtype};
	TRY(matmul_open(decoder->device, decoder->options.quiet, &p->matmul));
	TRY(open_rows(p));
done:
	if (status != STATUS_OK)
		prefill_close(prefill);
	return status;
}

void prefill_close(struct prefill **prefill)
{
	struct prefill *p = *prefill;
	if (!p)
		return;
	void *memory[] = {p->tokens, p->x,         p->q,      p->wide,    p->k_new, p->v_new,
	                  p->normed, p->attention, p->hidden, p->weights, p->head,  p->logits};
	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
		device_free(p->decoder->device, memory[i]);
	device_free_host(p->decoder->device, p->host_logits);
	matmul_close(&p->matmul);
	free(p);
	*prefill = NULL;
}

static enum status embed(struct prefill *p, const int *tokens)
{
	const struct matrix *w = &p->decoder->weights.embed;
	const struct unpack_args args = {.y = p->x,
	                                 .w = w->w,
	                                 .scale = w->scale,
	                                 .tokens = tokens,
	                                 .n_rows = w->m,
	                                 .n = p->n,
	                                 .k = w->k};
	return row_launch(p->decoder->device, "unpack", (struct kase){{w->dtype, DTYPE_F32, 1}},
	                  (struct shape){.m = p->n, .k = w->k}, &args);
}

/* y = the weights as products take them. */
static enum status unpack(struct prefill *p, const struct matrix *w, void *y)
{
	const struct unpack_args args = {
	        .y = y, .w = w->w, .scale = w->scale, .n_rows = w->m, .n = w->m, .k = w->k};
	return row_launch(p->decoder->device, "unpack", (struct kase){{w->dtype, p->dtype, 0}},
	                  (struct shape){.m = w->m, .k = w->k}, &args);
}

/* Rows of y, y_stride apart, = w x of all tokens, or + what y holds. */
static enum status multiply(struct prefill *p, const struct matrix *w, const void *x, float *y,
                            int y_stride, bool add)
{
	enum status status = STATUS_OK;
	const bool as_they_are = w->dtype == p->dtype;
	struct matmul_args args = {.w = as_they_are ? w->w : p->weights,
	                           .x = x,
	                           .y = y,
	                           .m = w->m,
	                           .k = w->k,
	                           .n = p->n,
	                           .y_stride = y_stride,
	                           .dtype = p->dtype,
	                           .add = add};
	if (!as_they_are)
		TRY(unpack(p, w, p->weights));
	TRY(matmul_run(p->matmul, &args));
done:
	return status;
}

static enum status norm(struct prefill *p, const float *w)
{
	const struct hparams *h = hparams(p);
	const struct norm_rows_args args = {.y = p->normed,
	                                    .x = p->x,
	                                    .w = w,
	                                    .eps = (float)h->eps,
	                                    .n = p->n,
	                                    .k = padded(h->hidden),
	                                    .n_norm = h->hidden};
	return row_launch(p->decoder->device, "norm_rows", (struct kase){{p->dtype}},
	                  (struct shape){.m = p->n, .k = args.k}, &args);
}

static struct shape heads_shape(const struct prefill *p)
{
	const struct hparams *h = hparams(p);
	return (struct shape){
	        .m = h->heads, .k = h->kv_heads, .len = p->n, .head_dim = h->head_dim};
}

/* New keys and values to rows of a quantised cache. */
static enum status append(struct prefill *p, uint8_t *k_cache, uint8_t *v_cache)
{
	const struct hparams *h = hparams(p);
	const struct decoder *d = p->decoder;
	const struct kv_append_args args = {.k = p->k_new,
	                                    .v = p->v_new,
	                                    .k_cache = k_cache,
	                                    .v_cache = v_cache,
	                                    .row = d->position,
	                                    .n = p->n,
	                                    .n_kv_heads = h->kv_heads,
	                                    .head_dim = h->head_dim,
	                                    .capacity = d->state.capacity};
	return row_launch(d->device, "kv_append", (struct kase){{d->state.kv}},
	                  (struct shape){.m = p->n, .k = h->kv_heads, .head_dim = h->head_dim},
	                  &args);
}

/* Queries, and rows of the caches. */
static enum status qkv(struct prefill *p, int layer)
{
	enum status status = STATUS_OK;
	const struct hparams *h = hparams(p);
	const struct decoder *d = p->decoder;
	const struct state *s = &d->state;
	const struct layer_weights *lw = &d->weights.layers[layer];
	const size_t cache = (size_t)layer * s->cache_layer_bytes;
	const bool staged = is_staged(p);
	uint8_t *k_cache = s->k_cache + cache, *v_cache = s->v_cache + cache;
	const struct rope_rows_args args = {.q = p->q,
	                                    .qkv = p->wide,
	                                    .bias = d->options.use_bias ? lw->qkv_bias : NULL,
	                                    .k_cache = staged ? (void *)p->k_new : k_cache,
	                                    .v_cache = staged ? (void *)p->v_new : v_cache,
	                                    .turns = s->turns,
	                                    .position = d->position,
	                                    .row = staged ? 0 : d->position,
	                                    .n = p->n,
	                                    .n_heads = h->heads,
	                                    .n_kv_heads = h->kv_heads,
	                                    .head_dim = h->head_dim,
	                                    .capacity = staged ? p->n : s->capacity};
	TRY(norm(p, lw->attn_norm));
	for (const struct matrix *w = &lw->qkv; w; w = w->next)
		TRY(multiply(p, w, p->normed, p->wide + w->row, qkv_width(h), false));
	TRY(row_launch(d->device, "rope_rows", (struct kase){{staged ? DTYPE_F32 : s->kv}},
	               heads_shape(p), &args));
	if (staged)
		TRY(append(p, k_cache, v_cache));
done:
	return status;
}

static enum status attention(struct prefill *p, int layer)
{
	enum status status;
	const struct hparams *h = hparams(p);
	const struct decoder *d = p->decoder;
	const struct state *s = &d->state;
	const size_t cache = (size_t)layer * s->cache_layer_bytes;
	const struct causal_attention_args args = {.out = p->attention,
	                                           .q = p->q,
	                                           .k = s->k_cache + cache,
	                                           .v = s->v_cache + cache,
	                                           .scale = (float)(1 / sqrt((double)h->head_dim)),
	                                           .position = d->position,
	                                           .n = p->n,
	                                           .n_heads = h->heads,
	                                           .n_kv_heads = h->kv_heads,
	                                           .head_dim = h->head_dim,
	                                           .capacity = s->capacity,
	                                           .out_stride = padded(q_width(h))};
	TRY(row_launch(d->device, "causal_attention", (struct kase){{0, s->kv, p->dtype}},
	               heads_shape(p), &args));
	TRY(multiply(p, &d->weights.layers[layer].o, p->attention, p->x, padded(h->hidden), true));
done:
	return status;
}

static enum status feed_forward(struct prefill *p, int layer)
{
	enum status status;
	const struct hparams *h = hparams(p);
	const struct layer_weights *lw = &p->decoder->weights.layers[layer];
	const struct swiglu_rows_args args = {.y = p->hidden,
	                                      .x = p->wide,
	                                      .n = p->n,
	                                      .width = h->ffn,
	                                      .y_stride = padded(h->ffn)};
	TRY(norm(p, lw->ffn_norm));
	TRY(multiply(p, &lw->gate_up, p->normed, p->wide, 2 * h->ffn, false));
	TRY(row_launch(p->decoder->device, "swiglu_rows", (struct kase){{p->dtype}},
	               (struct shape){.m = p->n, .k = h->ffn}, &args));
	TRY(multiply(p, &lw->down, p->hidden, p->x, padded(h->hidden), true));
done:
	return status;
}

static enum status chunk(struct prefill *p, const int *tokens)
{
	enum status status;
	const struct decoder *d = p->decoder;
	TRY(embed(p, tokens));
	for (int l = 0; l < d->weights.n_layers; l++) {
		TRY(qkv(p, l));
		TRY(attention(p, l));
		TRY(feed_forward(p, l));
	}
done:
	return status;
}

static enum status check_ids(const struct prefill *p, const int32_t *ids, size_t n)
{
	const struct decoder *d = p->decoder;
	if (n > (size_t)(d->state.capacity - d->position))
		return fail(STATUS_FAILED, "the context of %d tokens is full (see -c)",
		            d->state.capacity);
	for (size_t i = 0; i < n; i++)
		if (ids[i] < 0 || ids[i] >= hparams(p)->vocab)
			return fail(STATUS_USAGE, "token %d is outside the vocabulary of %d",
			            ids[i], hparams(p)->vocab);
	return STATUS_OK;
}

/* What logits take, the first time. */
static enum status open_head(struct prefill *p)
{
	enum status status = STATUS_OK;
	struct device *device = p->decoder->device;
	const struct matrix *w = &p->decoder->weights.head;
	const size_t bytes = dtype_bytes(DTYPE_F32, LOGIT_ROWS * (size_t)w->m);
	if (p->host_logits)
		return STATUS_OK;
	if (w->dtype != p->dtype) {
		TRY(device_alloc(device, dtype_bytes(p->dtype, (size_t)w->m * (size_t)w->k),
		                 &p->head));
		TRY(unpack(p, w, p->head));
	}
	TRY(device_alloc(device, bytes, (void **)&p->logits));
	TRY(device_alloc_host(device, bytes, (void **)&p->host_logits));
done:
	return status;
}

/* Of the chunk that was computed last. */
static enum status read_logits(struct prefill *p, const struct logits_reader *reader)
{
	enum status status;
	const struct matrix *w = &p->decoder->weights.head;
	TRY(norm(p, p->decoder->weights.norm));
	for (int first = 0; first < p->n; first += LOGIT_ROWS) {
		const int n = p->n - first < LOGIT_ROWS ? p->n - first : LOGIT_ROWS;
		const struct matmul_args args = {
		        .w = p->head ? p->head : w->w,
		        .x = (const char *)p->normed +
		             dtype_bytes(p->dtype, (size_t)first * (size_t)w->k),
		        .y = p->logits,
		        .m = w->m,
		        .k = w->k,
		        .n = n,
		        .y_stride = w->m,
		        .dtype = p->dtype};
		TRY(matmul_run(p->matmul, &args));
		TRY(device_read(p->decoder->device, p->host_logits, p->logits,
		                dtype_bytes(DTYPE_F32, (size_t)n * (size_t)w->m)));
		TRY(reader->read(reader->context, p->host_logits, n));
	}
done:
	return status;
}

/* `reader` may be NULL. */
static enum status run(struct prefill *p, const int32_t *ids, size_t n,
                       const struct logits_reader *reader)
{
	enum status status;
	struct decoder *d = p->decoder;
	TRY(check_ids(p, ids, n));
	TRY(device_write(d->device, p->tokens, ids, n * sizeof *ids));
	for (size_t i = 0; i < n; i += (size_t)p->n) {
		p->n = n - i < (size_t)p->chunk ? (int)(n - i) : p->chunk;
		range_push("prompt", (uint64_t)d->position);
		status = chunk(p, p->tokens + i);
		if (status == STATUS_OK && reader)
			status = read_logits(p, reader);
		range_pop();
		TRY(status);
		d->position += p->n;
	}
	TRY(device_write(d->device, d->state.position, &d->position, sizeof d->position));
done:
	return status;
}

enum status prefill_run(struct prefill *p, const int32_t *ids, size_t n)
{
	return run(p, ids, n, NULL);
}

enum status prefill_logits(struct prefill *p, const int32_t *ids, size_t n,
                           const struct logits_reader *reader)
{
	enum status status;
	TRY(open_head(p));
	TRY(run(p, ids, n, reader));
done:
	return status;
}
