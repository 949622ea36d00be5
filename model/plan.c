#include "model/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/table.h"

#define OP_NAME(op, name) [op] = name,

const char *op_name(enum op op)
{
	static const char *const names[] = {OPS(OP_NAME)};
	return names[op];
}

int kernel_param_max(const char *kernel, const char *param)
{
	const struct kernel *k = kernel_find(kernel);
	int max = 0;
	for (int p = 0; k && p < k->n_params; p++)
		for (int i = 0; !strcmp(k->params[p].name, param) && i < k->params[p].n_values; i++)
			if (k->params[p].values[i] > max)
				max = k->params[p].values[i];
	return max;
}

/* NULL after a failure. */
static struct launch *append(struct plan *plan)
{
	if (plan->n == plan->capacity) {
		int capacity = plan->capacity ? 2 * plan->capacity : 64;
		struct launch *launches =
		        realloc(plan->launches, (size_t)capacity * sizeof *launches);
		if (!launches)
			return NULL;
		plan->launches = launches;
		plan->capacity = capacity;
	}
	return &plan->launches[plan->n++];
}

static void add(struct builder *b, enum op op, const char *kernel, struct shape shape,
                struct kase kase, union launch_args args)
{
	if (b->status != STATUS_OK)
		return;
	struct launch *l = append(b->plan);
	if (!l) {
		b->status = fail(STATUS_NO_MEMORY, "out of host memory for the plan");
		return;
	}
	*l = (struct launch){.op = op,
	                     .layer = b->layer,
	                     .kernel = kernel_find(kernel),
	                     .kase = kase,
	                     .shape = shape,
	                     .dependent = b->plan->n > 1 && !b->serial,
	                     .args = args};
	l->variant =
	        b->find ? b->find(b->find_user, l->kernel, &l->kase, &l->shape)
	                : table_lookup(l->kernel, b->info, l->kase.value, &l->shape, b->use_tuned);
	if (!l->variant) {
		char text[CONFIG_TEXT];
		params_format(l->kernel->fields, l->kernel->n_fields, l->kase.value, text);
		b->status = fail(STATUS_UNSUPPORTED, "this build has no %s kernel for %s", kernel,
		                 text);
		return;
	}
	launch_regrid(l, b->info);
}

void launch_regrid(struct launch *l, const struct device_info *info)
{
	l->grid =
	        l->kernel->grid(&l->shape, l->variant->kase.value, l->variant->config.value, info);
}

void plan_embed(struct builder *b, const struct matrix *table, float *y)
{
	union launch_args args = {.embed = {.y = y,
	                                    .w = table->w,
	                                    .scale = table->scale,
	                                    .token = b->state->token,
	                                    .n_rows = table->m,
	                                    .n = table->k}};
	add(b, OP_EMBED, "embed", (struct shape){.m = table->k}, (struct kase){{table->dtype}},
	    args);
}

static void add_norm(struct builder *b, enum op op, const float *weight)
{
	int n = b->hparams->hidden;
	union launch_args args = {.norm = {.y = b->state->normed,
	                                   .x = b->state->x,
	                                   .w = weight,
	                                   .eps = (float)b->hparams->eps,
	                                   .n = n}};
	add(b, op, "rms_norm", (struct shape){.m = n}, (struct kase){{DTYPE_F32, 0}}, args);
}

static void add_gemv(struct builder *b, enum op op, const struct matrix *w, enum epilogue epilogue,
                     struct gemv_args args)
{
	const int norm = args.norm != NULL;
	args.w = w->w;
	args.scale = w->scale;
	args.m = w->m;
	args.k = w->k;
	add(b, op, "gemv", (struct shape){.m = w->m, .k = w->k},
	    (struct kase){{w->dtype, DTYPE_F32, norm, (int)epilogue}},
	    (union launch_args){.gemv = args});
}

void plan_gemv(struct builder *b, enum op op, const struct matrix *w, const float *x, float *y,
               const float *residual)
{
	add_gemv(b, op, w, residual ? EPILOGUE_RESIDUAL : EPILOGUE_NONE,
	         (struct gemv_args){.y = y, .x = x, .residual = residual});
}

/* Arguments of a product with the normalised x: the norm is folded in, or a launch before. */
static struct gemv_args normed_args(struct builder *b, enum op norm_op, const float *norm)
{
	struct gemv_args args = {.x = b->state->x,
	                         .norm = norm,
	                         .eps = (float)b->hparams->eps,
	                         .n_norm = b->hparams->hidden};
	if (b->fused)
		return args;
	add_norm(b, norm_op, norm);
	return (struct gemv_args){.x = b->state->normed};
}

