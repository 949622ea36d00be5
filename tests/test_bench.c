/* What the bench says of kernels whose faults are planted, what it writes, and how it compares two
 * runs. No test depends on how long anything takes. */
#define _GNU_SOURCE
#include "bench/clock.h"
#include "bench/compare.h"
#include "bench/gbench.h"
#include "bench/measure.h"
#include "bench/problem.h"
#include "bench/read_reference.h"
#include "bench/report.h"
#include "bench/stream_way.h"
#include "device/cublas.h"
#include "kernels/gemv.h"
#include "kernels/mark.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static struct device *device;
static struct ceilings measured, ceilings; /* the latter: those that rows are held to */
static struct meter *meter;
static char folder[64];
/* Nothing here depends on how precise a time is. */
static const struct meter_options brief = {.limit_seconds = 0.05};

static int open_all(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/test_bench.XXXXXX");
	if (!mkdtemp(folder) || device_open("auto", true, &device) != STATUS_OK)
		return -1;
	if (ceilings_measure_over(device, 1, true, &ceilings) != STATUS_OK)
		return -1;
	measured = ceilings;
	/* A busy host may have read slower then than it does later, which is no fault of a row. */
	ceilings.read.gbps = ceilings.copy.gbps = 1e4;
	return meter_open(device, &ceilings, &brief, &meter) == STATUS_OK ? 0 : -1;
}

static int close_all(void **state)
{
	(void)state;
	char command[128];
	meter_close(&meter);
	meter_close(&meter);
	device_close(&device);
	snprintf(command, sizeof command, "rm -r %s", folder);
	return system(command);
}

static void ceilings_are_bandwidths(void **state)
{
	(void)state;
	assert_true(isfinite(measured.read.gbps) && measured.read.gbps > 0);
	assert_true(isfinite(measured.copy.gbps) && measured.copy.gbps > 0);
	assert_true(strstr(measured.read.config, "unroll=") != NULL);
	assert_float_equal(measured.read.bytes, 33554432, 0);
}

/* All instances, with sizes below a tile, above it and not a multiple of it. */
static void stream_agrees_with_its_reference(void **state)
{
	(void)state;
	const struct kernel *kernel = kernel_find("stream");
	const struct variant *variants;
	const int sizes[] = {1, 7, 64, 1001};
	int n = kernel_variants(kernel, device_info(device), &variants), checked = 0;
	for (int copy = 0; copy < 2; copy++)
		for (int s = 0; s < 4; s++) {
			const struct shape shape = {.m = sizes[s]};
			struct problem *problem;
			assert_int_equal(
			        problem_open(device, kernel, &copy, &shape, 1, 1, &problem), 0);
			for (int i = 0; i < n; i++) {
				if (variants[i].kase.value[0] != copy)
					continue;
				enum status status = problem_check(problem, variants[i].entry,
				                                   variants[i].config.value);
				if (status != STATUS_OK)
					fail_msg("%s", fail_message());
				checked++;
			}
			problem_close(&problem);
		}
	assert_int_equal(checked, 4 * n);
}

static void wrong_reference(const struct shape *shape, const int *kase, const void *const *data,
                            double *const *expected, double *const *tolerance)
{
	kernel_find("stream")->reference(shape, kase, data, expected, tolerance);
	expected[1][0] += 1;
}

static double many_bytes(const struct shape *shape, const int *kase)
{
	return 1e6 * kernel_find("stream")->bytes(shape, kase);
}

/* A measurement of reading 64 KiB with `stream`, or with a planted fault in its description. */
static struct measurement measure(const struct kernel *kernel, enum cache_state cache)
{
	static struct task tasks[64];
	static int n_tasks;
	struct task *task = &tasks[n_tasks++ % 64]; /* a meter knows a task by its address */
	*task = (struct task){
	        .kernel = kernel, .shape = {.m = 64}, .case_text = "copy=0", .shape_text = "64"};
	struct measurement m = {.task = task, .state = cache, .graph = true};
	assert_int_equal(meter_measure(meter, &m), STATUS_OK);
	assert_int_equal(m.n, 1);
	return m;
}

static void every_state_has_a_figure(void **state)
{
	(void)state;
	for (int s = 0; s < N_CACHE_STATES; s++) {
		struct figure f = measure(kernel_find("stream"), s).figure[0];
		if (f.status != FIGURE_OK)
			fail_msg("%s: %s", cache_state_names[s], f.reason);
		assert_true(f.timing.us_lo <= f.timing.us && f.timing.us <= f.timing.us_hi);
		assert_true(f.timing.samples > 0);
		assert_float_equal(f.bytes, 65536, 0);
		assert_float_equal(f.gbps, 65536 / f.timing.us / 1e3, 1e-9 * f.gbps);
		assert_string_equal(f.ceiling, "read");
		assert_float_equal(f.percent, 100 * f.gbps / ceilings.read.gbps, 1e-9 * f.percent);
		assert_false(f.tuned || f.compared);
		assert_true(f.empty_us > 0);
		assert_null(f.peer);
		const bool read = s == STATE_COLD || s == STATE_STREAM;
		assert_int_equal(isfinite(f.read_us), read);
		if (read)
			assert_float_equal(f.read_percent, 100 * f.read_us / f.timing.us,
			                   1e-9 * f.read_percent);
	}
}

