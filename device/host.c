/* The CPU as a device: memory is memory, a launch runs on the engine before it returns, a graph
 * is a list. */
#define _GNU_SOURCE /* CPU_COUNT, madvise */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "device/engine.h"
#include "device/ops.h"
#include "device/stamp.h"

#define PAGE              4096
#define HUGE_PAGE         ((size_t)2 << 20)
#define MAX_CHECK_WORKERS 16

/* One recorded launch; the arguments follow it. */
struct node {
	struct node *next;
	host_entry *entry;
	struct grid grid;
	struct launch_options options;
	max_align_t args[];
};

struct host_graph {
	struct graph base;
	struct node *first;
};

struct host_device {
	struct device base;
	struct host_graph *recording;
	struct node **tail; /* where the next recorded launch goes */
};

struct host_event {
	struct event base;
	struct timespec time;
};

/* Threads that run blocks: WARPSMITH_THREADS, else the CPUs that this process may use. */
static enum status count_workers(int *n)
{
	const char *text = getenv("WARPSMITH_THREADS");
	cpu_set_t cpus;
	if (text) {
		char *end;
		const long value = strtol(text, &end, 10);
		if (end == text || *end || value < 1 || value > 1024)
			return fail(STATUS_USAGE,
			            "WARPSMITH_THREADS=%s: expected a number from 1 to 1024", text);
		*n = (int)value;
		return STATUS_OK;
	}
	*n = sched_getaffinity(0, sizeof cpus, &cpus) ? (int)sysconf(_SC_NPROCESSORS_ONLN)
	                                              : CPU_COUNT(&cpus);
	/* A worker with 1024 guarded stacks has 2048 mappings, a process at most 65530. */
	if (engine_lanes() > 1 && *n > MAX_CHECK_WORKERS)
		*n = MAX_CHECK_WORKERS;
	return STATUS_OK;
}

/* Bytes of the last-level cache that a core can fill; 0 when unknown. The C library may count the
 * caches of all cores of a processor instead, ten times as much. */
static size_t read_cache_bytes(void)
{
	static const int names[] = {_SC_LEVEL3_CACHE_SIZE, _SC_LEVEL2_CACHE_SIZE};
	for (int index = 4; index-- > 0;) {
		char path[80];
		unsigned long kib = 0;
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size",
		         index);
		FILE *file = fopen(path, "r");
		if (!file)
			continue;
		const int n_read = fscanf(file, "%luK", &kib);
		fclose(file);
		if (n_read == 1 && kib)
			return kib << 10;
	}
	for (int i = 0; i < 2; i++) {
		const long bytes = sysconf(names[i]);
		if (bytes > 0)
			return (size_t)bytes;
	}
	return 0;
}

static void describe(struct device_info *info)
{
	struct utsname system;
	const char *name = engine_lanes() == 1 ? "host" : "host32";
	snprintf(info->name, sizeof info->name, "%s", name);
	snprintf(info->slug, sizeof info->slug, "%s", name);
	info->target.lanes = engine_lanes();
	info->sm_count = engine_workers();
	info->memory_bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
	info->l2_bytes = read_cache_bytes();
	info->smem_block_bytes = ENGINE_SMEM_BYTES;
	info->smem_sm_bytes = ENGINE_SMEM_BYTES;
	info->draws_differ = true;
	if (uname(&system) == 0)
		snprintf(info->driver, sizeof info->driver, "%.31s", system.release);
#ifdef __clang__
	snprintf(info->toolkit, sizeof info->toolkit, "clang %d.%d.%d", __clang_major__,
	         __clang_minor__, __clang_patchlevel__);
#else
	snprintf(info->toolkit, sizeof info->toolkit, "gcc %d.%d.%d", __GNUC__, __GNUC_MINOR__,
	         __GNUC_PATCHLEVEL__);
#endif
}

static bool host_names(const char *spec)
{
	return !strcmp(spec, "host") || !strcmp(spec, "host32");
}

