/* Qwen2 and Qwen2.5: pre-norm layers, grouped-query attention with biases on query, key and value,
 * NeoX RoPE, SwiGLU. */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"
#include "model/gguf_write.h"
#include "model/plan.h"

#define MAX_LAYERS  1024
#define MAX_HIDDEN  65536
#define MAX_HEADS   1024
#define MAX_FFN     (1 << 20)
#define MAX_CONTEXT (1 << 24)

static const struct tensor_row layer_rows[LAYER_TENSORS] = {
        [ATTN_NORM] = {"attn_norm.weight", EXTENT_ONE, EXTENT_HIDDEN, 1, 0.1f},
        [ATTN_Q] = {"attn_q.weight", EXTENT_Q, EXTENT_HIDDEN, 0, 0},
        [ATTN_K] = {"attn_k.weight", EXTENT_KV, EXTENT_HIDDEN, 0, 0},
        [ATTN_V] = {"attn_v.weight", EXTENT_KV, EXTENT_HIDDEN, 0, 0},
        [ATTN_Q_BIAS] = {"attn_q.bias", EXTENT_ONE, EXTENT_Q, 0, 0.1f},
        [ATTN_K_BIAS] = {"attn_k.bias", EXTENT_ONE, EXTENT_KV, 0, 0.1f},
        [ATTN_V_BIAS] = {"attn_v.bias", EXTENT_ONE, EXTENT_KV, 0, 0.1f},
        [ATTN_O] = {"attn_output.weight", EXTENT_HIDDEN, EXTENT_Q, 0, 0},
        [FFN_NORM] = {"ffn_norm.weight", EXTENT_ONE, EXTENT_HIDDEN, 1, 0.1f},
        [FFN_GATE] = {"ffn_gate.weight", EXTENT_FFN, EXTENT_HIDDEN, 0, 0},
        [FFN_UP] = {"ffn_up.weight", EXTENT_FFN, EXTENT_HIDDEN, 0, 0},
        [FFN_DOWN] = {"ffn_down.weight", EXTENT_HIDDEN, EXTENT_FFN, 0, 0},
};

/* A scaled rotation would change every angle, so its keys may only say that there is none. */
static enum status refuse_scaling(const struct gguf *file)
{
	enum status status;
	struct gguf_string type = {"none", 4};
	float factor = 1;
	uint32_t length = 0;
	TRY(gguf_string(file, GGUF_OPTIONAL, "qwen2.rope.scaling.type", &type));
	if (type.len != 4 || memcmp(type.data, "none", 4))
		return fail(STATUS_UNSUPPORTED,
		            "%s: qwen2.rope.scaling.type '%.*s' is not supported", file->path,
		            (int)type.len, type.data);
	TRY(gguf_f32(file, GGUF_OPTIONAL, "qwen2.rope.scaling.factor", 0, FLT_MAX, &factor));
	if (factor != 0 && factor != 1)
		return fail(STATUS_UNSUPPORTED, "%s: qwen2.rope.scaling.factor %g is not supported",
		            file->path, (double)factor);
	factor = 1;
	TRY(gguf_f32(file, GGUF_OPTIONAL, "qwen2.rope.scale_linear", 0, FLT_MAX, &factor));
	if (factor != 0 && factor != 1)
		return fail(STATUS_UNSUPPORTED, "%s: qwen2.rope.scale_linear %g is not supported",
		            file->path, (double)factor);
	TRY(gguf_u32(file, GGUF_OPTIONAL, "qwen2.attention.sliding_window", 0, UINT32_MAX,
	             &length));
	if (length)
		return fail(STATUS_UNSUPPORTED,
		            "%s: qwen2.attention.sliding_window %u is not supported", file->path,
		            length);
done:
	return status;
}

static enum status read_head_dim(const struct gguf *file, struct hparams *h)
{
	enum status status;
	uint32_t dim = 0, rotated, value_dim;
	TRY(gguf_u32(file, GGUF_OPTIONAL, "qwen2.attention.key_length", 1, 256, &dim));
	if (!dim && h->hidden % h->heads)
		return fail(STATUS_FAILED,
		            "%s: qwen2.embedding_length %d does not divide by %d heads", file->path,
		            h->hidden, h->heads);
	h->head_dim = dim ? (int)dim : h->hidden / h->heads;
	rotated = value_dim = (uint32_t)h->head_dim;
	TRY(gguf_u32(file, GGUF_OPTIONAL, "qwen2.attention.value_length", value_dim, value_dim,
	             &value_dim));
	TRY(gguf_u32(file, GGUF_OPTIONAL, "qwen2.rope.dimension_count", rotated, rotated,
	             &rotated));
done:
	return status;
}

