/* A model's weights on the device, in the layout that the kernels read: query, key and value fused
 * into one matrix in which the rows that RoPE turns together are neighbours, gate and up
 * interleaved row by row, quantised ones as planes (core/dtype.h), rows and vectors padded with
 * zeros to a multiple of 32 elements. */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "device/device.h"
#include "model/model.h"

/* m rows of k elements in device layout. A fused matrix whose parts differ in type is a list: */
struct matrix {
	int dtype, m, k;
	void *w;
	const void *scale;         /* where the second plane begins; NULL for plain types */
	int row;                   /* of the fused matrix that the first row is */
	const struct matrix *next; /* the rows that follow, of another type; NULL at the end */
};

struct layer_weights {
	struct matrix qkv, o, gate_up, down;
	struct matrix qkv_rest[2]; /* what qkv.next leads to */
	float *attn_norm, *qkv_bias, *ffn_norm;
};

struct weights {
	struct device *device;
	struct matrix embed, head; /* the same memory when tied */
	float *norm;
	struct layer_weights *layers;
	int n_layers;
	size_t bytes; /* on the device */
};

/* Elements of a row as the kernels see them: `n` and zeros up to a multiple of 32. */
static inline int padded(int n)
{
	return (n + 31) / 32 * 32;
}

/* Gate and up of different types become f32, with a warning. */
MUST_CHECK enum status weights_open(const struct model *model, struct device *device, bool quiet,
                                    struct weights *weights);
void weights_close(struct weights *weights);

#endif
