/* warpsmith-bench: times kernels in given cache states against the ceilings of the device's memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/compare.h"
#include "bench/gbench.h"
#include "bench/measure.h"
#include "bench/report.h"
#include "core/options.h"
#include "core/progress.h"
#include "core/table.h"

static struct {
	const char *device, *kernels, *shapes, *dtypes, *kv, *states, *csv, *compare[2];
	bool peers, list, quiet;
} options = {.device = "auto"};

static const struct option_row rows[] = {
        {"kernel", 0, OPTION_TEXT, &options.kernels, "NAME,...",
         "kernels to time; default all of a decode step"},
        {"shape", 0, OPTION_TEXT, &options.shapes, "SHAPE,...",
         "model sizes or shapes: qwen2.5-0.5b, 896x4864, 14/2/64@1024, 896"},
        {"dtype", 0, OPTION_TEXT, &options.dtypes, "NAME,...",
         "weights: bf16 (default), f16, f32, q8_0; with the type of vectors, as libraries have it: "
         "bf16:bf16 (with --peers by default too)"},
        {"kv", 0, OPTION_TEXT, &options.kv, "TYPE",
         "dtype of the cache: bf16, f16, f32, q8_0 (default: that of plain weights, else bf16)"},
        {"state", 0, OPTION_TEXT, &options.states, "NAME,...",
         "caches: cold, hot, stream, and chain (dependent launches); default all, chain on a GPU "
         "alone"},
        {"peers", 0, OPTION_FLAG, &options.peers, NULL,
         "beside gemv on a GPU: cuBLAS and cuBLASLt, the best of all their ways"},
        {"csv", 0, OPTION_TEXT, &options.csv, "DIR", "append to DIR/<device>/bench.csv"},
        {"list", 0, OPTION_FLAG, &options.list, NULL, "print what would be timed"},
        {"compare", 0, OPTION_PAIR, options.compare, "A B",
         "compare two folders with a bench.csv; exit 3 when B is slower"},
        COMMON_OPTIONS(&options.device, &options.quiet),
};

static const struct command command = {
        .name = "warpsmith-bench",
        .summary = "times kernels against the ceilings of the device's memory",
        .examples =
                "  warpsmith-bench                                          what a decode step "
                "launches\n"
                "  warpsmith-bench --kernel gemv --shape 896x4864 --state cold\n"
                "  warpsmith-bench --device cuda --peers --csv results      rows for "
                "results/<device>\n"
                "  warpsmith-bench --compare results/host /tmp/new/host     what became slower?\n",
        .rows = rows,
        .n_rows = sizeof rows / sizeof *rows,
};

struct bench {
	struct device *device;
	struct meter *meter;
	struct tasks tasks;
	struct entry *entries;
	int n_entries, n_done, n_wrong, n_failed;
	struct csv_log log;
	struct progress progress;
	struct comparison same; /* of an instance with itself */
	struct report_table *table;
};

/* One registered benchmark. */
struct entry {
	struct bench *bench;
	struct measurement m;
	char name[3 * CONFIG_TEXT];
};

static enum status run_entry(void *user, double *seconds)
{
	enum status status = STATUS_OK;
	struct entry *e = user;
	struct bench *b = e->bench;
	if (options.list)
		return STATUS_OK;
	progress_update(&b->progress, b->n_done, e->name);
	TRY(meter_measure(b->meter, &e->m));
	if (!b->n_done)
		TRY(meter_self_test(b->meter, &b->same));
	*seconds = 1e-6 * e->m.figure[0].timing.us;
	if (b->log.path)
		TRY(report_log(&b->log, device_info(b->device), &e->m));
done:
	return status;
}

static void report_entry(void *user, double seconds, const char *error)
{
	struct entry *e = user;
	struct bench *b = e->bench;
	(void)seconds;
	if (options.list) {
		printf("%s\n", e->name);
		return;
	}
	b->n_done++;
	progress_clear(&b->progress);
	if (error) {
		report_table_fail(b->table, e->m.task, error);
		b->n_failed++;
		return;
	}
	report_table_add(b->table, &e->m);
	for (int i = 0; i < e->m.n; i++) {
		b->n_wrong += e->m.figure[i].status == FIGURE_WRONG;
		b->n_failed += e->m.figure[i].status == FIGURE_FAILED;
	}
}

/* On the host a dependent launch is a launch. */
static const char *states_asked_for(bool gpu)
{
	return options.states ? options.states : gpu ? "cold,hot,stream,chain" : "cold,hot,stream";
}

/* An expression for the states asked for: "/(cold|hot)/". */
static enum status make_filter(const char *list, char *filter, size_t bytes)
{
	size_t n = 0;
	for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',') {
		int length = (int)strcspn(at, ","), s = 0;
		while (s < N_CACHE_STATES && (strncmp(cache_state_names[s], at, (size_t)length) ||
		                              strlen(cache_state_names[s]) != (size_t)length))
			s++;
		if (s == N_CACHE_STATES)
			return fail(STATUS_USAGE,
			            "--state: '%.*s' is not cold, hot, stream or chain", length,
			            at);
		if (n + 16 < bytes)
			n += (size_t)snprintf(filter + n, bytes - n, "%s%s", n ? "|" : "/(",
			                      cache_state_names[s]);
	}
	if (!n)
		return fail(STATUS_USAGE, "--state: expected cold, hot, stream or chain");
	snprintf(filter + n, bytes - n, ")/");
	return STATUS_OK;
}

