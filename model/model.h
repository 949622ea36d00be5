/* A model's weights as they are given: tensors in a GGUF file, or random ones of a named size. What
 * device and references compute with both comes from here. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdint.h>

#include "model/arch.h"

/* rows x cols, row-major, in the file's layout of its dtype. */
struct tensor {
	char name[GGUF_MAX_NAME + 1];
	int dtype;
	size_t rows, cols;
	const void *data; /* NULL: random */
	uint64_t seed;    /* of random contents, uniformly distributed */
	float mean, deviation;
};

struct model {
	const struct arch *arch;
	struct hparams hparams;
	struct gguf file; /* zero when random */
	char types[16];   /* "bf16", "q4_k_m" ..., what its matrices are stored as */
	struct tensor embed, norm, head;
	struct tensor (*layers)[LAYER_TENSORS];
};

MUST_CHECK enum status model_open(const char *path, struct model *model);
/* "qwen2.5-0.5b" or "qwen2.5-0.5b:q4_k_m", with a type or a mixture (sizes.h); bf16 unless said
 * otherwise. */
MUST_CHECK enum status model_open_random(const char *spec, struct model *model);
/* Matrices of `dtype`, or of what a quantiser falls back to where rows are not whole blocks;
 * vectors f32. */
MUST_CHECK enum status model_make_random(const struct arch *arch, const struct hparams *hparams,
                                         int dtype, struct model *model);
void model_close(struct model *model);

/* What general.file_type says of a model with these `types`; false when it has no value for it. */
bool model_file_type(const char *types, uint32_t *value);

/* Rows [first, first + n) in file layout. */
void tensor_rows(const struct tensor *tensor, size_t first, size_t n, void *to);
/* The same as floats. */
void tensor_rows_f32(const struct tensor *tensor, size_t first, size_t n, float *to);
/* Bytes of one row in file layout. */
size_t tensor_row_bytes(const struct tensor *tensor);

/* Calls visit for every tensor: embedding, layers in order, norm, head (unless tied). Stops at a
 * failure. */
MUST_CHECK enum status model_each_tensor(const struct model *model,
                                         enum status (*visit)(void *context,
                                                              const struct tensor *tensor),
                                         void *context);

#endif