void plan_gate_up(struct builder *b, const float *norm, const struct matrix *w)
{
	struct gemv_args args = normed_args(b, OP_FFN_NORM, norm);
	args.y = b->state->hidden;
	add_gemv(b, OP_GATE_UP, w, EPILOGUE_SWIGLU, args);
}

/* Where a layer's new keys and values go: a row of its caches, or, since a block of a quantised one
 * is written by several threads of a product, memory of their own. */
struct destination {
	void *k, *v;
	int kv;
	bool newest_only;
};

static struct destination destination(const struct builder *b)
{
	const struct state *s = b->state;
	const size_t cache = (size_t)b->layer * s->cache_layer_bytes;
	if (dtype_block(s->kv) > 1)
		return (struct destination){s->k_new, s->v_new, DTYPE_F32, true};
	return (struct destination){s->k_cache + cache, s->v_cache + cache, s->kv, false};
}

static void add_kv_append(struct builder *b)
{
	const struct hparams *h = b->hparams;
	const struct state *s = b->state;
	const size_t cache = (size_t)b->layer * s->cache_layer_bytes;
	union launch_args args = {.kv_append = {.k = s->k_new,
	                                        .v = s->v_new,
	                                        .k_cache = s->k_cache + cache,
	                                        .v_cache = s->v_cache + cache,
	                                        .position = s->position,
	                                        .n = 1,
	                                        .n_kv_heads = h->kv_heads,
	                                        .head_dim = h->head_dim,
	                                        .capacity = s->capacity}};
	struct shape shape = {.m = 1, .k = h->kv_heads, .head_dim = h->head_dim};
	add(b, OP_KV_APPEND, "kv_append", shape, (struct kase){{s->kv}}, args);
}

static void add_rope(struct builder *b)
{
	const struct hparams *h = b->hparams;
	const struct state *s = b->state;
	const struct destination to = destination(b);
	float *k = s->qkv + h->heads * h->head_dim;
	union launch_args args = {.rope = {.q = s->qkv,
	                                   .k = k,
	                                   .v = k + h->kv_heads * h->head_dim,
	                                   .q_out = s->q,
	                                   .k_cache = to.k,
	                                   .v_cache = to.v,
	                                   .turns = s->turns,
	                                   .position = s->position,
	                                   .n_heads = h->heads,
	                                   .head_dim = h->head_dim,
	                                   .capacity = s->capacity,
	                                   .newest_only = to.newest_only}};
	struct shape shape = {.m = h->heads, .k = h->kv_heads, .head_dim = h->head_dim};
	add(b, OP_ROPE, "rope", shape, (struct kase){{to.kv, 1}}, args);
}

static void add_qkv(struct builder *b, const float *norm, const struct matrix *w, const float *bias)
{
	const struct hparams *h = b->hparams;
	const struct state *s = b->state;
	const struct destination to = destination(b);
	struct gemv_args args = normed_args(b, OP_ATTN_NORM, norm);
	if (!b->fused) {
		for (; w; w = w->next) {
			args.y = s->qkv + w->row;
			args.bias = bias ? bias + w->row : NULL;
			args.first_row = w->row;
			add_gemv(b, OP_QKV, w, bias ? EPILOGUE_BIAS : EPILOGUE_NONE, args);
		}
		add_rope(b);
		return;
	}
	args.y = s->q;
	args.bias = bias;
	args.turns = s->turns;
	args.position = s->position;
	args.k_cache = to.k;
	args.v_cache = to.v;
	args.newest_only = to.newest_only;
	args.n_heads = h->heads;
	args.n_kv_heads = h->kv_heads;
	args.head_dim = h->head_dim;
	args.capacity = s->capacity;
	args.kv = to.kv;
	for (; w; w = w->next) {
		args.first_row = w->row;
		add_gemv(b, OP_QKV, w, EPILOGUE_QKV, args);
	}
}

void plan_qkv(struct builder *b, const float *norm, const struct matrix *w, const float *bias)
{
	add_qkv(b, norm, w, bias);
	if (dtype_block(b->state->kv) > 1)
		add_kv_append(b);
}

/* Of a layer: beside the product behind it. */
static struct shape attention_shape(const struct builder *b, int layer, int len)
{
	const struct hparams *h = b->hparams;
	return (struct shape){.m = h->heads,
	                      .k = h->kv_heads,
	                      .len = len,
	                      .head_dim = h->head_dim,
	                      .beside = beside_weights(b->weights->layers[layer].o.dtype)};
}

