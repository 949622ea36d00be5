#include "bench/read_reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/stream_way.h"

enum { MAX_COPIES = 512 };
static const size_t ALIGNMENT = 256;

/* Each way in short; the best ones in full. */
static const struct timer_options SCREEN = {
        .min_samples = 3,
        .max_samples = 3,
        .limit_seconds = 0.2,
        .sample_seconds = 0.02,
        .launches = 20,
};
enum { FINALISTS = 2 };

struct read_references {
	struct device *device;
	struct timer *timer;
	char ceiling[CONFIG_TEXT];
	struct stream_chunk chunk;
	void *memory; /* copies one after the other */
	size_t memory_bytes;
	unsigned *sums;
	struct read_reference *known;
	int n_known;
	/* being measured */
	const struct stream_way *way;
	size_t bytes, stride;
	int copies;
};

enum status read_references_open(struct device *device, struct timer *timer, const char *ceiling,
                                 struct read_references **references)
{
	enum status status;
	struct read_references *r = *references = calloc(1, sizeof *r);
	if (!r)
		return fail(STATUS_NO_MEMORY, "no memory for read references");
	r->device = device;
	r->timer = timer;
	snprintf(r->ceiling, sizeof r->ceiling, "%s", ceiling);
	TRY(stream_chunk_open(&r->chunk));
	TRY(stream_sums_alloc(device, &r->sums));
done:
	if (status != STATUS_OK)
		read_references_close(references);
	return status;
}

void read_references_close(struct read_references **references)
{
	struct read_references *r = *references;
	if (!r)
		return;
	device_free(r->device, r->memory);
	device_free(r->device, r->sums);
	stream_chunk_close(&r->chunk);
	free(r->known);
	free(r);
	*references = NULL;
}

static void *copy_at(const struct read_references *r, int copy)
{
	return (char *)r->memory + (size_t)copy * r->stride;
}

static enum status launch(void *user, int iteration)
{
	struct read_references *r = user;
	return stream_launch(r->device, r->way, copy_at(r, iteration), NULL, r->sums, r->bytes);
}

/* Memory for copies of so many bytes: no more of them than memory has room for, at least one. */
static enum status make_copies(struct read_references *r, size_t bytes)
{
	enum status status = STATUS_OK;
	const struct device_info *info = device_info(r->device);
	r->bytes = bytes;
	r->stride = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	r->copies = timer_cold_copies(info, bytes, MAX_COPIES);
	while (r->copies > 1 && info->memory_bytes &&
	       (size_t)r->copies * r->stride > info->memory_bytes / 4)
		r->copies--;
	const size_t all = (size_t)r->copies * r->stride;
	if (all <= r->memory_bytes)
		return STATUS_OK;
	device_free(r->device, r->memory);
	r->memory = NULL;
	r->memory_bytes = 0;
	TRY(device_alloc(r->device, all, &r->memory));
	r->memory_bytes = all;
	TRY(stream_chunk_fill(&r->chunk, r->device, r->memory, all));
done:
	return status;
}

/* Reading the last copy finds the sum of what is there. */
static enum status check(struct read_references *r)
{
	enum status status;
	uint32_t sum;
	char config[CONFIG_TEXT];
	TRY(stream_sums_clear(r->device, r->sums));
	TRY(launch(r, r->copies - 1));
	TRY(stream_sums_total(r->device, r->sums, &sum));
	if (sum != stream_chunk_sum(&r->chunk, (size_t)(r->copies - 1) * r->stride, r->bytes))
		status = fail(STATUS_VIOLATION, "stream %s: wrong sum over %zu bytes",
		              stream_way_text(r->way, config), r->bytes);
done:
	return status;
}

static enum status measure(struct read_references *r, const struct timer_options *options,
                           struct timing *timing)
{
	const struct workload workload = {
	        .run = launch,
	        .user = r,
	        .copies = r->copies,
	        .cold = true,
	        .footprint_bytes = (size_t)r->copies * r->stride,
	};
	const struct timer_options kept = r->timer->options;
	r->timer->options = *options;
	enum status status = timer_measure(r->timer, &workload, timing);
	r->timer->options = kept;
	return status;
}

struct screened {
	const struct stream_way *way;
	double us;
};

static int by_us(const void *a, const void *b)
{
	const double x = ((const struct screened *)a)->us, y = ((const struct screened *)b)->us;
	return (x > y) - (x < y);
}

/* The fastest ways first. */
static enum status screen(struct read_references *r, const struct stream_way *ways, int n,
                          struct screened *screened)
{
	enum status status = STATUS_OK;
	struct timer_options options = SCREEN;
	struct timing timing;
	options.least_us = r->timer->options.least_us;
	for (int i = 0; i < n; i++) {
		r->way = &ways[i];
		TRY(measure(r, &options, &timing));
		screened[i] = (struct screened){&ways[i], timing.us};
	}
	qsort(screened, (size_t)n, sizeof *screened, by_us);
done:
	return status;
}

/* The ways to try. */
static int list_ways(const struct read_references *r, struct stream_way *ways)
{
	const struct device_info *info = device_info(r->device);
	char config[CONFIG_TEXT];
	int n = stream_ways(info, false, ways), kept = 0;
	for (int i = 0; i < n; i++)
		if (info->target.sm || !strcmp(stream_way_text(&ways[i], config), r->ceiling))
			ways[kept++] = ways[i];
	return kept;
}

static enum status find_best(struct read_references *r, struct read_reference *best)
{
	enum status status;
	struct stream_way ways[MAX_STREAM_WAYS];
	struct screened screened[MAX_STREAM_WAYS];
	struct timer_options options = r->timer->options;
	struct timing timing;
	int n = list_ways(r, ways);
	options.launches = timer_defaults.launches;
	*best = (struct read_reference){.bytes = r->bytes, .us = INFINITY};
	if (n > 1)
		TRY(screen(r, ways, n, screened));
	else
		screened[0].way = ways;
	for (int i = 0; i < FINALISTS && i < n; i++) {
		r->way = screened[i].way;
		TRY(check(r));
		TRY(measure(r, &options, &timing));
		if (timing.us >= best->us)
			continue;
		best->us = timing.us;
		best->us_lo = timing.us_lo;
		best->us_hi = timing.us_hi;
		stream_way_text(r->way, best->config);
	}
	if (!isfinite(best->us))
		status = fail(STATUS_UNSUPPORTED, "this program has no 'stream' for %s",
		              device_info(r->device)->name);
done:
	return status;
}

enum status read_reference_find(struct read_references *r, double bytes,
                                const struct read_reference **reference)
{
	enum status status;
	const size_t rounded = ((size_t)bytes + 15) / 16 * 16;
	for (int i = 0; i < r->n_known; i++)
		if (r->known[i].bytes == rounded) {
			*reference = &r->known[i];
			return STATUS_OK;
		}
	struct read_reference *grown =
	        realloc(r->known, (size_t)(r->n_known + 1) * sizeof *r->known);
	if (!grown)
		return fail(STATUS_NO_MEMORY, "no memory for read references");
	r->known = grown;
	TRY(make_copies(r, rounded));
	TRY(find_best(r, &grown[r->n_known]));
	*reference = &grown[r->n_known++];
done:
	return status;
}
