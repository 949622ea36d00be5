#include "bench/ceiling.h"

#include "bench/timer.h"
#include "core/progress.h"
#include "kernels/stream.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Random words are made once and repeated through memory. */
static const size_t CHUNK_BYTES = 16 << 20;

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
	const struct kernel *kernel;
	struct device *device;
	struct timer timer;
	void *memory; /* reading reads all of it, copying goes from the first half to the second */
	unsigned *sum;
	size_t bytes;
	unsigned expected;             /* what reading all adds up to */
	const struct variant *variant; /* being timed */
};

static size_t choose_bytes(const struct device_info *info)
{
	const size_t gib = (size_t)1 << 30;
	size_t bytes = info->target.sm || 4 * info->l2_bytes > gib ? gib : 4 * info->l2_bytes;
	if (info->memory_bytes && bytes > info->memory_bytes / 4)
		bytes = info->memory_bytes / 4;
	return bytes;
}

static enum status fill(struct probe *p)
{
	enum status status = STATUS_OK;
	uint32_t x = 0x9e3779b9, sum = 0, *words = malloc(CHUNK_BYTES);
	if (!words)
		return fail(STATUS_NO_MEMORY, "no memory for %zu random bytes", CHUNK_BYTES);
	for (size_t i = 0; i < CHUNK_BYTES / sizeof *words; i++) {
		x ^= x << 13; /* Marsaglia's xorshift */
		x ^= x >> 17;
		x ^= x << 5;
		words[i] = x;
		sum += x;
	}
	p->expected = sum * (uint32_t)(p->bytes / CHUNK_BYTES);
	for (size_t at = 0; at < p->bytes; at += CHUNK_BYTES)
		TRY(device_write(p->device, (char *)p->memory + at, words, CHUNK_BYTES));
done:
	free(words);
	return status;
}

static void probe_close(struct probe *p)
{
	timer_close(&p->timer);
	if (p->device) {
		device_free(p->device, p->memory);
		device_free(p->device, p->sum);
	}
	*p = (struct probe){0};
}

static enum status probe_open(struct probe *p, struct device *device, size_t bytes)
{
	enum status status;
	void *sum;
	*p = (struct probe){.kernel = kernel_find("stream"), .device = device};
	p->bytes = bytes < 2 * CHUNK_BYTES ? 2 * CHUNK_BYTES : bytes - bytes % (2 * CHUNK_BYTES);
	TRY(timer_open(&p->timer, device, &SCREEN));
	TRY(device_alloc(device, p->bytes, &p->memory));
	TRY(device_alloc(device, sizeof *p->sum, &sum));
	p->sum = sum;
	TRY(fill(p));
done:
	if (status != STATUS_OK)
		probe_close(p);
	return status;
}

static bool copies(const struct variant *variant)
{
	struct stream_case kase;
	memcpy(&kase, variant->kase.value, sizeof kase);
	return kase.copy;
}

static enum status launch(void *user, int iteration)
{
	struct probe *p = user;
	bool copy = copies(p->variant);
	size_t bytes = copy ? p->bytes / 2 : p->bytes;
	const struct stream_args args = {.x = p->memory,
	                                 .y = (char *)p->memory + bytes,
	                                 .sum = p->sum,
	                                 .n = bytes / STREAM_WORD_BYTES};
	struct shape shape = {.m = (int)(bytes / STREAM_SHAPE_BYTES)};
	struct grid grid = p->kernel->grid(&shape, p->variant->kase.value, p->variant->config.value,
	                                   device_info(p->device));
	(void)iteration;
	return device_launch(p->device, p->variant->entry, grid, &args, sizeof args,
	                     (struct launch_options){0});
}

/* What copying should write is wiped first; reading everything then finds the sum again. */
static enum status check(struct probe *p, const struct variant *reader)
{
	enum status status;
	const struct variant *variant = p->variant;
	unsigned sum;
	char config[CONFIG_TEXT];
	if (copies(variant)) {
		TRY(device_fill(p->device, (char *)p->memory + p->bytes / 2, 0, p->bytes / 2));
		TRY(launch(p, 0));
		p->variant = reader;
	}
	TRY(device_fill(p->device, p->sum, 0, sizeof *p->sum));
	TRY(launch(p, 0));
	TRY(device_read(p->device, &sum, p->sum, sizeof sum));
	if (sum != p->expected)
		status = fail(STATUS_VIOLATION, "stream %s: wrong sum over %zu bytes",
		              params_format(p->kernel->params, p->kernel->n_params,
		                            variant->config.value, config),
		              p->bytes);
done:
	p->variant = variant;
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
static enum status raise(struct probe *p, const struct variant *variants, int n, bool copy,
                         struct progress *progress, struct ceiling *ceiling)
{
	enum status status = STATUS_OK;
	const struct variant *reader = NULL, *best = NULL;
	double gbps, best_gbps = 0;
	for (int i = 0; i < n && !reader; i++)
		if (!copies(&variants[i]))
			reader = &variants[i];
	for (int i = 0; i < n; i++) {
		p->variant = &variants[i];
		if (copies(p->variant) != copy)
			continue;
		TRY(check(p, reader));
		TRY(measure(p, &SCREEN, &gbps));
		progress_update(progress, copy * n + i, NULL);
		if (gbps <= best_gbps)
			continue;
		best_gbps = gbps;
		best = p->variant;
	}
	if (!best || !reader) {
		status = fail(STATUS_UNSUPPORTED, "this program has no 'stream' for %s",
		              device_info(p->device)->name);
		goto done;
	}
	p->variant = best;
	TRY(measure(p, &FINAL, &ceiling->gbps));
	ceiling->bytes = (double)p->bytes;
	params_format(p->kernel->params, p->kernel->n_params, best->config.value, ceiling->config);
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
	const struct variant *variants;
	*ceilings = (struct ceilings){0};
	TRY(probe_open(&p, device, bytes));
	int n = kernel_variants(p.kernel, device_info(device), &variants);
	progress_start(&progress, "memory ceilings", 2 * n, quiet);
	TRY(raise(&p, variants, n, false, &progress, &ceilings->read));
	TRY(raise(&p, variants, n, true, &progress, &ceilings->copy));
	progress_finish(&progress, NULL);
done:
	probe_close(&p);
	return status;
}