static struct csv_table logged(const struct measurement *m, const char *name)
{
	struct csv_log log;
	struct csv_table table;
	char path[128], file[256];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	assert_int_equal(report_open(path, device_info(device), &log), STATUS_OK);
	assert_int_equal(report_log(&log, device_info(device), m), STATUS_OK);
	csv_log_close(&log);
	snprintf(file, sizeof file, "%s/%s/bench.csv", path, device_info(device)->slug);
	assert_int_equal(csv_read(file, &table), STATUS_OK);
	return table;
}

static const char *last(const struct csv_table *table, const char *column)
{
	assert_int_not_equal(csv_column(table, column), -1);
	return csv_cell(table, table->n_rows - 1, csv_column(table, column));
}

static void wrong_results_are_not_timed(void **state)
{
	(void)state;
	struct kernel planted = *kernel_find("stream");
	planted.reference = wrong_reference;
	struct measurement m = measure(&planted, STATE_HOT);
	assert_int_equal(m.figure[0].status, FIGURE_WRONG);
	assert_int_equal(m.figure[0].timing.samples, 0);
	assert_non_null(strstr(m.figure[0].reason, "expected"));
	struct csv_table table = logged(&m, "wrong");
	assert_string_equal(last(&table, "status"), "wrong");
	assert_non_null(strstr(last(&table, "reason"), "sum[0]"));
	assert_string_equal(last(&table, "us"), "");
	csv_close(&table);
}

static void impossible_bandwidth_is_not_reported(void **state)
{
	(void)state;
	struct kernel planted = *kernel_find("stream");
	planted.bytes = many_bytes;
	struct measurement m = measure(&planted, STATE_COLD);
	assert_int_equal(m.figure[0].status, FIGURE_SUSPECT);
	struct csv_table table = logged(&m, "suspect");
	assert_string_equal(last(&table, "status"), "suspect");
	assert_non_null(strstr(last(&table, "reason"), "above the read ceiling"));
	assert_string_equal(last(&table, "us"), "");
	assert_string_equal(last(&table, "gbps"), "");
	csv_close(&table);
	assert_int_equal(measure(&planted, STATE_HOT).figure[0].status,
	                 FIGURE_OK); /* caches may do that */
	/* what was measured again was slower */
	assert_float_equal(meter_ceilings(meter)->read.gbps, ceilings.read.gbps, 0);
}

/* Memory may have been slow when the run began: what beats its ceiling is held to a new one. */
static void a_beaten_ceiling_is_measured_again(void **state)
{
	(void)state;
	struct task task = {.kernel = kernel_find("stream"), .shape = {.m = 64}};
	struct measurement m = {.task = &task, .state = STATE_COLD, .graph = true};
	struct ceilings slow = measured;
	struct meter *fresh;
	slow.read.gbps = slow.copy.gbps = 1e-3;
	assert_int_equal(meter_open(device, &slow, &brief, &fresh), STATUS_OK);
	assert_int_equal(meter_measure(fresh, &m), STATUS_OK);
	assert_true(meter_ceilings(fresh)->read.gbps > 100 * slow.read.gbps);
	assert_true(meter_ceilings(fresh)->copy.gbps > 100 * slow.copy.gbps);
	assert_float_equal(m.figure[0].ceiling_gbps, meter_ceilings(fresh)->read.gbps, 0);
	assert_true(m.figure[0].percent < 1e4);
	meter_close(&fresh);
}

