/* The Qwen2.5 family: shapes that bench and tuner measure and that random weights are made for, and
 * the types that quantised files mix. */
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

/* Matrices by what the choice of a type looks at. */
enum mixture_part { MIX_HEAD, MIX_VALUE, MIX_DOWN, MIX_OTHER };

/* Types of a model's matrices. */
struct mixture {
	const char *name; /* "q4_k_m" */
	int base;         /* of most */
	int more;         /* of value and down projections in layers that are given more bits */
	int head;         /* of the head, or of the embedding that stands in for it */
	int deep_value;   /* of the other value projections when there are 80 layers */
};

/* "q4_k_m", "q5_k_m", or a type, which all matrices then have. False when the name is neither. */
bool mixture_find(const char *name, struct mixture *mixture);

/* The type that llama.cpp's quantiser gives a matrix with rows of `cols` elements. */
int mixture_dtype(const struct mixture *mixture, enum mixture_part part, int layer, int n_layers,
                  size_t cols);

#endif
