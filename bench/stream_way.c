#include "bench/stream_way.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/stream.h"

enum { SUMS = 1024 };
static const size_t SUMS_BYTES = SUMS * STREAM_SUM_STRIDE * sizeof(unsigned);
static const size_t CHUNK_WORDS = STREAM_CHUNK_BYTES / sizeof(uint32_t);

static int blocks_index(const struct kernel *kernel)
{
	int p = 0;
	while (strcmp(kernel->params[p].name, "blocks"))
		p++;
	return p;
}

int stream_ways(const struct device_info *info, bool copy, struct stream_way *ways)
{
	const struct kernel *kernel = kernel_find("stream");
	const struct param *blocks = &kernel->params[blocks_index(kernel)];
	const struct variant *variants;
	int n_variants = kernel_variants(kernel, info, &variants), n = 0;
	/* A worker thread of the host has nothing to hide behind more blocks. */
	const int most_blocks = info->target.sm ? 64 : 4;
	for (int i = 0; i < n_variants; i++)
		for (int b = 0; b < blocks->n_values && n < MAX_STREAM_WAYS; b++) {
			const int *kase = variants[i].kase.value;
			struct stream_way way = {&variants[i], variants[i].config};
			way.config.value[blocks_index(kernel)] = blocks->values[b];
			if (blocks->values[b] <= most_blocks &&
			    ((const struct stream_case *)(const void *)kase)->copy == copy &&
			    kernel->legal(kase, way.config.value, info->target))
				ways[n++] = way;
		}
	return n;
}

char *stream_way_text(const struct stream_way *way, char text[CONFIG_TEXT])
{
	const struct kernel *kernel = kernel_find("stream");
	return params_format(kernel->params, kernel->n_params, way->config.value, text);
}

enum status stream_sums_alloc(struct device *device, unsigned **sums)
{
	enum status status;
	void *memory;
	TRY(device_alloc(device, SUMS_BYTES, &memory));
	*sums = memory;
	TRY(stream_sums_clear(device, *sums));
done:
	return status;
}

enum status stream_sums_clear(struct device *device, unsigned *sums)
{
	return device_fill(device, sums, 0, SUMS_BYTES);
}

enum status stream_sums_total(struct device *device, const unsigned *sums, uint32_t *total)
{
	enum status status;
	unsigned *seen = malloc(SUMS_BYTES);
	if (!seen)
		return fail(STATUS_NO_MEMORY, "no memory for %zu bytes of sums", SUMS_BYTES);
	TRY(device_read(device, seen, sums, SUMS_BYTES));
	*total = 0;
	for (int i = 0; i < SUMS; i++)
		*total += seen[i * STREAM_SUM_STRIDE];
done:
	free(seen);
	return status;
}

enum status stream_launch(struct device *device, const struct stream_way *way, const void *x,
                          void *y, unsigned *sums, size_t bytes)
{
	const struct kernel *kernel = kernel_find("stream");
	const struct stream_args args = {
	        .x = x,
	        .y = y,
	        .sum = sums,
	        .sum_mask = SUMS - 1,
	        .n = bytes / STREAM_WORD_BYTES,
	};
	const struct shape shape = {
	        .m = (int)((bytes + STREAM_SHAPE_BYTES - 1) / STREAM_SHAPE_BYTES)};
	return device_launch(device, way->variant->entry,
	                     kernel->grid(&shape, way->variant->kase.value, way->config.value,
	                                  device_info(device)),
	                     &args, sizeof args, (struct launch_options){0});
}

enum status stream_chunk_open(struct stream_chunk *chunk)
{
	uint32_t x = 0x9e3779b9;
	*chunk = (struct stream_chunk){malloc(STREAM_CHUNK_BYTES),
	                               malloc(STREAM_CHUNK_BYTES + sizeof(uint32_t))};
	if (!chunk->words || !chunk->sum_before) {
		stream_chunk_close(chunk);
		return fail(STATUS_NO_MEMORY, "no memory for %zu random bytes",
		            2 * STREAM_CHUNK_BYTES);
	}
	chunk->sum_before[0] = 0;
	for (size_t i = 0; i < CHUNK_WORDS; i++) {
		x ^= x << 13; /* Marsaglia's xorshift */
		x ^= x >> 17;
		x ^= x << 5;
		chunk->words[i] = x;
		chunk->sum_before[i + 1] = chunk->sum_before[i] + x;
	}
	return STATUS_OK;
}

void stream_chunk_close(struct stream_chunk *chunk)
{
	free(chunk->words);
	free(chunk->sum_before);
	*chunk = (struct stream_chunk){0};
}

enum status stream_chunk_fill(const struct stream_chunk *chunk, struct device *device, void *memory,
                              size_t bytes)
{
	enum status status = STATUS_OK;
	for (size_t at = 0; at < bytes; at += STREAM_CHUNK_BYTES)
		TRY(device_write(device, (char *)memory + at, chunk->words,
		                 bytes - at < STREAM_CHUNK_BYTES ? bytes - at
		                                                 : STREAM_CHUNK_BYTES));
done:
	return status;
}

/* Of the first n words of memory. */
static uint32_t sum_of_first(const struct stream_chunk *chunk, size_t n)
{
	return (uint32_t)(n / CHUNK_WORDS) * chunk->sum_before[CHUNK_WORDS] +
	       chunk->sum_before[n % CHUNK_WORDS];
}

uint32_t stream_chunk_sum(const struct stream_chunk *chunk, size_t first, size_t bytes)
{
	return sum_of_first(chunk, (first + bytes) / sizeof(uint32_t)) -
	       sum_of_first(chunk, first / sizeof(uint32_t));
}
