/* What the bench says of kernels whose faults are planted, what it writes, and how it compares two
 * runs. No test depends on how long anything takes. */
#define _GNU_SOURCE
#include "bench/compare.h"
#include "bench/gbench.h"
#include "bench/measure.h"
#include "bench/problem.h"
#include "bench/report.h"

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
static struct ceilings ceilings;
static char folder[64];

static int open_all(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/test_bench.XXXXXX");
	if (!mkdtemp(folder) || device_open("auto", true, &device) != STATUS_OK)
		return -1;
	return ceilings_measure_over(device, 1, true, &ceilings) == STATUS_OK ? 0 : -1;
}

static int close_all(void **state)
{
	(void)state;
	char command[128];
	device_close(&device);
	snprintf(command, sizeof command, "rm -r %s", folder);
	return system(command);
}

static void ceilings_are_bandwidths(void **state)
{
	(void)state;
	assert_true(isfinite(ceilings.read.gbps) && ceilings.read.gbps > 0);
	assert_true(isfinite(ceilings.copy.gbps) && ceilings.copy.gbps > 0);
	assert_true(strstr(ceilings.read.config, "unroll=") != NULL);
	assert_float_equal(ceilings.read.bytes, 33554432, 0);
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
	static struct task task;
	struct meter *meter;
	task = (struct task){
	        .kernel = kernel, .shape = {.m = 64}, .case_text = "copy=0", .shape_text = "64"};
	struct measurement m = {.task = &task, .state = cache, .graph = true};
	assert_int_equal(meter_open(device, &ceilings, false, &meter), STATUS_OK);
	assert_int_equal(meter_measure(meter, &m), STATUS_OK);
	meter_close(&meter);
	meter_close(&meter);
	assert_int_equal(m.n, 1);
	return m;
}

static void every_state_has_a_figure(void **state)
{
	(void)state;
	for (int s = 0; s < N_CACHE_STATES; s++) {
		struct figure f = measure(kernel_find("stream"), s).figure[0];
		if (f.status != FIGURE_OK && f.status != FIGURE_SUSPECT)
			fail_msg("%s: %s", cache_state_names[s], f.reason);
		assert_true(f.timing.us_lo <= f.timing.us && f.timing.us <= f.timing.us_hi);
		assert_true(f.timing.samples > 0);
		assert_float_equal(f.bytes, 65536, 0);
		assert_float_equal(f.gbps, 65536 / f.timing.us / 1e3, 1e-9 * f.gbps);
		assert_string_equal(f.ceiling, "read");
		assert_float_equal(f.percent, 100 * f.gbps / ceilings.read.gbps, 1e-9 * f.percent);
		assert_false(f.tuned || f.compared);
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
}

/* The columns that other people's scripts read, in their order. */
static void rows_have_the_documented_columns(void **state)
{
	(void)state;
	static const char documented[] =
	        "device,kernel,case,shape,config,state,launch,us,us_lo,us_hi,samples,stop,bytes,"
	        "gbps,ceiling,"
	        "ceiling_gbps,percent,peer,peer_us,sm_mhz,watt,celsius,throttle,status,reason";
	struct measurement m = measure(kernel_find("stream"), STATE_HOT);
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
	assert_string_equal(last(&table, "state"), "hot");
	assert_string_equal(last(&table, "status"), "ok");
	assert_float_equal(atof(last(&table, "us")), m.figure[0].timing.us,
	                   1e-5 * m.figure[0].timing.us);
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
	struct meter *meter;
	assert_int_equal(meter_open(device, &ceilings, false, &meter), STATUS_OK);
	assert_int_equal(meter_self_test(meter, &comparison),
	                 STATUS_FAILED); /* nothing is set up */
	assert_int_equal(meter_measure(meter, &m), STATUS_OK);
	assert_int_equal(meter_self_test(meter, &comparison), STATUS_OK);
	assert_true(comparison.rounds > 0 && comparison.ratio.lo <= comparison.ratio.hi);
	meter_close(&meter);
}

static void peers_of_a_host_are_named_absent(void **state)
{
	(void)state;
	struct meter *meter;
	if (device_info(device)->target.sm)
		skip();
	assert_int_equal(meter_open(device, &ceilings, true, &meter), STATUS_OK);
	assert_non_null(strstr(meter_peers(meter), "no cuBLAS"));
	meter_close(&meter);
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
	        {"--state lukewarm", "--state: 'lukewarm' is not cold, hot or stream"},
	        {"--state ''", "--state"},
	        {"--kernel gemm", "no kernel 'gemm'"},
	        {"--dtype q9", "--dtype: no kernel takes 'q9'"},
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
	char output[8192];
	assert_int_equal(
	        run_command(output, sizeof output,
	                    BENCH " --list --kernel gemv --shape 64x32 --dtype q8_0 --state hot"),
	        0);
	assert_non_null(strstr(output, "gemv/64x32/w=q8_0 x=f32 epilogue=none/hot/graph\n"));
	assert_null(strstr(output, "cold"));
	assert_null(strstr(output, "bf16"));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ceilings_are_bandwidths),
	        cmocka_unit_test(stream_agrees_with_its_reference),
	        cmocka_unit_test(every_state_has_a_figure),
	        cmocka_unit_test(wrong_results_are_not_timed),
	        cmocka_unit_test(impossible_bandwidth_is_not_reported),
	        cmocka_unit_test(rows_have_the_documented_columns),
	        cmocka_unit_test(an_instance_equals_itself),
	        cmocka_unit_test(peers_of_a_host_are_named_absent),
	        cmocka_unit_test(compares_by_intervals),
	        cmocka_unit_test(a_failure_counts_as_slower),
	        cmocka_unit_test(comparing_needs_two_runs),
	        cmocka_unit_test(usage_errors_name_the_option),
	        cmocka_unit_test(lists_what_it_would_time),
	        cmocka_unit_test(google_benchmark_runs_each_match_once),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
