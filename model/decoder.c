#include "model/decoder.h"

#include <stdlib.h>

#include "core/table.h"
#include "model/cache.h"
#include "model/ranges.h"

/* bytes of zeros */
static enum status alloc(struct device *device, size_t bytes, void *memory)
{
	enum status status;
	TRY(device_alloc(device, bytes, memory));
	TRY(device_fill(device, *(void **)memory, 0, bytes));
done:
	return status;
}

static enum status write_turns(struct decoder *d)
{
	const struct hparams *h = &d->model->hparams;
	unsigned long long turns[GQA_ATTENTION_MAX_HEAD_DIM / 2];
	rope_turns(h->rope_base, h->head_dim, turns);
	return device_write(d->device, d->state.turns, turns,
	                    (size_t)h->head_dim / 2 * sizeof *turns);
}

/* Kernels take 16 bytes at a time; a layer of q8_0 may have any even number. */
static size_t aligned(size_t bytes)
{
	return (bytes + 15) / 16 * 16;
}

static enum status open_state(struct decoder *d)
{
	enum status status;
	const struct hparams *h = &d->model->hparams;
	struct state *s = &d->state;
	size_t q = (size_t)(h->heads * h->head_dim), kv = (size_t)(h->kv_heads * h->head_dim);
	size_t splits = (size_t)kernel_param_max("gqa_attention", "splits");
	size_t partials = (size_t)h->heads * splits;
	s->capacity = d->options.capacity;
	s->kv = d->options.kv;
	if (h->head_dim % dtype_block(s->kv))
		return fail(STATUS_UNSUPPORTED,
		            "a cache of %s needs heads of a multiple of %d elements; those of "
		            "this model have %d",
		            dtype_name(s->kv), dtype_block(s->kv), h->head_dim);
	s->cache_layer_bytes = aligned(dtype_bytes(s->kv, kv * (size_t)s->capacity));
	size_t cache = (size_t)h->layers * s->cache_layer_bytes;
	const struct {
		void *memory;
		size_t bytes;
	} buffers[] = {
	        {&s->token, sizeof *s->token},
	        {&s->position, sizeof *s->position},
	        {&s->history, (size_t)s->capacity * sizeof *s->history},
	        {&s->x, (size_t)padded(h->hidden) * sizeof *s->x},
	        {&s->q, q * sizeof *s->q},
	        {&s->normed, (size_t)padded(h->hidden) * sizeof *s->normed},
	        {&s->qkv, (q + 2 * kv) * sizeof *s->qkv},
	        {&s->attention, (size_t)padded((int)q) * sizeof *s->attention},
	        {&s->hidden, (size_t)padded(h->ffn) * sizeof *s->hidden},
	        {&s->logits, (size_t)h->vocab * sizeof *s->logits},
	        {&s->partial,
	         partials * (size_t)(h->head_dim + ATTENTION_RECORD_TAIL) * sizeof *s->partial},
	        {&s->posted,
	         partials * (size_t)(h->head_dim / 4 * ATTENTION_POSTED) * sizeof *s->posted},
	        {&s->attention_arrived, (size_t)h->heads * sizeof *s->attention_arrived},
	        {&s->best, sizeof *s->best},
	        {&s->sample_weight, SAMPLE_BINS * sizeof *s->sample_weight},
	        {&s->candidates, (size_t)h->vocab * sizeof *s->candidates},
	        {&s->sample_counters, SAMPLE_COUNTERS * sizeof *s->sample_counters},
	        {&s->turns, (size_t)h->head_dim / 2 * sizeof *s->turns},
	        {&s->k_cache, cache},
	        {&s->v_cache, cache},
	        {&s->k_new, kv * sizeof *s->k_new},
	        {&s->v_new, kv * sizeof *s->v_new},
	        {&s->split_trace, partials * sizeof *s->split_trace},
	        {&s->head_trace, (size_t)h->heads * sizeof *s->head_trace},
	};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		TRY(alloc(d->device, buffers[i].bytes, buffers[i].memory));
	TRY(write_turns(d));
done:
	return status;
}

static void close_state(struct decoder *d)
{
	struct state *s = &d->state;
	void *memory[] = {s->token,
	                  s->position,
	                  s->history,
	                  s->x,
	                  s->q,
	                  s->normed,
	                  s->qkv,
	                  s->attention,
	                  s->hidden,
	                  s->logits,
	                  s->partial,
	                  s->posted,
	                  s->attention_arrived,
	                  s->best,
	                  s->turns,
	                  s->k_cache,
	                  s->v_cache,
	                  s->k_new,
	                  s->v_new,
	                  s->sample_weight,
	                  s->candidates,
	                  s->sample_counters,
	                  s->split_trace,
	                  s->head_trace};
	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
		device_free(d->device, memory[i]);
	*s = (struct state){0};
}