/* Keys of the hyperparameters that every file has. */
static const struct {
	const char *key;
	size_t value; /* an int of struct hparams */
	uint32_t min, max;
} counts[] = {
        {"qwen2.block_count", offsetof(struct hparams, layers), 1, MAX_LAYERS},
        {"qwen2.context_length", offsetof(struct hparams, context), 1, MAX_CONTEXT},
        {"qwen2.embedding_length", offsetof(struct hparams, hidden), 8, MAX_HIDDEN},
        {"qwen2.feed_forward_length", offsetof(struct hparams, ffn), 1, MAX_FFN},
        {"qwen2.attention.head_count", offsetof(struct hparams, heads), 1, MAX_HEADS},
};
static const char kv_heads_key[] = "qwen2.attention.head_count_kv";
static const char rope_base_key[] = "qwen2.rope.freq_base";
static const char eps_key[] = "qwen2.attention.layer_norm_rms_epsilon";

#define N_COUNTS (sizeof counts / sizeof *counts)

static enum status read_qwen2(const struct gguf *file, struct hparams *h)
{
	enum status status;
	struct gguf_string name = {"", 0};
	uint32_t v;
	float base = 10000, eps;
	TRY(gguf_string(file, GGUF_OPTIONAL, "general.name", &name));
	snprintf(h->name, sizeof h->name, "%.*s", (int)name.len, name.data);
	for (size_t i = 0; i < N_COUNTS; i++) {
		TRY(gguf_u32(file, GGUF_REQUIRED, counts[i].key, counts[i].min, counts[i].max, &v));
		*(int *)((char *)h + counts[i].value) = (int)v;
	}
	v = (uint32_t)h->heads;
	TRY(gguf_u32(file, GGUF_OPTIONAL, kv_heads_key, 1, v, &v));
	h->kv_heads = (int)v;
	TRY(gguf_f32(file, GGUF_OPTIONAL, rope_base_key, 1.0001f, FLT_MAX, &base));
	h->rope_base = (double)base;
	TRY(gguf_f32(file, GGUF_REQUIRED, eps_key, FLT_MIN, 1, &eps));
	h->eps = (double)eps;
	TRY(read_head_dim(file, h));
	TRY(refuse_scaling(file));
done:
	return status;
}

static void write_qwen2(const struct hparams *h, struct gguf_writer *file)
{
	for (size_t i = 0; i < N_COUNTS; i++)
		gguf_put_u32(file, counts[i].key,
		             *(const uint32_t *)((const char *)h + counts[i].value));
	gguf_put_u32(file, kv_heads_key, (uint32_t)h->kv_heads);
	gguf_put_f32(file, rope_base_key, (float)h->rope_base);
	gguf_put_f32(file, eps_key, (float)h->eps);
}

static void build_qwen2(struct builder *b)
{
	const struct weights *w = b->weights;
	const struct state *s = b->state;
	plan_embed(b, &w->embed, s->x);
	for (int l = 0; l < b->hparams->layers; l++) {
		const struct layer_weights *lw = &w->layers[l];
		b->layer = l;
		plan_qkv(b, lw->attn_norm, &lw->qkv, b->use_bias ? lw->qkv_bias : NULL);
		plan_attention(b);
		plan_gemv(b, OP_ATTN_OUT, &lw->o, s->attention, s->x, s->x);
		plan_gate_up(b, lw->ffn_norm, &lw->gate_up);
		plan_gemv(b, OP_DOWN, &lw->down, s->hidden, s->x, s->x);
	}
	b->layer = -1;
	plan_head(b, w->norm, &w->head);
	plan_advance(b);
}

const struct arch qwen2 = {
        .name = "qwen2",
        .read = read_qwen2,
        .write = write_qwen2,
        .layer = layer_rows,
        .embed = {"token_embd.weight", EXTENT_VOCAB, EXTENT_HIDDEN, 0, 0},
        .norm = {"output_norm.weight", EXTENT_ONE, EXTENT_HIDDEN, 1, 0.1f},
        .head = {"output.weight", EXTENT_VOCAB, EXTENT_HIDDEN, 0, 0},
        .build = build_qwen2,
};