/* "auto" takes whichever kind of host this build has. */
static enum status check_lanes(const char *spec)
{
	if (!strcmp(spec, "host32") && engine_lanes() == 1)
		return fail(STATUS_NO_DEVICE,
		            "--device host32: this build has 1-lane warps; the check build "
		            "(cmake --preset check) has 32");
	if (!strcmp(spec, "host") && engine_lanes() != 1)
		return fail(STATUS_NO_DEVICE,
		            "--device host: this is the check build with 32-lane warps; "
		            "use --device host32 or the host build (cmake --preset host)");
	return STATUS_OK;
}

/* One line in place of a SIGILL: this file is compiled for the baseline CPU, engine and kernels
 * maybe not. */
static enum status check_cpu(void)
{
#ifdef __x86_64__
	const struct {
		unsigned bit;
		const char *name;
		int present;
	} features[] = {
	        {CPU_AVX2, "AVX2", __builtin_cpu_supports("avx2")},
	        {CPU_FMA, "FMA", __builtin_cpu_supports("fma")},
	        {CPU_BMI2, "BMI2", __builtin_cpu_supports("bmi2")},
	        {CPU_AVX512F, "AVX-512F", __builtin_cpu_supports("avx512f")},
	};
	for (size_t i = 0; i < sizeof features / sizeof *features; i++)
		if ((engine_needs & features[i].bit) && !features[i].present)
			return fail(STATUS_UNSUPPORTED,
			            "this build needs a CPU with %s; configure with "
			            "-DWARPSMITH_HOST_ARCH= "
			            "for any x86-64",
			            features[i].name);
#endif
	return STATUS_OK;
}

static enum status host_open(const char *spec, struct device **device)
{
	enum status status;
	int workers = 0;
	struct host_device *host = NULL;
	TRY(check_lanes(spec));
	TRY(check_cpu());
	TRY(count_workers(&workers));
	host = calloc(1, sizeof *host);
	if (!host)
		return fail(STATUS_NO_MEMORY, "no memory for a host device");
	TRY(engine_open(workers));
	host->base.ops = &host_ops;
	describe(&host->base.info);
	*device = &host->base;
	host = NULL;
done:
	free(host);
	return status;
}

static void host_graph_close(struct graph *base)
{
	struct host_graph *graph = (struct host_graph *)base;
	if (!graph)
		return;
	for (struct node *node = graph->first, *next; node; node = next) {
		next = node->next;
		free(node);
	}
	free(graph);
}

static void host_close(struct device *base)
{
	struct host_device *host = (struct host_device *)base;
	if (host->recording)
		host_graph_close(&host->recording->base);
	engine_close();
	free(host);
}

/* Exactly `bytes`, so that AddressSanitizer sees the end. */
/* At the start of a page, and large memory in huge pages, where the system has them to give: how
 * fast it is read then depends less on where it happens to be. */
static enum status host_alloc(struct device *base, size_t bytes, void **memory)
{
	const bool is_large = bytes >= HUGE_PAGE;
	if (bytes > base->info.memory_bytes ||
	    posix_memalign(memory, is_large ? HUGE_PAGE : PAGE, bytes ? bytes : 1)) {
		*memory = NULL;
		return fail(STATUS_NO_MEMORY, "host: no memory for %zu bytes", bytes);
	}
	if (is_large)
		madvise(*memory, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
	return STATUS_OK;
}

static void host_free(struct device *base, void *memory)
{
	(void)base;
	engine_boundary();
	free(memory);
}

static enum status host_write(struct device *base, void *to, const void *from, size_t bytes)
{
	(void)base;
	engine_boundary();
	if (bytes)
		memcpy(to, from, bytes);
	return STATUS_OK;
}

static enum status host_fill(struct device *base, void *memory, int byte, size_t bytes)
{
	(void)base;
	engine_boundary();
	if (bytes)
		memset(memory, byte, bytes);
	return STATUS_OK;
}

static enum status record(struct host_device *host, const void *entry, struct grid grid,
                          const void *args, size_t args_bytes, struct launch_options options)
{
	struct node *node = malloc(sizeof *node + args_bytes);
	if (!node)
		return fail(STATUS_NO_MEMORY, "host: no memory to record a launch");
	node->next = NULL;
	node->entry = (host_entry *)entry;
	node->grid = grid;
	node->options = options;
	memcpy(node->args, args, args_bytes);
	*host->tail = node;
	host->tail = &node->next;
	return STATUS_OK;
}

static unsigned long long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return 1000000000ull * (unsigned long long)now.tv_sec + (unsigned long long)now.tv_nsec;
}

