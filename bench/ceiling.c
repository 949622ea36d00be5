#include "bench/ceiling.h"

#include "bench/stream_way.h"
#include "bench/timer.h"
#include "core/progress.h"

/* Each configuration in short, then the best in full. */
static const struct timer_options SCREEN = {
        .min_samples = 2,
        .max_samples = 2,
        .limit_seconds = 0.5,
        .sample_seconds = 0.05,
        .launches = 8,
};
static const struct timer_options FINAL = {
        .min_samples = 7,
        .max_samples = 101,
        .half_width = 0.002,
        .limit_seconds = 1,
        .warmup_seconds = 0.2,
        .sample_seconds = 0.05,
        .launches = 8,
};

struct probe {
	struct device *device;
	struct timer timer;
	struct stream_chunk chunk;
	void *memory; /* reading reads all of it, copying goes from the first half to the second */
	unsigned *sums;
	size_t bytes;
	bool copy;
	const struct stream_way *way, *reader; /* being timed; one that reads */
};

static size_t choose_bytes(const struct device_info *info)
{
	const size_t gib = (size_t)1 << 30;
	size_t bytes = info->target.sm || 4 * info->l2_bytes > gib ? gib : 4 * info->l2_bytes;
	if (info->memory_bytes && bytes > info->memory_bytes / 4)
		bytes = info->memory_bytes / 4;
	return bytes;
}

static void probe_close(struct probe *p)
{
	timer_close(&p->timer);
	stream_chunk_close(&p->chunk);
	if (p->device) {
		device_free(p->device, p->memory);
		device_free(p->device, p->sums);
	}
	*p = (struct probe){0};
}

static enum status probe_open(struct probe *p, struct device *device, size_t bytes)
{
	enum status status;
	const size_t step = 2 * STREAM_CHUNK_BYTES;
	*p = (struct probe){.device = device};
	p->bytes = bytes < step ? step : bytes - bytes % step;
	TRY(timer_open(&p->timer, device, &SCREEN));
	TRY(stream_chunk_open(&p->chunk));
	TRY(device_alloc(device, p->bytes, &p->memory));
	TRY(stream_sums_alloc(device, &p->sums));
	TRY(stream_chunk_fill(&p->chunk, device, p->memory, p->bytes));
done:
	if (status != STATUS_OK)
		probe_close(p);
	return status;
}

static enum status launch(void *user, int iteration)
{
	struct probe *p = user;
	size_t bytes = p->copy ? p->bytes / 2 : p->bytes;
	(void)iteration;
	return stream_launch(p->device, p->way, p->memory, (char *)p->memory + bytes, p->sums,
	                     bytes);
}

/* What copying should write is wiped first; reading everything then finds the sum again. */
static enum status check(struct probe *p)
{
	enum status status = STATUS_OK;
	uint32_t sum;
	char config[CONFIG_TEXT];
	if (p->copy) {
		TRY(device_fill(p->device, (char *)p->memory + p->bytes / 2, 0, p->bytes / 2));
		TRY(launch(p, 0));
	}
	TRY(stream_sums_clear(p->device, p->sums));
	TRY(stream_launch(p->device, p->copy ? p->reader : p->way, p->memory, NULL, p->sums,
	                  p->bytes));
	TRY(stream_sums_total(p->device, p->sums, &sum));
	if (sum != stream_chunk_sum(&p->chunk, 0, p->bytes))
		status = fail(STATUS_VIOLATION, "stream %s: wrong sum over %zu bytes",
		              stream_way_text(p->way, config), p->bytes);
done:
	return status;
}

static enum status measure(struct probe *p, const struct timer_options *options, double *gbps)
{
	enum status status;
	struct timing timing;
	const struct workload workload = {
	        .run = launch, .user = p, .copies = 1, .footprint_bytes = p->bytes};
	p->timer.options = *options;
	TRY(timer_measure(&p->timer, &workload, &timing));
	*gbps = (double)p->bytes / timing.us / 1e3;
done:
	return status;
}

/* The ceiling of reading or of copying. */
static enum status raise(struct probe *p, bool copy, struct progress *progress,
                         struct ceiling *ceiling)
{
	enum status status = STATUS_OK;
	struct stream_way reader[MAX_STREAM_WAYS], way[MAX_STREAM_WAYS];
	const struct device_info *info = device_info(p->device);
	const struct stream_way *best = NULL;
	int n = stream_ways(info, copy, way);
	double gbps, best_gbps = 0;
	if (!n || !stream_ways(info, false, reader))
		return fail(STATUS_UNSUPPORTED, "this program has no 'stream' for %s", info->name);
	p->copy = copy;
	p->reader = reader;
	for (int i = 0; i < n; i++) {
		p->way = &way[i];
		TRY(check(p));
		TRY(measure(p, &SCREEN, &gbps));
		progress_update(progress, copy * n + i, NULL);
		if (gbps <= best_gbps)
			continue;
		best_gbps = gbps;
		best = p->way;
	}
	p->way = best;
	TRY(measure(p, &FINAL, &ceiling->gbps));
	ceiling->bytes = (double)p->bytes;
	stream_way_text(best, ceiling->config);
done:
	return status;
}

enum status ceilings_measure(struct device *device, bool quiet, struct ceilings *ceilings)
{
	return ceilings_measure_over(device, choose_bytes(device_info(device)), quiet, ceilings);
}

enum status ceilings_measure_over(struct device *device, size_t bytes, bool quiet,
                                  struct ceilings *ceilings)
{
	enum status status;
	struct probe p = {0};
	struct progress progress;
	struct stream_way ways[MAX_STREAM_WAYS];
	*ceilings = (struct ceilings){0};
	TRY(probe_open(&p, device, bytes));
	progress_start(&progress, "memory ceilings",
	               2 * stream_ways(device_info(device), false, ways), quiet);
	TRY(raise(&p, false, &progress, &ceilings->read));
	TRY(raise(&p, true, &progress, &ceilings->copy));
	progress_finish(&progress, NULL);
done:
	probe_close(&p);
	return status;
}