/* The columns that other people's scripts read, in their order. */
static void rows_have_the_documented_columns(void **state)
{
	(void)state;
	static const char documented[] =
	        "device,kernel,case,shape,config,state,launch,us,us_lo,us_hi,samples,stop,bytes,"
	        "gbps,ceiling,"
	        "ceiling_gbps,percent,peer,peer_us,sm_mhz,watt,celsius,throttle,status,reason";
	struct measurement m = measure(kernel_find("stream"), STATE_COLD);
	struct csv_table table = logged(&m, "columns");
	size_t at = 0;
	for (int c = 0; c < 25; c++) {
		size_t n = strlen(table.column[c]);
		assert_memory_equal(documented + at, table.column[c], n);
		at += n + 1;
	}
	assert_int_equal(at, sizeof documented);
	assert_string_equal(last(&table, "device"), device_info(device)->name);
	assert_string_equal(last(&table, "kernel"), "stream");
	assert_string_equal(last(&table, "shape"), "64");
	assert_string_equal(last(&table, "state"), "cold");
	assert_string_equal(last(&table, "status"), "ok");
	assert_float_equal(atof(last(&table, "us")), m.figure[0].timing.us,
	                   1e-5 * m.figure[0].timing.us);
	assert_float_equal(atof(last(&table, "read_us")), m.figure[0].read_us,
	                   1e-5 * m.figure[0].read_us);
	assert_int_equal(atoi(last(&table, "launches")), m.figure[0].timing.launches);
	assert_string_equal(last(&table, "peer_ratio"), "");
	csv_close(&table);
	table = logged(&m, "columns");
	assert_int_equal(table.n_rows, 2); /* appended */
	csv_close(&table);
}

static void an_instance_equals_itself(void **state)
{
	(void)state;
	struct task task = {.kernel = kernel_find("stream"), .shape = {.m = 64}};
	struct measurement m = {.task = &task, .state = STATE_HOT, .graph = true};
	struct comparison comparison;
	struct meter *fresh;
	assert_int_equal(meter_open(device, &ceilings, &brief, &fresh), STATUS_OK);
	assert_int_equal(meter_self_test(fresh, &comparison),
	                 STATUS_FAILED); /* nothing is set up */
	assert_int_equal(meter_measure(fresh, &m), STATUS_OK);
	assert_int_equal(meter_self_test(fresh, &comparison), STATUS_OK);
	assert_true(comparison.rounds > 0 && comparison.ratio.lo <= comparison.ratio.hi);
	meter_close(&fresh);
}

static void peers_of_a_host_are_named_absent(void **state)
{
	(void)state;
	struct meter *with_peers;
	if (device_info(device)->target.sm)
		skip();
	assert_int_equal(
	        meter_open(device, &ceilings, &(struct meter_options){.peers = true}, &with_peers),
	        STATUS_OK);
	assert_string_equal(meter_peers(with_peers),
	                    "no cublas: cublas needs a GPU, not device host; "
	                    "no cublaslt: cublaslt needs a GPU, not device host");
	assert_string_equal(meter_peers(meter), "");
	meter_close(&with_peers);
}

static void chunks_know_the_sum_of_any_stretch(void **state)
{
	(void)state;
	const size_t n = STREAM_CHUNK_BYTES / sizeof(uint32_t);
	const size_t stretches[][2] = {{0, 0},     {0, 3}, {5, 100},
	                               {n - 2, 5}, {0, n}, {7, 2 * n + 9}};
	struct stream_chunk chunk;
	assert_int_equal(stream_chunk_open(&chunk), STATUS_OK);
	for (size_t i = 0; i < sizeof stretches / sizeof *stretches; i++) {
		uint32_t sum = 0;
		for (size_t j = 0; j < stretches[i][1]; j++)
			sum += chunk.words[(stretches[i][0] + j) % n];
		assert_int_equal(stream_chunk_sum(&chunk, 4 * stretches[i][0], 4 * stretches[i][1]),
		                 sum);
	}
	stream_chunk_close(&chunk);
}

/* Any way reads each word once, with any number of blocks, and copies it. */
static void every_way_reads_all(void **state)
{
	(void)state;
	const size_t bytes[] = {16, 48, 65536 + 16, 1000000};
	struct stream_way ways[MAX_STREAM_WAYS], reader[MAX_STREAM_WAYS];
	struct stream_chunk chunk;
	void *x, *y;
	unsigned *sums;
	uint32_t sum;
	assert_int_equal(stream_chunk_open(&chunk), STATUS_OK);
	assert_int_equal(device_alloc(device, 1000000, &x), STATUS_OK);
	assert_int_equal(device_alloc(device, 1000000, &y), STATUS_OK);
	assert_int_equal(stream_sums_alloc(device, &sums), STATUS_OK);
	assert_int_equal(stream_chunk_fill(&chunk, device, x, 1000000), STATUS_OK);
	assert_true(stream_ways(device_info(device), false, reader) > 3);
	for (int copy = 0; copy < 2; copy++) {
		int n = stream_ways(device_info(device), copy, ways);
		assert_in_range(n, 4, MAX_STREAM_WAYS);
		for (int i = 0; i < 4 * n; i++) {
			const size_t size = bytes[i % 4];
			const struct stream_way *way = &ways[i / 4];
			assert_int_equal(device_fill(device, y, 0, 1000000), STATUS_OK);
			if (copy)
				assert_int_equal(stream_launch(device, way, x, y, NULL, size), 0);
			assert_int_equal(stream_sums_clear(device, sums), STATUS_OK);
			assert_int_equal(stream_launch(device, copy ? reader : way, copy ? y : x,
			                               NULL, sums, copy ? 1000000 : size),
			                 STATUS_OK);
			assert_int_equal(stream_sums_total(device, sums, &sum), STATUS_OK);
			assert_int_equal(sum, stream_chunk_sum(&chunk, 0, size));
		}
	}
	device_free(device, x);
	device_free(device, y);
	device_free(device, sums);
	stream_chunk_close(&chunk);
}

