#define _POSIX_C_SOURCE 200809L
#include "bench/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/sources.h"

#define COLUMN_NAME(name)   #name,
#define COLUMN_JOINED(name) #name ","
const char *const bench_column_names[N_BENCH_COLUMNS] = {BENCH_COLUMNS(COLUMN_NAME)};

enum { CELL_BYTES = 512 };
typedef char cells[N_BENCH_COLUMNS][CELL_BYTES];

enum status report_open(const char *folder, const struct device_info *info, struct csv_log *log)
{
	char columns[] = BENCH_COLUMNS(COLUMN_JOINED);
	columns[sizeof columns - 2] = 0; /* the last comma */
	if (snprintf(NULL, 0, "%s/%s/bench.csv", folder, info->slug) >= CSV_PATH)
		return fail(STATUS_USAGE, "--csv %s: the name is too long", folder);
	return csv_log_open_for(folder, info->slug, "bench.csv", columns, log);
}

/* Empty when the value is not a number. */
static void put_number(char *cell, double value)
{
	if (isfinite(value))
		snprintf(cell, CELL_BYTES, "%.6g", value);
}

static void put_text(char *cell, const char *text)
{
	snprintf(cell, CELL_BYTES, "%s", text);
	for (char *c = cell; *c; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' ';
}

/* In four columns from `first` on. */
static void put_comparison(cells cell, enum bench_column first, const struct comparison *c)
{
	put_text(cell[first], verdict_name(c->verdict));
	put_number(cell[first + 1], c->ratio.median);
	put_number(cell[first + 2], c->ratio.lo);
	put_number(cell[first + 3], c->ratio.hi);
}

static void put_times(cells cell, const struct figure *f)
{
	const struct timing *t = &f->timing;
	put_number(cell[BENCH_us], t->us);
	put_number(cell[BENCH_us_lo], t->us_lo);
	put_number(cell[BENCH_us_hi], t->us_hi);
	put_number(cell[BENCH_samples], t->samples);
	put_text(cell[BENCH_stop], timer_stop_name(t->stop));
	put_number(cell[BENCH_gbps], f->gbps);
	put_text(cell[BENCH_ceiling], f->ceiling);
	put_number(cell[BENCH_ceiling_gbps], f->ceiling_gbps);
	put_number(cell[BENCH_percent], f->percent);
	put_number(cell[BENCH_sm_mhz], t->health.sm_mhz);
	put_number(cell[BENCH_watt], t->health.watt);
	put_number(cell[BENCH_celsius], t->health.celsius);
	put_text(cell[BENCH_throttle], t->health.throttle);
	put_number(cell[BENCH_launches], t->launches);
	put_number(cell[BENCH_repeated], t->repeated);
	put_number(cell[BENCH_read_us], f->read_us);
	put_number(cell[BENCH_read_percent], f->read_percent);
	put_number(cell[BENCH_empty_us], f->empty_us);
	if (f->peer) {
		put_text(cell[BENCH_peer], f->peer);
		put_text(cell[BENCH_peer_version], f->peer_version);
		put_number(cell[BENCH_peer_us], f->peer_us);
		put_comparison(cell, BENCH_peer_verdict, &f->peer_comparison);
	}
	if (f->compared)
		put_comparison(cell, BENCH_verdict, &f->comparison);
}

static void put_identity(cells cell, const struct device_info *info, const struct measurement *m,
                         const struct figure *f)
{
	const struct kernel *kernel = m->task->kernel;
	char config[CONFIG_TEXT], hash[17];
	time_t now = time(NULL);
	struct tm tm;
	source_hash(kernel->name, hash);
	put_text(cell[BENCH_device], info->name);
	put_text(cell[BENCH_kernel], kernel->name);
	put_text(cell[BENCH_case], m->task->case_text);
	put_text(cell[BENCH_shape], m->task->shape_text);
	put_text(cell[BENCH_config],
	         params_format(kernel->params, kernel->n_params, f->variant->config.value, config));
	put_text(cell[BENCH_state], cache_state_names[m->state]);
	put_text(cell[BENCH_launch], m->graph ? "graph" : "single");
	put_number(cell[BENCH_bytes], kernel->bytes(&m->task->shape, m->task->kase.value));
	put_text(cell[BENCH_choice], f->tuned ? "tuned" : "default");
	put_text(cell[BENCH_driver], info->driver);
	put_text(cell[BENCH_toolkit], info->toolkit);
	put_text(cell[BENCH_source_hash], hash);
	strftime(cell[BENCH_date], CELL_BYTES, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
}

enum status report_log(struct csv_log *log, const struct device_info *info,
                       const struct measurement *m)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < m->n; i++) {
		const struct figure *f = &m->figure[i];
		cells cell = {0};
		const char *row[N_BENCH_COLUMNS];
		put_identity(cell, info, m, f);
		put_text(cell[BENCH_status], figure_status_names[f->status]);
		put_text(cell[BENCH_reason], f->reason);
		if (f->status == FIGURE_OK)
			put_times(cell, f);
		for (int c = 0; c < N_BENCH_COLUMNS; c++)
			row[c] = cell[c];
		TRY(csv_log_row(log, row));
	}
done:
	return status;
}

/* What one line is made of: the first figure of each state, in a graph and single. */
struct report_table {
	const struct device_info *info;
	const struct kernel *kernel; /* whose heading stands above */
	int n_kernels;
	const struct task *task; /* whose line is being collected; NULL: none */
	struct figure graph[N_CACHE_STATES],
	        single[N_CACHE_STATES]; /* variant NULL: not measured */
};