static struct kase attention_kase(const struct shape *shape, int kv)
{
	struct kase kase = {{0, 0, kv}};
	kernel_find("gqa_attention")->specialise(shape, kase.value);
	return kase;
}

void plan_attention(struct builder *b)
{
	const struct hparams *h = b->hparams;
	const struct state *s = b->state;
	size_t cache = (size_t)b->layer * s->cache_layer_bytes;
	union launch_args args = {.attention = {.out = s->attention,
	                                        .q = s->q,
	                                        .k = s->k_cache + cache,
	                                        .v = s->v_cache + cache,
	                                        .partial = s->partial,
	                                        .posted = s->posted,
	                                        .arrived = s->attention_arrived,
	                                        .position = s->position,
	                                        .scale = (float)(1 / sqrt((double)h->head_dim)),
	                                        .n_heads = h->heads,
	                                        .n_kv_heads = h->kv_heads,
	                                        .head_dim = h->head_dim,
	                                        .capacity = s->capacity,
	                                        .split_trace = s->split_trace,
	                                        .head_trace = s->head_trace}};
	struct shape shape = attention_shape(b, b->layer, b->plan->len_max);
	add(b, OP_ATTENTION, "gqa_attention", shape, attention_kase(&shape, s->kv), args);
}

/* The largest logit, which weights are relative to, is known by then: the product keeps it. */
static void add_sample(struct builder *b)
{
	const struct state *s = b->state;
	const int vocab = b->hparams->vocab;
	union launch_args args = {.sample = {.best = s->best,
	                                     .largest = s->best,
	                                     .x = s->logits,
	                                     .position = s->position,
	                                     .weight = s->sample_weight,
	                                     .list = s->candidates,
	                                     .counters = s->sample_counters,
	                                     .n = vocab}};
	sampling_bind(&b->sampling, &args.sample);
	add(b, OP_SAMPLE, "sample", (struct shape){.m = vocab},
	    (struct kase){{DTYPE_F32, sampling_cuts(&b->sampling)}}, args);
}

static void add_head(struct builder *b, const float *norm, const struct matrix *w)
{
	const struct state *s = b->state;
	const int vocab = b->hparams->vocab;
	struct gemv_args args = normed_args(b, OP_FINAL_NORM, norm);
	args.y = s->logits;
	if (b->fused) {
		args.best = s->best;
		add_gemv(b, OP_HEAD, w, EPILOGUE_ARGMAX, args);
		return;
	}
	add_gemv(b, OP_HEAD, w, EPILOGUE_NONE, args);
	add(b, OP_ARGMAX, "argmax", (struct shape){.m = vocab}, (struct kase){{DTYPE_F32}},
	    (union launch_args){.argmax = {.best = s->best, .x = s->logits, .n = vocab}});
}

void plan_head(struct builder *b, const float *norm, const struct matrix *w)
{
	add_head(b, norm, w);
	if (b->sampling.temperature > 0)
		add_sample(b);
}

void plan_advance(struct builder *b)
{
	const struct state *s = b->state;
	union launch_args args = {.advance = {.token = s->token,
	                                      .position = s->position,
	                                      .history = s->history,
	                                      .best = s->best,
	                                      .capacity = s->capacity}};
	add(b, OP_ADVANCE, "advance", (struct shape){.m = 1}, (struct kase){{1}}, args);
}

/* Those of all layers that differ; returns their number. */
static int attention_shapes(const struct builder *b, struct shape shapes[N_BESIDE])
{
	int n = 0;
	for (int l = 0; l < b->hparams->layers; l++) {
		const struct shape shape = attention_shape(b, l, b->state->capacity);
		int i = 0;
		while (i < n && shapes[i].beside != shape.beside)
			i++;
		if (i == n)
			shapes[n++] = shape;
	}
	return n;
}

int plan_ranges(const struct builder *b, int upper[PLAN_MAX_RANGES])
{
	struct shape shapes[N_BESIDE];
	const int n_shapes = attention_shapes(b, shapes);
	const struct kase kase = attention_kase(&shapes[0], b->state->kv);
	int n = 0;
	if (b->use_tuned)
		n = table_ranges(kernel_find("gqa_attention"), b->info, kase.value, shapes,
		                 n_shapes, b->state->capacity, upper, PLAN_MAX_RANGES);
	if (n == 0)
		upper[n++] = b->state->capacity;
	upper[n - 1] = b->state->capacity;
	return n;
}

