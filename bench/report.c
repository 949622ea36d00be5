#define _POSIX_C_SOURCE 200809L
#include "bench/report.h"

#include <math.h>
#include <stdio.h>
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
	enum status status;
	char path[4096], columns[] = BENCH_COLUMNS(COLUMN_JOINED);
	columns[sizeof columns - 2] = 0; /* the last comma */
	if (snprintf(path, sizeof path, "%s/%s/bench.csv", folder, info->slug) >= (int)sizeof path)
		return fail(STATUS_USAGE, "--csv %s: the name is too long", folder);
	*strrchr(path, '/') = 0;
	TRY(make_folders(path));
	path[strlen(path)] = '/';
	TRY(csv_log_open(path, columns, 0, log));
done:
	return status;
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
	if (f->peer) {
		put_text(cell[BENCH_peer], f->peer);
		put_number(cell[BENCH_peer_us], f->peer_us);
	}
	if (f->compared) {
		put_text(cell[BENCH_verdict], verdict_name(f->comparison.verdict));
		put_number(cell[BENCH_ratio], f->comparison.ratio.median);
		put_number(cell[BENCH_ratio_lo], f->comparison.ratio.lo);
		put_number(cell[BENCH_ratio_hi], f->comparison.ratio.hi);
	}
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

void report_heading(const struct device_info *info, const struct kernel *kernel)
{
	printf("\n%s on %s: us of one launch with its 95 %% interval, %% of the ceiling measured "
	       "in "
	       "this run\n%-16s %-6s %-6s %10s %-19s %8s %7s %-4s  %-8s%s\n",
	       kernel->name, info->name, "shape", "state", "launch", "us", " interval", "GB/s", "%",
	       "of", "choice", "case; config");
}

static void print_figure(const struct measurement *m, const struct figure *f)
{
	const struct kernel *kernel = m->task->kernel;
	char config[CONFIG_TEXT], interval[32];
	printf("%-16s %-6s %-6s ", m->task->shape_text, cache_state_names[m->state],
	       m->graph ? "graph" : "single");
	if (f->status == FIGURE_OK) {
		snprintf(interval, sizeof interval, "[%.4g, %.4g]", f->timing.us_lo,
		         f->timing.us_hi);
		printf("%10.4g %-19s %8.4g %7.1f %-4s  ", f->timing.us, interval, f->gbps,
		       f->percent, f->ceiling);
	} else {
		printf("%10s %s  ", figure_status_names[f->status], f->reason);
	}
	printf("%-8s%s; %s", f->tuned ? "tuned" : "default", m->task->case_text,
	       params_format(kernel->params, kernel->n_params, f->variant->config.value, config));
	if (f->compared && f->status == FIGURE_OK)
		printf("; %s than default, x%.3f [%.3f, %.3f]", verdict_name(f->comparison.verdict),
		       f->comparison.ratio.median, f->comparison.ratio.lo, f->comparison.ratio.hi);
	if (f->peer)
		printf("; %s %.4g us, x%.3f", f->peer, f->peer_us, f->peer_us / f->timing.us);
	printf("\n");
}

void report_print(const struct measurement *m)
{
	for (int i = 0; i < m->n; i++)
		print_figure(m, &m->figure[i]);
	fflush(stdout);
}
