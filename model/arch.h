/* Model architectures: hyperparameters, the tensors that a layer has, and the launches of a decode
 * step. A new architecture is one file and one row of the table in arch.c. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include <stdbool.h>

#include "core/status.h"
#include "model/gguf.h"

struct hparams {
	char name[64];
	int layers, hidden, heads, kv_heads, head_dim, ffn, vocab;
	int context; /* tokens that the model was made for */
	double rope_base, eps;
	bool tied; /* the head is the embedding */
};

/* Tensors of one layer. */
enum layer_tensor {
	ATTN_NORM,
	ATTN_Q,
	ATTN_K,
	ATTN_V,
	ATTN_Q_BIAS,
	ATTN_K_BIAS,
	ATTN_V_BIAS,
	ATTN_O,
	FFN_NORM,
	FFN_GATE,
	FFN_UP,
	FFN_DOWN,
	LAYER_TENSORS,
};

/* What a tensor's extents are made of. */
enum extent {
	EXTENT_ONE,
	EXTENT_HIDDEN,
	EXTENT_Q,  /* heads * head_dim */
	EXTENT_KV, /* kv_heads * head_dim */
	EXTENT_FFN,
	EXTENT_VOCAB,
};

/* How a tensor looks in a file, and what stands in for it when weights are random. */
struct tensor_row {
	const char *name; /* of a layer's tensor: what follows "blk.N." */
	enum extent rows, cols;
	float mean,
	        deviation; /* deviation 0: 1 / sqrt(cols), which keeps activations at unit scale */
};

struct builder;
struct gguf_writer;

struct arch {
	const char *name; /* general.architecture */
	/* Every value checked; messages name file and key. vocab and tied follow from the tensors.
	 */
	enum status (*read)(const struct gguf *file, struct hparams *hparams);
	/* The same keys but general.name; heads have hidden / heads elements. */
	void (*write)(const struct hparams *hparams, struct gguf_writer *file);
	const struct tensor_row *layer; /* LAYER_TENSORS rows */
	struct tensor_row embed, norm, head;
	/* Adds the launches of one step. */
	void (*build)(struct builder *builder);
};

extern const struct arch qwen2;

/* NULL when there is none. */
const struct arch *arch_find(struct gguf_string name);

int hparams_extent(const struct hparams *hparams, enum extent extent);
/* Heads divide, dimensions are ones that the kernels have. `where` begins the message. */
MUST_CHECK enum status hparams_check(const struct hparams *hparams, const char *where);

#endif