static void a_size_is_read_once_in_a_run(void **state)
{
	(void)state;
	struct timer timer;
	struct timer_options options = timer_defaults;
	struct read_references *references;
	const struct read_reference *reference;
	options.limit_seconds = 0.05;
	assert_int_equal(timer_open(&timer, device, &options), STATUS_OK);
	assert_int_equal(read_references_open(device, &timer, ceilings.read.config, &references),
	                 STATUS_OK);
	assert_int_equal(read_reference_find(references, 99990, &reference), STATUS_OK);
	assert_int_equal(reference->bytes, 100000);
	assert_true(reference->us > 0 && reference->us_lo <= reference->us &&
	            reference->us <= reference->us_hi);
	assert_non_null(strstr(reference->config, "unroll="));
	const double us = reference->us;
	assert_int_equal(read_reference_find(references, 5e6, &reference), STATUS_OK);
	assert_true(reference->us > us); /* fifty times as much */
	assert_int_equal(read_reference_find(references, 100000, &reference), STATUS_OK);
	assert_true(reference->us == us);
	assert_float_equal(timer.options.limit_seconds, 0.05, 0);
	read_references_close(&references);
	read_references_close(&references);
	timer_close(&timer);
}

static void clocks_come_from_marks(void **state)
{
	(void)state;
	/* 1.5 GHz over 40 us; a later mark is missing; too short; 1.7 GHz over 40 us */
	const unsigned long long ns_from[] = {1000, 1000, 1000, 5000},
	                         cycles_from[] = {7, 7, 7, 100000};
	const unsigned long long ns_to[] = {41000, 900, 1500, 45000},
	                         cycles_to[] = {60007, 60007, 5000, 168000};
	assert_float_equal(clock_mhz(1, ns_from, cycles_from, ns_to, cycles_to), 1500, 1e-9);
	assert_float_equal(clock_mhz(3, ns_from, cycles_from, ns_to, cycles_to), 1500, 1e-9);
	assert_float_equal(clock_mhz(4, ns_from, cycles_from, ns_to, cycles_to), 1600, 1e-9);
	assert_true(isnan(clock_mhz(2, ns_from + 1, cycles_from + 1, ns_to + 1, cycles_to + 1)));
	struct clock_marks *marks;
	assert_int_equal(clock_open(device, &marks), STATUS_OK);
	assert_int_equal(marks != NULL, device_info(device)->target.sm > 0);
	assert_int_equal(clock_timer_marks(marks).begin != NULL, marks != NULL);
	clock_close(&marks);
}

/* A mark is of the time it was made at, and no earlier than it was told to wait for. */
static void marks_wait_and_tell_the_time(void **state)
{
	(void)state;
	enum { DELAY_NS = 200000 };
	const struct kernel *kernel = kernel_find("mark");
	const struct variant *v;
	const struct shape one = {.m = 1};
	unsigned long long seen[3][2] = {0};
	void *memory;
	assert_true(kernel_variants(kernel, device_info(device), &v) > 0);
	assert_int_equal(device_alloc(device, sizeof seen, &memory), STATUS_OK);
	assert_int_equal(device_fill(device, memory, 0, sizeof seen), STATUS_OK);
	for (int i = 0; i < 3; i++) {
		const struct mark_args args = {.ns = (unsigned long long *)memory + 2 * i,
		                               .cycles = (unsigned long long *)memory + 2 * i + 1,
		                               .n = i < 2 ? 1 : 0,
		                               .delay_ns = i == 1 ? DELAY_NS : 0};
		assert_int_equal(device_launch(device, v->entry,
		                               kernel->grid(&one, v->kase.value, v->config.value,
		                                            device_info(device)),
		                               &args, sizeof args, (struct launch_options){0}),
		                 STATUS_OK);
	}
	assert_int_equal(device_read(device, seen, memory, sizeof seen), STATUS_OK);
	if (!device_info(device)->target.sm) /* a GPU has one slot per multiprocessor */
		assert_true(seen[0][0] && seen[1][0] >= seen[0][0] + DELAY_NS &&
		            seen[1][1] > seen[0][1]);
	assert_int_equal(seen[2][0] | seen[2][1], 0); /* n = 0 does nothing */
	device_free(device, memory);
}