enum status plan_open(const struct arch *arch, struct builder *b, int len_max, struct plan *plan)
{
	*plan = (struct plan){.len_max = len_max};
	b->plan = plan;
	b->layer = -1;
	b->status = STATUS_OK;
	arch->build(b);
	if (b->status == STATUS_OK)
		plan_look_ahead(plan);
	else
		plan_close(plan);
	return b->status;
}

/* The product `distance` products after launch i; behind the last comes the first of the next step.
 */
static const struct launch *product_after(const struct plan *plan, int i, int distance)
{
	const struct kernel *gemv = kernel_find("gemv");
	while (distance > 0) {
		i = (i + 1) % plan->n;
		distance -= plan->launches[i].kernel == gemv;
	}
	return &plan->launches[i];
}

void plan_look_ahead(struct plan *plan)
{
	for (int i = 0; i < plan->n; i++) {
		struct launch *l = &plan->launches[i];
		struct gemv_config config;
		if (l->kernel != kernel_find("gemv"))
			continue;
		memcpy(&config, l->variant->config.value, sizeof config);
		const struct launch *later = product_after(plan, i, config.ahead);
		const size_t count = (size_t)later->args.gemv.m * (size_t)later->args.gemv.k;
		const size_t all = dtype_bytes(later->kase.value[0], count);
		const size_t most = config.ahead ? (size_t)config.ahead_mb << 20 : 0;
		l->args.gemv.ahead = later->args.gemv.w;
		l->args.gemv.ahead_bytes = all < most ? all : most;
	}
}

void plan_close(struct plan *plan)
{
	free(plan->launches);
	*plan = (struct plan){0};
}

bool launch_is_tuned(const struct launch *launch)
{
	return launch->variant->device && !table_is_lent(launch->variant, &launch->shape);
}

double launch_bytes(const struct launch *launch, int len)
{
	struct shape shape = launch->shape;
	if (shape.len)
		shape.len = len;
	return launch->kernel->bytes(&shape, launch->kase.value);
}

double plan_bytes(const struct plan *plan, int len)
{
	double bytes = 0;
	for (int i = 0; i < plan->n; i++)
		bytes += launch_bytes(&plan->launches[i], len);
	return bytes;
}

/* Where the launch's configuration is from: "tuned", "tuned beside q8_0", "nearest 896x4864" or
 * "default". */
static const char *launch_row(const struct launch *l, char text[32])
{
	snprintf(text, 32, "%s", launch_is_tuned(l) ? "tuned" : "default");
	if (l->variant->beside)
		snprintf(text, 32, "tuned beside %s", beside_name(l->variant->beside));
	if (table_is_lent(l->variant, &l->shape))
		snprintf(text, 32, "nearest %dx%d", l->variant->m, l->variant->k);
	return text;
}

static void print_launch(const struct plan *plan, int i, FILE *to)
{
	const struct launch *l = &plan->launches[i];
	char kase[CONFIG_TEXT], config[CONFIG_TEXT], shape[64], layer[16] = "-", row[32];
	params_format(l->kernel->fields, l->kernel->n_fields, l->variant->kase.value, kase);
	params_format(l->kernel->params, l->kernel->n_params, l->variant->config.value, config);
	l->kernel->format_shape(&l->shape, shape);
	if (l->layer >= 0)
		snprintf(layer, sizeof layer, "%d", l->layer);
	fprintf(to, "%4d  %5s  %-10s  %-13s  %-32s  %-16s  %-60s  %-19s  %5ux%-3u %4u  %10.0f\n", i,
	        layer, op_name(l->op), l->kernel->name, kase, shape, config, launch_row(l, row),
	        l->grid.x, l->grid.y, l->grid.threads, launch_bytes(l, plan->len_max) / 1e3);
}

void plan_print(const struct plan *plan, FILE *to)
{
	fprintf(to, "%4s  %5s  %-10s  %-13s  %-32s  %-16s  %-60s  %-19s  %9s %4s  %10s\n", "#",
	        "layer", "operation", "kernel", "case", "shape", "configuration", "row", "blocks",
	        "thr", "kB");
	for (int i = 0; i < plan->n; i++)
		print_launch(plan, i, to);
	fprintf(to, "%d launches, %.3f MB at cache length %d\n", plan->n,
	        plan_bytes(plan, plan->len_max) / 1e6, plan->len_max);
}