static void add_entry(struct bench *b, const struct task *task, enum cache_state state, bool graph)
{
	struct entry *e = &b->entries[b->n_entries++];
	*e = (struct entry){.bench = b, .m = {.task = task, .state = state, .graph = graph}};
	snprintf(e->name, sizeof e->name, "%s/%s/%s/%s/%s", task->kernel->name, task->shape_text,
	         task->case_text, cache_state_names[state], graph ? "graph" : "single");
	gbench_register(e->name, run_entry, e);
}

static void add_task(struct bench *b, const struct task *task, bool gpu)
{
	for (int s = 0; s < N_CACHE_STATES; s++) {
		if (!meter_allows(b->device, task, s))
			continue;
		add_entry(b, task, s, gpu || s != STATE_STREAM);
		if (gpu && s != STATE_CHAIN)
			add_entry(b, task, s, false);
	}
}

/* Every task in every state, kernel by kernel; on a GPU in a graph and by single launches. A graph
 * of the host is a loop, and its launches do not overlap what lies between them: where that is to
 * be taken off, single launches say the same with less noise. */
static enum status register_all(struct bench *b)
{
	bool gpu = device_info(b->device)->target.sm > 0;
	b->entries = calloc((size_t)b->tasks.n * N_CACHE_STATES * 2, sizeof *b->entries);
	if (!b->entries)
		return fail(STATUS_NO_MEMORY, "no memory for the list of benchmarks");
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++)
		for (int t = 0; t < b->tasks.n; t++)
			if (b->tasks.task[t].kernel == *kernel)
				add_task(b, &b->tasks.task[t], gpu);
	return STATUS_OK;
}

static int count_matching(const struct bench *b, const char *states)
{
	int n = 0;
	for (int i = 0; i < b->n_entries; i++)
		n += strstr(states, cache_state_names[b->entries[i].m.state]) != NULL;
	return n;
}

/* An instance against itself must be the same. A host that other programs share need not be quiet
 * enough to tell, which is worth a warning; a GPU must. */
static bool judge_self_test(const struct bench *b)
{
	const struct comparison *same = &b->same;
	const bool differs = same->verdict == VERDICT_FASTER || same->verdict == VERDICT_SLOWER;
	if (!same->rounds)
		return true;
	printf("A/A: %s, x%.4f [%.4f, %.4f] after %d rounds\n", verdict_name(same->verdict),
	       same->ratio.median, same->ratio.lo, same->ratio.hi, same->rounds);
	if (same->verdict != VERDICT_SAME)
		fprintf(stderr,
		        "warpsmith-bench: an instance measured against itself is %s, not "
		        "the same: differences of 1 %% mean nothing here\n",
		        verdict_name(same->verdict));
	return !differs || !device_info(b->device)->target.sm;
}

static enum status print_summary(struct bench *b)
{
	const struct ceilings *c = meter_ceilings(b->meter);
	printf("\nceilings: read %.4g GB/s (%s), copy %.4g GB/s (%s), over %.4g MB\n", c->read.gbps,
	       c->read.config, c->copy.gbps, c->copy.config, c->read.bytes / 1e6);
	if (options.peers)
		printf("peers: %s\n", meter_peers(b->meter));
	const bool trusted = judge_self_test(b);
	if (b->n_wrong)
		return fail(STATUS_VIOLATION, "%d measurements differ from the reference",
		            b->n_wrong);
	if (b->n_failed)
		return fail(STATUS_FAILED, "%d measurements failed", b->n_failed);
	if (!trusted)
		return fail(STATUS_VIOLATION,
		            "an instance measured against itself is not the same: something "
		            "disturbs this device, and its figures are not to be trusted");
	return STATUS_OK;
}

static enum status bench_run(struct bench *b)
{
	enum status status;
	int n_run;
	char filter[64];
	const char *states;
	struct ceilings ceilings;
	struct tasks_request request = {.kernels = options.kernels,
	                                .shapes = options.shapes,
	                                .dtypes = options.dtypes,
	                                .kv = options.kv};
	TRY(make_filter(states_asked_for(true), filter, sizeof filter));
	TRY(device_open(options.device, options.quiet, &b->device));
	const struct device_info *info = device_info(b->device);
	states = states_asked_for(info->target.sm > 0);
	TRY(make_filter(states, filter, sizeof filter));
	if (!request.dtypes && options.peers && info->target.sm)
		request.dtypes = "bf16,bf16:bf16";
	TRY(tasks_open(&request, info, &b->tasks));
	TRY(register_all(b));
	if (options.list) {
		TRY(gbench_run(filter, report_entry, &n_run));
		goto done;
	}
	if (options.csv)
		TRY(report_open(options.csv, info, &b->log));
	TRY(ceilings_measure(b->device, options.quiet, &ceilings));
	TRY(meter_open(b->device, &ceilings, &(struct meter_options){.peers = options.peers},
	               &b->meter));
	TRY(report_table_open(info, &b->table));
	if (!options.quiet)
		table_warn_stale(info);
	progress_start(&b->progress, "bench", count_matching(b, states), options.quiet);
	TRY(gbench_run(filter, report_entry, &n_run));
	progress_finish(&b->progress, NULL);
	report_table_close(&b->table);
	TRY(print_summary(b));
done:
	return status;
}

static void bench_close(struct bench *b)
{
	report_table_close(&b->table);
	csv_log_close(&b->log);
	meter_close(&b->meter);
	tasks_close(&b->tasks);
	free(b->entries);
	device_close(&b->device);
}

int main(int argc, char **argv)
{
	enum status status;
	bool over;
	struct bench bench = {0};
	TRY(options_parse(&command, argc, argv, &over));
	if (over)
		goto done;
	if (options.compare[0])
		TRY(compare_folders(options.compare[0], options.compare[1], timer_defaults.noise));
	else
		TRY(bench_run(&bench));
done:
	bench_close(&bench);
	return status_exit(command.name, status);
}