/* Which launches can take what the last one wrote. */
static void chains_need_an_output_like_the_input(void **state)
{
	(void)state;
	const struct {
		const char *kernel, *shape;
		int kase[4];
		bool chains;
	} rows[] = {
	        {"gemv", "896x896", {DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_NONE}, true},
	        {"gemv", "896x896", {DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_SWIGLU}, false},
	        {"gemv", "1792x896", {DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_SWIGLU}, true},
	        {"gemv", "1152x896", {DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_RESIDUAL}, false},
	        {"rms_norm", "896", {DTYPE_F32, 0}, true},
	        {"rope", "896", {DTYPE_BF16, 1}, true},
	        {"gqa_attention", "14/2/64@10", {64, 7, DTYPE_BF16}, true},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct task task = {.kernel = kernel_find(rows[i].kernel)};
		assert_int_equal(task.kernel->parse_shape(rows[i].shape, &task.shape), STATUS_OK);
		memcpy(task.kase.value, rows[i].kase, sizeof rows[i].kase);
		if (meter_allows(device, &task, STATE_CHAIN) != rows[i].chains)
			fail_msg("%s %s", rows[i].kernel, rows[i].shape);
		assert_true(meter_allows(device, &task, STATE_COLD));
	}
}

/* y1 = W y0, where y0 is what the launch before left; and with no launch before, W x. */
static void a_link_takes_what_the_last_one_wrote(void **state)
{
	(void)state;
	enum { N = 64 };
	const int kase[] = {DTYPE_F32, DTYPE_F32, 0, EPILOGUE_NONE};
	const struct kernel *kernel = kernel_find("gemv");
	const struct shape shape = {.m = N, .k = N};
	const struct variant *variants, *v = NULL;
	static float w[N * N], y[2][N], x[N];
	struct problem *problem;
	for (int i = kernel_variants(kernel, device_info(device), &variants); i-- > 0;)
		if (!memcmp(variants[i].kase.value, kase, sizeof kase) && !variants[i].device)
			v = &variants[i];
	assert_non_null(v);
	assert_int_equal(problem_open(device, kernel, kase, &shape, 1, 2, &problem), STATUS_OK);
	/* the input that is only read is the same for all copies */
	assert_ptr_equal(problem_memory(problem, "x", 0), problem_memory(problem, "x", 1));
	assert_ptr_not_equal(problem_memory(problem, "w", 0), problem_memory(problem, "w", 1));
	assert_int_equal(problem_launch_chained(problem, v->entry, v->config.value, 0, -1), 0);
	assert_int_equal(problem_launch_chained(problem, v->entry, v->config.value, 1, 0), 0);
	assert_int_equal(device_read(device, w, problem_memory(problem, "w", 0), sizeof w), 0);
	assert_int_equal(device_read(device, x, problem_memory(problem, "x", 0), sizeof x), 0);
	for (int c = 0; c < 2; c++) {
		assert_int_equal(
		        device_read(device, y[c], problem_memory(problem, "y", c), sizeof y[c]), 0);
		for (int i = 0; i < N; i++) {
			double sum = 0;
			for (int j = 0; j < N; j++)
				sum += (double)w[i * N + j] * (c ? y[0][j] : x[j]);
			assert_float_equal(y[c][i], sum, 1e-4);
		}
	}
	problem_close(&problem);
}

static int n_references;

static void counting_reference(const struct shape *shape, const int *kase, const void *const *data,
                               double *const *expected, double *const *tolerance)
{
	n_references++;
	kernel_find("rms_norm")->reference(shape, kase, data, expected, tolerance);
}

/* Once, and not for launches that nobody checks. */
static void references_are_computed_when_needed(void **state)
{
	struct kernel kernel = *kernel_find("rms_norm");
	const struct shape shape = {.m = 64};
	const struct variant *variants;
	struct problem *problem;
	(void)state;
	assert_true(kernel_variants(&kernel, device_info(device), &variants) > 0);
	const int *kase = variants->kase.value, *config = variants->config.value;
	kernel.reference = counting_reference;
	assert_int_equal(problem_open(device, &kernel, kase, &shape, 1, 1, &problem), STATUS_OK);
	assert_int_equal(problem_launch(problem, variants->entry, config, 0), STATUS_OK);
	assert_int_equal(n_references, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(problem_check(problem, variants->entry, config), STATUS_OK);
		assert_int_equal(n_references, 1);
	}
	problem_close(&problem);
}

