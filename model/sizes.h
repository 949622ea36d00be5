/* The Qwen2.5 family: shapes that bench and tuner measure and that random weights are made for. */
#ifndef MODEL_SIZES_H
#define MODEL_SIZES_H

#include <stdbool.h>
#include <stddef.h>

struct model_size {
	const char *name; /* "qwen2.5-0.5b" */
	int layers, hidden, heads, kv_heads, ffn, vocab;
	bool tied;
};

/* As published in the models' config.json; a NULL name ends. */
extern const struct model_size model_sizes[];

/* NULL when the name, of `len` bytes, is none of them. */
const struct model_size *model_size_find(const char *name, size_t len);

#endif
