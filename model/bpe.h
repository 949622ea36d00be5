/* Byte pair encoding: neighbouring tokens are merged, lowest rank first, leftmost among equals. */
#ifndef MODEL_BPE_H
#define MODEL_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bpe {
	struct bpe_merge *merges; /* open addressing by pair */
	size_t mask;              /* slots - 1 */
};

/* Room for n merges. */
MUST_CHECK enum status bpe_open(struct bpe *bpe, size_t n);
void bpe_close(struct bpe *bpe);

/* left + right = merged. Of a pair that is added twice the first rank counts. */
void bpe_add(struct bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t merged);

/* Memory that one caller of bpe_merge keeps between calls; starts zeroed. */
struct bpe_scratch {
	uint32_t *prev, *next;
	uint64_t *heap;
	size_t capacity; /* tokens */
};
void bpe_scratch_free(struct bpe_scratch *scratch);

/* Merges ids[0..*n) in place, in n log n time; *n < 2^32 - 1. */
MUST_CHECK enum status bpe_merge(const struct bpe *bpe, struct bpe_scratch *scratch, int32_t *ids,
                                 size_t *n);

#ifdef __cplusplus
}
#endif
#endif