/* A bench.csv with rows "shape,choice,us,lo,hi,status"; "-" stands for an empty cell. */
static void write_run(const char *name, const char *const *rows)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	mkdir(path, 0755);
	strcat(path, "/bench.csv");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	for (int c = 0; c < N_BENCH_COLUMNS; c++)
		fprintf(file, "%s%s", c ? "," : "", bench_column_names[c]);
	fprintf(file, "\n");
	for (; *rows; rows++) {
		char shape[32], choice[32], us[32], lo[32], hi[32], status[32];
		assert_int_equal(sscanf(*rows, "%31[^,],%31[^,],%31[^,],%31[^,],%31[^,],%31s",
		                        shape, choice, us, lo, hi, status),
		                 6);
		const char *cells[N_BENCH_COLUMNS] = {
		        [BENCH_kernel] = "gemv", [BENCH_shape] = shape, [BENCH_choice] = choice,
		        [BENCH_us] = us,         [BENCH_us_lo] = lo,    [BENCH_us_hi] = hi,
		        [BENCH_status] = status};
		for (int c = 0; c < N_BENCH_COLUMNS; c++)
			fprintf(file, "%s%s", c ? "," : "",
			        cells[c] && strcmp(cells[c], "-") ? cells[c] : "");
		fprintf(file, "\n");
	}
	assert_int_equal(fclose(file), 0);
}

