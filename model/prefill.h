/* Prompt processing: many tokens at a time, so that weights are read once for all of them. Writes
 * the cache that as many decode steps would have written. The last token of a prompt that is to be
 * continued is for the decode step itself; logits of all tokens are computed where they are asked
 * for. */
#ifndef MODEL_PREFILL_H
#define MODEL_PREFILL_H

#include "model/decoder.h"

#define PREFILL_MAX_CHUNK 32768

struct prefill;

/* Room for `chunk` tokens at a time. Operands of products are of `dtype`: f32, exact but for the
 * order of sums, or bf16, which rounds activations and the weights that are not bf16. The decoder
 * outlives it. */
MUST_CHECK enum status prefill_open(struct decoder *decoder, int chunk, int dtype,
                                    struct prefill **prefill);
void prefill_close(struct prefill **prefill);

/* What suits a device: tokens at a time, 1 where steps are as good, and dtype. */
int prefill_default_chunk(const struct device_info *info);
int prefill_default_dtype(const struct device_info *info);

/* Tokens at the decoder's position and after it; it is behind them then. Fails, and writes nothing,
 * where the cache ends before them or a token is not in the vocabulary. */
MUST_CHECK enum status prefill_run(struct prefill *prefill, const int32_t *ids, size_t n);

/* Takes the logits (n, vocab) of n tokens, on the host. */
struct logits_reader {
	enum status (*read)(void *context, const float *logits, int n);
	void *context;
};

/* The same, and hands the logits of every token to the reader, in order and a few at a time. The
 * first call takes room for the head's weights in the dtype of products, where they have another.
 */
MUST_CHECK enum status prefill_logits(struct prefill *prefill, const int32_t *ids, size_t n,
                                      const struct logits_reader *reader);

/* What multiplies, see matmul_name(), and the dtype of its operands. */
const char *prefill_product(const struct prefill *prefill);
int prefill_dtype(const struct prefill *prefill);
int prefill_chunk(const struct prefill *prefill);

#endif