/* A launch has the device to itself: its blocks share the launch's times. */
static enum status run_launch(host_entry *entry, struct grid grid, const void *args,
                              struct launch_options options)
{
	const unsigned long long begin = options.stamps ? now_ns() : 0;
	const enum status status = engine_run(entry, grid, args, options);
	if (options.stamps) {
		const struct stamp stamp = {begin, begin, now_ns()};
		for (unsigned i = 0; i < grid.x * grid.y; i++)
			options.stamps[i] = stamp;
	}
	return status;
}

static enum status host_launch(struct device *base, const void *entry, struct grid grid,
                               const void *args, size_t args_bytes, struct launch_options options)
{
	struct host_device *host = (struct host_device *)base;
	if (base->capturing)
		return record(host, entry, grid, args, args_bytes, options);
	return run_launch((host_entry *)entry, grid, args, options);
}

static enum status host_sync(struct device *base)
{
	(void)base;
	engine_boundary();
	return STATUS_OK;
}

static enum status host_capture_begin(struct device *base)
{
	struct host_device *host = (struct host_device *)base;
	host->recording = calloc(1, sizeof *host->recording);
	if (!host->recording)
		return fail(STATUS_NO_MEMORY, "host: no memory for a graph");
	host->recording->base.device = base;
	host->tail = &host->recording->first;
	return STATUS_OK;
}

static enum status host_capture_end(struct device *base, struct graph **graph)
{
	struct host_device *host = (struct host_device *)base;
	*graph = &host->recording->base;
	host->recording = NULL;
	return STATUS_OK;
}

/* Launches of one graph may overlap each other, but not what surrounds it. */
static enum status host_graph_launch(struct graph *base)
{
	enum status status = STATUS_OK;
	const struct host_graph *graph = (const struct host_graph *)base;
	engine_boundary();
	for (const struct node *node = graph->first; node; node = node->next)
		TRY(run_launch(node->entry, node->grid, node->args, node->options));
done:
	engine_boundary();
	return status;
}

static enum status host_event_open(struct device *base, struct event **event)
{
	struct host_event *opened = calloc(1, sizeof *opened);
	if (!opened)
		return fail(STATUS_NO_MEMORY, "host: no memory for an event");
	opened->base.device = base;
	*event = &opened->base;
	return STATUS_OK;
}

static enum status host_event_record(struct event *base)
{
	clock_gettime(CLOCK_MONOTONIC, &((struct host_event *)base)->time);
	return STATUS_OK;
}

static enum status host_event_elapsed_us(struct event *from, struct event *to, double *us)
{
	const struct timespec a = ((struct host_event *)from)->time,
	                      b = ((struct host_event *)to)->time;
	*us = 1e6 * (double)(b.tv_sec - a.tv_sec) + 1e-3 * (double)(b.tv_nsec - a.tv_nsec);
	return STATUS_OK;
}

static void host_event_close(struct event *event)
{
	free(event);
}

static enum status host_resources(struct device *base, const void *entry, struct grid grid,
                                  struct entry_resources *resources)
{
	(void)base, (void)entry, (void)grid, (void)resources;
	return STATUS_OK;
}

static void host_read_health(struct device *base, struct device_health *health)
{
	(void)base, (void)health;
}

const struct device_ops host_ops = {
        .names = host_names,
        .open = host_open,
        .close = host_close,
        .alloc = host_alloc,
        .free = host_free,
        .write = host_write,
        .read = host_write,
        .fill = host_fill,
        .alloc_host = host_alloc,
        .free_host = host_free,
        .write_start = host_write,
        .launch = host_launch,
        .sync = host_sync,
        .capture_begin = host_capture_begin,
        .capture_end = host_capture_end,
        .graph_launch = host_graph_launch,
        .graph_close = host_graph_close,
        .event_open = host_event_open,
        .event_record = host_event_record,
        .event_elapsed_us = host_event_elapsed_us,
        .event_close = host_event_close,
        .resources = host_resources,
        .read_health = host_read_health,
};