/* Output of a command and its exit code. */
static int run_command(char *output, size_t bytes, const char *format, ...)
{
	char line[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	FILE *pipe = popen(line, "r");
	assert_non_null(pipe);
	output[fread(output, 1, bytes - 1, pipe)] = 0;
	return WEXITSTATUS(pclose(pipe));
}

#define BENCH BINARY_DIR "/bin/warpsmith-bench"

static int compare(char *output, size_t bytes, const char *a, const char *b)
{
	return run_command(output, bytes, BENCH " --compare %s/%s %s/%s 2>&1", folder, a, folder,
	                   b);
}

static void compares_by_intervals(void **state)
{
	(void)state;
	char output[4096];
	write_run("a",
	          (const char *[]){"1x32,default,10,9.9,10.1,ok", "2x32,default,10,9.9,10.1,ok",
	                           "3x32,default,10,9,11,ok", "4x32,default,99,98,100,ok",
	                           "4x32,default,10,9.9,10.1,ok", "5x32,default,10,9.9,10.1,ok",
	                           "6x32,default,10,9.99,10.01,ok", NULL});
	write_run("b",
	          (const char *[]){"1x32,default,8,7.9,8.1,ok", "3x32,default,10.5,9.5,11.5,ok",
	                           "4x32,default,9,8.9,9.1,ok", "5x32,tuned,5,4.9,5.1,ok",
	                           "6x32,default,10.01,10,10.02,ok", NULL});
	assert_int_equal(compare(output, sizeof output, "a", "b"), 0);
	assert_non_null(strstr(output, "gemv,,1x32,,,default,faster,10,8,0.8,"));
	assert_non_null(strstr(output, "2x32,,,default,only in A"));
	assert_non_null(strstr(output, "3x32,,,default,unsure"));
	assert_non_null(
	        strstr(output, "4x32,,,default,faster,10,9,")); /* the newest row of a counts */
	assert_non_null(strstr(output, "5x32,,,tuned,only in B"));
	assert_non_null(strstr(output, "6x32,,,default,same"));
	assert_int_equal(compare(output, sizeof output, "b", "a"), 3);
	assert_non_null(strstr(output, "1x32,,,default,slower"));
	assert_non_null(strstr(output, "2 of 4 measurements are slower"));
}

static void a_failure_counts_as_slower(void **state)
{
	(void)state;
	char output[4096];
	write_run("ok", (const char *[]){"1x32,default,10,9.9,10.1,ok", NULL});
	write_run("bad", (const char *[]){"1x32,default,-,-,-,wrong", NULL});
	assert_int_equal(compare(output, sizeof output, "ok", "bad"), 3);
	assert_non_null(strstr(output, "1x32,,,default,wrong,10,,"));
	assert_int_equal(compare(output, sizeof output, "bad", "ok"), 0);
}

static void comparing_needs_two_runs(void **state)
{
	(void)state;
	char output[4096], path[128];
	write_run("ok", (const char *[]){"1x32,default,10,9.9,10.1,ok", NULL});
	write_run("other", (const char *[]){"9x32,default,10,9.9,10.1,ok", NULL});
	write_run("text", (const char *[]){"1x32,default,ten,9,11,ok", NULL});
	assert_int_equal(compare(output, sizeof output, "ok", "other"), 1);
	assert_non_null(strstr(output, "no measurement in common"));
	assert_int_equal(compare(output, sizeof output, "ok", "text"), 1);
	assert_non_null(strstr(output, "bench.csv:2: us: 'ten' is not a number"));
	assert_int_equal(compare(output, sizeof output, "ok", "nowhere"), 1);
	assert_non_null(strstr(output, "nowhere/bench.csv: No such file"));
	snprintf(path, sizeof path, "%s/other/bench.csv", folder);
	FILE *file = fopen(path, "w");
	fputs("device,kernel\nhost,gemv\n", file);
	fclose(file);
	assert_int_equal(compare(output, sizeof output, "ok", "other"), 1);
	assert_non_null(strstr(output, "no column 'case'"));
}

static void usage_errors_name_the_option(void **state)
{
	(void)state;
	char output[8192];
	const char *const wrong[][2] = {
	        {"--state lukewarm", "--state: 'lukewarm' is not cold, hot, stream or chain"},
	        {"--state ''", "--state"},
	        {"--kernel gem", "no kernel 'gem'"},
	        {"--kernel gemm", "gemm is timed in whole prompts alone: warpsmith-run"},
	        {"--kernel gemv,gemm --shape 64x64", "gemm is timed in whole prompts alone"},
	        {"--kernel embed",
	         "embed has no shapes of its own; these have: gemv gqa_attention rope rms_norm "
	         "sample\n"},
	        {"--dtype q9", "--dtype: no kernel takes 'q9'"},
	        {"--dtype bf16:q9", "--dtype: no kernel takes 'bf16:q9'"},
	        {"--kv q4_0", "--kv: 'q4_0' is none of bf16, f16, f32, q8_0"},
	        {"--dtype bf16:", "--dtype: no kernel takes 'bf16:'"},
	        {"--shape 10x", "--shape: '10x'"},
	        {"--shape 99999999999x5", "--shape: '99999999999x5'"},
	        {"--shape 14/3/64@10", "with Q a multiple of KV"},
	        {"--shape 14/2/63@10", "D one of 8 up to 256"},
	        {"--shape 14/2/64@0", "a length of 1 to 131072"},
	        {"--shape 14/2/64@131073", "a length of 1 to 131072"},
	        {"--compare a", "--compare needs two values"},
	        {"--device tpu", "--device tpu"},
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_int_equal(run_command(output, sizeof output, BENCH " %s 2>&1", wrong[i][0]),
		                 2);
		if (!strstr(output, wrong[i][1]))
			fail_msg("%s: '%s' lacks '%s'", wrong[i][0], output, wrong[i][1]);
	}
	assert_int_equal(run_command(output, sizeof output, BENCH " --help"), 0);
	assert_true(strstr(output, "Examples:") < strstr(output, "Options:"));
	assert_int_equal(run_command(output, sizeof output, BENCH " --version"), 0);
	assert_memory_equal(output, "warpsmith-bench ", 16);
}

static void lists_what_it_would_time(void **state)
{
	(void)state;
	char output[8192], names[] = "gemv gqa_attention rope rms_norm sample", *rest = names;
	for (const char *name; (name = strsep(&rest, " "));)
		assert_int_equal(
		        run_command(output, sizeof output, BENCH " --list --kernel %s", name), 0);
	/* however long the list */
	assert_int_equal(
	        run_command(output, sizeof output,
	                    BENCH
	                    " --list --shape $(yes 64x64 | head -n 400 | paste -sd ,),x 2>&1"),
	        2);
	assert_non_null(strstr(output, "--shape: 'x'"));
	assert_int_equal(
	        run_command(output, sizeof output,
	                    BENCH " --list --kernel gemv --shape 64x32 --dtype q8_0 --state hot"),
	        0);
	assert_non_null(strstr(output, "gemv/64x32/w=q8_0 x=f32 norm=0 epilogue=none/hot/graph\n"));
	assert_null(strstr(output, "cold"));
	assert_null(strstr(output, "bf16"));
	assert_int_equal(run_command(output, sizeof output,
	                             BENCH " --list --kernel gemv --shape qwen2.5-0.5b --dtype "
	                                   "bf16:bf16 --state chain"),
	                 0);
	assert_string_equal(output,
	                    "gemv/896x896/w=bf16 x=bf16 norm=0 epilogue=none/chain/graph\n");
}

/* Whether a line has a number like this one, rounded to four digits. */
static bool has_number(const char *line, double number)
{
	for (const char *at = line; *at && *at != '\n'; at += strcspn(at, " \n"), at += *at == ' ')
		if (fabs(strtod(at, NULL) - number) < 1e-3 * number)
			return true;
	return false;
}

/* A line for each task, with what was measured of it in each state. */
static void prints_a_line_for_each_task(void **state)
{
	(void)state;
	char output[8192], log[256];
	struct csv_table table;
	double us;
	assert_int_equal(run_command(output, sizeof output,
	                             BENCH " --quiet --kernel rms_norm,rope --shape 64,14/2/64 "
	                                   "--state hot,chain --csv %s/printed 2>/dev/null",
	                             folder),
	                 0);
	assert_non_null(strstr(output, "rms_norm on "));
	assert_non_null(strstr(output, "rope on "));
	assert_true(strstr(output, "rms_norm on ") < strstr(output, "\n64 "));
	assert_non_null(strstr(output, "\n896 "));
	assert_non_null(strstr(output, "\nA/A: "));
	snprintf(log, sizeof log, "%s/printed/%s/bench.csv", folder, device_info(device)->slug);
	assert_int_equal(csv_read(log, &table), STATUS_OK);
	for (int i = 0; i < table.n_rows; i++) {
		if (strcmp(csv_cell(&table, i, csv_column(&table, "shape")), "64"))
			continue;
		assert_int_equal(csv_number(&table, i, csv_column(&table, "us"), &us), STATUS_OK);
		if (!has_number(strstr(output, "\n64 ") + 1, us))
			fail_msg("%g is not in '%s'", us, output);
	}
	assert_in_range(table.n_rows, 4, 8);
	csv_close(&table);
}

/* Reports of bodies that succeed, fail and are filtered out. */
struct counted {
	double seconds;
	int n_run, n_reported;
	char error[64];
};

static enum status counted_body(void *user, double *seconds)
{
	struct counted *c = user;
	c->n_run++;
	*seconds = c->seconds;
	return c->seconds > 0 ? STATUS_OK
	                      : (fail)(STATUS_FAILED, "planted"); /* cmocka has a macro fail() */
}

static void counted_report(void *user, double seconds, const char *error)
{
	struct counted *c = user;
	c->n_reported++;
	assert_true(error || fabs(seconds - c->seconds) < 1e-12);
	snprintf(c->error, sizeof c->error, "%s", error ? error : "");
}

static void google_benchmark_runs_each_match_once(void **state)
{
	(void)state;
	struct counted c[] = {{.seconds = 1e-6}, {.seconds = 0}, {.seconds = 1}};
	int n_run;
	gbench_register("gemv/1x32/a=b c=d/cold", counted_body, &c[0]);
	gbench_register("gemv/1/2/64@9/a=b/cold", counted_body, &c[1]);
	gbench_register("gemv/1x32/a=b c=d/hot", counted_body, &c[2]);
	assert_int_equal(gbench_run("/(cold)", counted_report, &n_run), STATUS_OK);
	assert_int_equal(n_run, 2);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(c[i].n_run, i < 2);
		assert_int_equal(c[i].n_reported, i < 2);
	}
	assert_string_equal(c[0].error, "");
	assert_string_equal(c[1].error, "planted");
	assert_int_equal(gbench_run("^nothing$", counted_report, &n_run), STATUS_USAGE);
}