enum status report_table_open(const struct device_info *info, struct report_table **table)
{
	*table = calloc(1, sizeof **table);
	if (!*table)
		return fail(STATUS_NO_MEMORY, "no memory for a table");
	(*table)->info = info;
	return STATUS_OK;
}

/* What the columns are is said once. */
static void print_heading(const struct report_table *t)
{
	if (!t->n_kernels)
		printf("us of one launch: in a graph with cold and hot caches, with other weights "
		       "read "
		       "between (stream), as a\ndependent chain; single: by itself, cold. +-%%: "
		       "half "
		       "the 95 %% interval. ceiling: %% of it. read: the best plain\nread of as "
		       "many "
		       "bytes, and %% of our time that it takes. ratio: our time over that of the "
		       "best "
		       "peer.\nrows: tuned, and its time over the default's.\n");
	printf("\n%s on %s\n%-14s %-18s %8s %5s %8s %8s %8s %8s %7s %8s %5s %-9s%8s %6s  %s\n",
	       t->kernel->name, t->info->name, "shape", "case", "cold", "+-%", "single", "hot",
	       "stream", "chain", "ceiling", "read", "%", " peer", "us", "ratio", "rows");
}

/* "-" where there is no such number. */
static void print_number(int width, const char *format, double value)
{
	char text[32] = "-";
	if (isfinite(value))
		snprintf(text, sizeof text, format, value);
	printf(" %*s", width, text);
}

static double us_of(const struct figure *f)
{
	return f->variant && f->status == FIGURE_OK ? f->timing.us : NAN;
}

/* A case without the names of its fields: "bf16 f32 bias". */
static void short_case(const char *text, char *to, size_t bytes)
{
	size_t n = 0;
	for (const char *at = text; *at && n + 1 < bytes; at++) {
		if ((at == text || at[-1] == ' ') && strchr(at, '='))
			at = strchr(at, '=') + 1;
		to[n++] = *at;
	}
	to[n] = 0;
}

/* The state whose details the line gives: cold, else the first that was measured in a graph. */
static const struct figure *detailed(const struct report_table *t)
{
	for (int s = 0; s < N_CACHE_STATES; s++)
		if (isfinite(us_of(&t->graph[s])))
			return &t->graph[s];
	for (int s = 0; s < N_CACHE_STATES; s++)
		if (isfinite(us_of(&t->single[s])))
			return &t->single[s];
	return NULL;
}

static void print_details(const struct figure *f)
{
	print_number(7, "%.1f", f->percent);
	print_number(8, "%.4g", f->read_us);
	print_number(5, "%.1f", f->read_percent);
	printf("  %-8s", f->peer ? f->peer : "-");
	print_number(7, "%.4g", f->peer ? f->peer_us : NAN);
	print_number(6, "%.3f", f->peer ? f->peer_comparison.ratio.median : NAN);
	printf("  %s", f->tuned ? "tuned" : "default");
	if (f->compared)
		printf(" x%.3f", f->comparison.ratio.median);
	if (f->bytes / f->ceiling_gbps / 1e3 < f->empty_us)
		printf(", empty launch %.3g us", f->empty_us);
	if (f->timing.health.throttle[0])
		printf(", %s", f->timing.health.throttle);
}

static void print_line(struct report_table *t)
{
	char text[CONFIG_TEXT];
	if (!t->task)
		return;
	const struct figure *f = detailed(t), *cold = &t->graph[STATE_COLD];
	const struct interval i = {cold->timing.us, cold->timing.us_lo, cold->timing.us_hi};
	short_case(t->task->case_text, text, sizeof text);
	if (f) {
		printf("%-14s %-18s", t->task->shape_text, text);
		print_number(8, "%.4g", us_of(cold));
		print_number(5, "%.2f",
		             isfinite(us_of(cold)) ? 100 * interval_half_width(&i) : NAN);
		print_number(8, "%.4g", us_of(&t->single[STATE_COLD]));
		print_number(8, "%.4g", us_of(&t->graph[STATE_HOT]));
		print_number(8, "%.4g",
		             fmin(us_of(&t->graph[STATE_STREAM]), us_of(&t->single[STATE_STREAM])));
		print_number(8, "%.4g", us_of(&t->graph[STATE_CHAIN]));
		print_details(f);
		printf("\n");
	}
	fflush(stdout);
	t->task = NULL;
}

static void use_line(struct report_table *t, const struct task *task)
{
	if (t->task == task)
		return;
	print_line(t);
	if (t->kernel != task->kernel) {
		t->kernel = task->kernel;
		print_heading(t);
		t->n_kernels++;
	}
	t->task = task;
	memset(t->graph, 0, sizeof t->graph);
	memset(t->single, 0, sizeof t->single);
}

void report_table_add(struct report_table *t, const struct measurement *m)
{
	use_line(t, m->task);
	(m->graph ? t->graph : t->single)[m->state] = m->figure[0];
	for (int i = 0; i < m->n; i++) {
		const struct figure *f = &m->figure[i];
		if (f->status != FIGURE_OK)
			printf("%-14s %s, %s, %s rows: %s: %s\n", m->task->shape_text,
			       m->task->case_text, cache_state_names[m->state],
			       f->tuned ? "tuned" : "default", figure_status_names[f->status],
			       f->reason);
	}
}

void report_table_fail(struct report_table *t, const struct task *task, const char *error)
{
	use_line(t, task);
	printf("%-14s failed: %s\n", task->shape_text, error);
}

void report_table_close(struct report_table **table)
{
	if (*table)
		print_line(*table);
	free(*table);
	*table = NULL;
}
