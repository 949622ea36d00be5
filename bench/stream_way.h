/* Ways to read or copy memory: what the instances of `stream` in this program can be launched as.
 */
#ifndef BENCH_STREAM_WAY_H
#define BENCH_STREAM_WAY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/kernel.h"

struct stream_way {
	const struct variant *variant;
	struct config config; /* the variant's but for `blocks`, which the grid alone follows */
};
#define MAX_STREAM_WAYS 64

/* Of reading, or of copying. Returns their number. */
int stream_ways(const struct device_info *info, bool copy, struct stream_way *ways);
char *stream_way_text(const struct stream_way *way, char text[CONFIG_TEXT]);

/* What readers add up to, spread over so many sums that none is waited for. */
MUST_CHECK enum status stream_sums_alloc(struct device *device, unsigned **sums);
MUST_CHECK enum status stream_sums_clear(struct device *device, unsigned *sums);
/* Of all words read since, modulo 2^32. */
MUST_CHECK enum status stream_sums_total(struct device *device, const unsigned *sums,
                                         uint32_t *total);

/* Queues reading x, or copying it to y; `bytes` are a multiple of 16. */
MUST_CHECK enum status stream_launch(struct device *device, const struct stream_way *way,
                                     const void *x, void *y, unsigned *sums, size_t bytes);

/* Random words that fill memory by repetition, and what any stretch of that memory sums to. */
#define STREAM_CHUNK_BYTES ((size_t)16 << 20)
struct stream_chunk {
	uint32_t *words;
	uint32_t *sum_before; /* of the words before word i; one more than there are words */
};
MUST_CHECK enum status stream_chunk_open(struct stream_chunk *chunk);
void stream_chunk_close(struct stream_chunk *chunk);
MUST_CHECK enum status stream_chunk_fill(const struct stream_chunk *chunk, struct device *device,
                                         void *memory, size_t bytes);
/* Of the bytes from `first` on, in memory filled from its start; both multiples of 4. */
uint32_t stream_chunk_sum(const struct stream_chunk *chunk, size_t first, size_t bytes);

#endif