/* What both libraries of cuBLAS say, as text. */
static void what_libraries_say(void **state)
{
	char version[32];
	(void)state;
	cublas_format_version(131203, version);
	assert_string_equal(version, "13.12.3");
	assert_int_equal(cublas_check(CUBLAS_STATUS_SUCCESS, "cublasGemmEx"), STATUS_OK);
	assert_int_equal(cublas_check(15, "cublasLtMatmul"), STATUS_UNSUPPORTED);
	assert_string_equal(fail_message(), "cublasLtMatmul: cuBLAS status 15");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ceilings_are_bandwidths),
	        cmocka_unit_test(stream_agrees_with_its_reference),
	        cmocka_unit_test(every_state_has_a_figure),
	        cmocka_unit_test(wrong_results_are_not_timed),
	        cmocka_unit_test(impossible_bandwidth_is_not_reported),
	        cmocka_unit_test(a_beaten_ceiling_is_measured_again),
	        cmocka_unit_test(rows_have_the_documented_columns),
	        cmocka_unit_test(an_instance_equals_itself),
	        cmocka_unit_test(peers_of_a_host_are_named_absent),
	        cmocka_unit_test(chunks_know_the_sum_of_any_stretch),
	        cmocka_unit_test(every_way_reads_all),
	        cmocka_unit_test(a_size_is_read_once_in_a_run),
	        cmocka_unit_test(clocks_come_from_marks),
	        cmocka_unit_test(marks_wait_and_tell_the_time),
	        cmocka_unit_test(chains_need_an_output_like_the_input),
	        cmocka_unit_test(a_link_takes_what_the_last_one_wrote),
	        cmocka_unit_test(references_are_computed_when_needed),
	        cmocka_unit_test(prints_a_line_for_each_task),
	        cmocka_unit_test(compares_by_intervals),
	        cmocka_unit_test(a_failure_counts_as_slower),
	        cmocka_unit_test(comparing_needs_two_runs),
	        cmocka_unit_test(usage_errors_name_the_option),
	        cmocka_unit_test(lists_what_it_would_time),
	        cmocka_unit_test(what_libraries_say),
	        cmocka_unit_test(google_benchmark_runs_each_match_once),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