static enum status launch(const struct decoder *d, const struct launch *l, bool traced)
{
	const void *entry = traced && l->variant->traced ? l->variant->traced : l->variant->entry;
	return device_launch(
	        d->device, entry, l->grid, &l->args, l->kernel->args_bytes,
	        (struct launch_options){.dependent = l->dependent, .stamps = l->stamps});
}

enum status decoder_capture(struct decoder *d, const struct plan *plan, struct graph **graph)
{
	enum status status;
	TRY(device_capture_begin(d->device));
	for (int i = 0; i < plan->n && status == STATUS_OK; i++)
		if (!plan->launches[i].left_out)
			status = launch(d, &plan->launches[i], false);
	enum status ended = device_capture_end(d->device, graph);
	if (status == STATUS_OK)
		status = ended;
done:
	return status;
}

static enum status open_plans(struct decoder *d)
{
	enum status status = STATUS_OK;
	int upper[PLAN_MAX_RANGES];
	struct builder b = {.hparams = &d->model->hparams,
	                    .weights = &d->weights,
	                    .state = &d->state,
	                    .info = device_info(d->device),
	                    .use_bias = d->options.use_bias,
	                    .use_tuned = d->options.use_tuned,
	                    .fused = !d->options.unfused,
	                    .serial = d->options.serial,
	                    .sampling = d->options.sampling,
	                    .find = d->options.find,
	                    .find_user = d->options.find_user};
	int n = plan_ranges(&b, upper);
	for (int i = 0; i < n; i++) {
		TRY(plan_open(d->model->arch, &b, upper[i], &d->plans[i]));
		d->n_plans = i + 1;
		if (d->options.graphs)
			TRY(decoder_capture(d, &d->plans[i], &d->graphs[i]));
	}
done:
	return status;
}

enum status decoder_open(struct device *device, const struct model *model,
                         const struct decoder_options *options, struct decoder *d)
{
	enum status status;
	*d = (struct decoder){.device = device, .model = model, .options = *options};
	TRY(open_state(d));
	TRY(weights_open(model, device, options->quiet, &d->weights));
	if (options->use_tuned)
		table_warn_stale(device_info(device));
	TRY(open_plans(d));
done:
	if (status != STATUS_OK)
		decoder_close(d);
	return status;
}

void decoder_close(struct decoder *d)
{
	if (!d->device)
		return;
	for (int i = 0; i < PLAN_MAX_RANGES; i++) {
		graph_close(&d->graphs[i]);
		plan_close(&d->plans[i]);
	}
	weights_close(&d->weights);
	close_state(d);
	*d = (struct decoder){0};
}

const char *decoder_way(const struct decoder *d, char text[DECODER_WAY])
{
	const struct decoder_options *o = &d->options;
	snprintf(text, DECODER_WAY, "%s%s%s%s%s", o->use_tuned ? "tuned" : "default",
	         o->graphs ? "" : " eager", o->unfused ? " unfused" : "",
	         o->serial ? " serial" : "", o->sampling.temperature > 0 ? " sampled" : "");
	return text;
}

static int plan_index(const struct decoder *d, int position)
{
	int i = 0;
	while (i + 1 < d->n_plans && d->plans[i].len_max < position + 1)
		i++;
	return i;
}

const struct plan *decoder_plan(const struct decoder *d, int position)
{
	return &d->plans[plan_index(d, position)];
}

static enum status set_token(struct decoder *d, int token)
{
	if (token >= d->model->hparams.vocab)
		return fail(STATUS_USAGE, "token %d is outside the vocabulary of %d", token,
		            d->model->hparams.vocab);
	return device_write(d->device, d->state.token, &token, sizeof token);
}

static enum status observe(const struct decoder *d, const struct launch *l,
                           const struct observer *observers, int n, bool after)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < n; i++) {
		const struct observer *o = &observers[i];
		if (after && o->after)
			TRY(o->after(o->context, d, l));
		else if (!after && o->before)
			TRY(o->before(o->context, d, l));
	}
done:
	return status;
}

