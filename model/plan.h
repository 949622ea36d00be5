/* One decode step as data: the launches, in order, with kernel, instance, geometry and arguments.
 * What decodes, is captured, traced, checked and timed is this list. */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include <stdio.h>

#include "core/kernel.h"
#include "kernels/advance.h"
#include "kernels/argmax.h"
#include "kernels/embed.h"
#include "kernels/gemv.h"
#include "kernels/gqa_attention.h"
#include "kernels/kv_append.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/sample.h"
#include "model/weights.h"

#define OPS(X)                         \
	X(OP_EMBED, "embed")           \
	X(OP_ATTN_NORM, "attn_norm")   \
	X(OP_QKV, "qkv")               \
	X(OP_ROPE, "rope")             \
	X(OP_KV_APPEND, "kv_append")   \
	X(OP_ATTENTION, "attention")   \
	X(OP_ATTN_OUT, "attn_out")     \
	X(OP_FFN_NORM, "ffn_norm")     \
	X(OP_GATE_UP, "gate_up")       \
	X(OP_DOWN, "down")             \
	X(OP_FINAL_NORM, "final_norm") \
	X(OP_HEAD, "head")             \
	X(OP_ARGMAX, "argmax")         \
	X(OP_SAMPLE, "sample")         \
	X(OP_ADVANCE, "advance")

#define OP_VALUE(op, name) op,
enum op { OPS(OP_VALUE) N_OPS };
const char *op_name(enum op op);

/* Device memory that a step reads and writes. Activations are f32 and padded with zeros as matrices
 * are. */
struct state {
	int *token, *position; /* of the next step */
	int *history;          /* (capacity) tokens by position */
	float *x, *q, *attention, *hidden, *logits;
	float *normed, *qkv;     /* where norm and rotation have launches of their own */
	float *partial, *posted; /* of the attention's splits */
	unsigned *attention_arrived;
	unsigned long long *best;                       /* key of the argmax, 0 between steps */
	unsigned long long *sample_weight, *candidates; /* of sampling, see kernels/sample.h */
	unsigned *sample_counters;
	unsigned long long *turns;  /* (head_dim / 2), see kernels/rope.h */
	uint8_t *k_cache, *v_cache; /* (layers, kv_heads, capacity, head_dim) */
	float *k_new, *v_new;       /* (kv_heads, head_dim) before they are quantised */
	struct attention_split_trace *split_trace; /* (heads, splits) of the latest attention */
	struct attention_head_trace *head_trace;   /* (heads) */
	int capacity;                              /* rows of the cache */
	int kv;                                    /* its dtype */
	size_t cache_layer_bytes; /* from one layer's keys, or values, to the next */
};

union launch_args {
	struct gemv_args gemv;
	struct gqa_attention_args attention;
	struct rms_norm_args norm;
	struct rope_args rope;
	struct kv_append_args kv_append;
	struct embed_args embed;
	struct argmax_args argmax;
	struct sample_args sample;
	struct advance_args advance;
};

struct launch {
	enum op op;
	int layer; /* -1 outside the layers */
	const struct kernel *kernel;
	struct kase kase;
	struct shape shape;
	const struct variant *variant;
	struct grid grid;
	bool dependent; /* see struct launch_options; the first of a step is not, so that the others
	                   may read before their waits what earlier steps wrote */
	bool left_out;  /* of captured graphs, to see what it costs */
	struct stamp *stamps; /* see struct launch_options */
	union launch_args args;
};

/* For cache lengths up to len_max. */
struct plan {
	struct launch *launches;
	int n, capacity;
	int len_max;
};

/* What an architecture's build() adds launches to. The first failure is kept and ends all that
 * follows. */
struct builder {
	const struct hparams *hparams;
	const struct weights *weights;
	const struct state *state;
	const struct device_info *info;
	bool use_bias, use_tuned;
	bool fused;  /* norms, rotation and argmax in the products before and after them */
	bool serial; /* no launch is dependent */
	struct sampling sampling;
	/* where instances come from, NULL: table_lookup() */
	const struct variant *(*find)(void *user, const struct kernel *kernel,
	                              const struct kase *kase, const struct shape *shape);
	void *find_user;
	int layer;
	struct plan *plan;
	enum status status;
};

void plan_embed(struct builder *b, const struct matrix *table, float *y);
/* `residual`: NULL for none. */
void plan_gemv(struct builder *b, enum op op, const struct matrix *w, const float *x, float *y,
               const float *residual);
/* hidden = silu(gate) up of the normalised x. */
void plan_gate_up(struct builder *b, const float *norm, const struct matrix *w);
/* q, and a row of the caches, of the normalised x, in a launch for each type that w has, and one
 * more where the cache is quantised; bias may be NULL. */
void plan_qkv(struct builder *b, const float *norm, const struct matrix *w, const float *bias);
void plan_attention(struct builder *b);
/* Logits of the normalised x, and the key of their argmax or of the token that is drawn. */
void plan_head(struct builder *b, const float *norm, const struct matrix *w);
void plan_advance(struct builder *b);

/* The step for cache lengths up to len_max, an upper bound from plan_ranges(). builder->plan is the
 * result. */
MUST_CHECK enum status plan_open(const struct arch *arch, struct builder *builder, int len_max,
                                 struct plan *plan);
void plan_close(struct plan *plan);

#define PLAN_MAX_RANGES 32
/* Upper bounds of the cache lengths that one plan is for; the last is the cache's capacity. Returns
 * their number. */
int plan_ranges(const struct builder *builder, int upper[PLAN_MAX_RANGES]);

/* Sets the geometry that follows from the launch's instance. */
void launch_regrid(struct launch *launch, const struct device_info *info);
/* Tells each product which weights of a later one it requests, as its configuration says. */
void plan_look_ahead(struct plan *plan);
/* Whether results/tuned.h has a row of the launch's own shape. */
bool launch_is_tuned(const struct launch *launch);
/* Compulsory traffic of one launch, and of a step, at a cache length. */
double launch_bytes(const struct launch *launch, int len);
double plan_bytes(const struct plan *plan, int len);
/* A table for people, one line per launch. */
void plan_print(const struct plan *plan, FILE *to);

/* The largest value of a tunable, which sizes scratch memory. */
int kernel_param_max(const char *kernel, const char *param);

#endif