/* The name of an operation's range: what it is and which instance runs it. */
static void push_op(const struct decoder *d, const struct launch *l)
{
	char config[CONFIG_TEXT], name[CONFIG_TEXT + 32];
	params_format(l->kernel->params, l->kernel->n_params, l->variant->config.value, config);
	snprintf(name, sizeof name, "%s: %s", op_name(l->op), config);
	range_push(name, (uint64_t)launch_bytes(l, d->position + 1));
}

static enum status step_eagerly(struct decoder *d, const struct plan *plan,
                                const struct observer *observers, int n)
{
	enum status status = STATUS_OK;
	bool traced = false;
	int layer = -1;
	char name[32];
	for (int i = 0; i < n; i++)
		traced |= observers[i].traced;
	for (int i = 0; i < plan->n; i++) {
		const struct launch *l = &plan->launches[i];
		if (l->layer != layer) {
			if (layer >= 0)
				range_pop();
			snprintf(name, sizeof name, "layer %d", l->layer);
			if (l->layer >= 0)
				range_push(name, (uint64_t)d->position);
			layer = l->layer;
		}
		TRY(observe(d, l, observers, n, false));
		push_op(d, l);
		status = launch(d, l, traced);
		range_pop();
		TRY(status);
		TRY(observe(d, l, observers, n, true));
	}
done:
	if (layer >= 0)
		range_pop();
	return status;
}

enum status decoder_step(struct decoder *d, int token, const struct observer *observers, int n)
{
	enum status status = STATUS_OK;
	if (d->position >= d->state.capacity)
		return fail(STATUS_FAILED, "the context of %d tokens is full (see -c)",
		            d->state.capacity);
	int i = plan_index(d, d->position);
	if (token >= 0)
		TRY(set_token(d, token));
	for (int o = 0; o < n; o++)
		TRY(observers[o].begin(observers[o].context, d, token));
	range_push("token", (uint64_t)d->position);
	if (n == 0 && d->graphs[i])
		status = graph_launch(d->graphs[i]);
	else
		status = step_eagerly(d, &d->plans[i], observers, n);
	range_pop();
	if (status == STATUS_OK)
		d->position++;
done:
	return status;
}

enum status decoder_token(const struct decoder *d, int *token)
{
	return device_read(d->device, token, d->state.token, sizeof *token);
}

enum status decoder_logits(const struct decoder *d, float *logits)
{
	return device_read(d->device, logits, d->state.logits,
	                   (size_t)d->model->hparams.vocab * sizeof *logits);
}

enum status decoder_seek(struct decoder *d, int position)
{
	if (position < 0 || position >= d->state.capacity)
		return fail(STATUS_USAGE, "position %d is outside the context of %d tokens",
		            position, d->state.capacity);
	d->position = position;
	return device_write(d->device, d->state.position, &position, sizeof position);
}

/* n values of deviation 1, uniform, in file layout. */
static void random_rows(uint32_t *state, int dtype, void *to, size_t n)
{
	float v[32];
	const size_t block = (size_t)dtype_block(dtype);
	for (size_t i = 0; i < n; i += block) {
		for (size_t j = 0; j < block; j++) {
			*state = *state * 1664525 + 1013904223;
			v[j] = 1.7320508f * ((float)(*state >> 8) * 0x1p-23f - 1);
		}
		dtype_from_f32(dtype, v, (uint8_t *)to + dtype_bytes(dtype, i), block);
	}
}

enum status decoder_fill_cache(struct decoder *d, int n,
                               void (*visit)(void *context, int layer, int head, bool is_value,
                                             const void *rows),
                               void *context)
{
	enum status status = STATUS_OK;
	const struct hparams *h = &d->model->hparams;
	const struct state *s = &d->state;
	const size_t head = (size_t)s->capacity * (size_t)h->head_dim;
	const size_t filled = (size_t)n * (size_t)h->head_dim;
	uint32_t random = 1;
	uint8_t *rows = malloc(dtype_bytes(s->kv, filled) + 1);
	if (!rows)
		return fail(STATUS_NO_MEMORY, "out of host memory for %d cache rows", n);
	for (int l = 0; l < h->layers; l++)
		for (int i = 0; i < 2 * h->kv_heads; i++) {
			uint8_t *cache = i % 2 ? s->v_cache : s->k_cache;
			random_rows(&random, s->kv, rows, filled);
			TRY(cache_write(d->device, s->kv, cache + (size_t)l * s->cache_layer_bytes,
			                (size_t)h->kv_heads * head, (size_t)(i / 2) * head, rows,
			                filled));
			if (visit)
				visit(context, l, i / 2, i % 2, rows);
		}
done:
	free(rows);
	return status;
}
