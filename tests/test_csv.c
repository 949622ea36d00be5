/* CSV files: what is read and written, and what happens when they are damaged or the disk is full.
 */
#define _GNU_SOURCE
#include "bench/csv.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64], path[96];

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/test_csv.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/file.csv", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void put(const char *text)
{
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fputs(text, file) >= 0, 1);
	assert_int_equal(fclose(file), 0);
}

static void assert_holds(const char *text)
{
	char held[4096];
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	held[fread(held, 1, sizeof held - 1, file)] = 0;
	fclose(file);
	assert_string_equal(held, text);
}

static void fails(enum status status, const char *part)
{
	assert_int_not_equal(status, STATUS_OK);
	if (!strstr(fail_message(), part))
		fail_msg("'%s' lacks '%s'", fail_message(), part);
}

static void append(const char *const *fields)
{
	struct csv_log log;
	assert_int_equal(csv_log_open(path, "kernel,config,us", 0, &log), STATUS_OK);
	assert_int_equal(csv_log_row(&log, fields), STATUS_OK);
	csv_log_close(&log);
}

static void rows_come_back(void **state)
{
	(void)state;
	struct csv_table table;
	unlink(path);
	append((const char *[]){"gemv", "warps=4 \"x\", y", "1.5"});
	append((const char *[]){"", "=", ""});
	assert_holds("kernel,config,us\ngemv,\"warps=4 \"\"x\"\", y\",1.5\n,=,\n");
	assert_int_equal(csv_read(path, &table), STATUS_OK);
	assert_int_equal(table.n_rows, 2);
	assert_int_equal(table.n_columns, 3);
	assert_string_equal(csv_cell(&table, 0, csv_column(&table, "config")), "warps=4 \"x\", y");
	assert_string_equal(csv_cell(&table, 1, 0), "");
	assert_int_equal(csv_column(&table, "peer"), -1);
	assert_string_equal(csv_cell(&table, 0, -1), "");
	double us;
	assert_int_equal(csv_number(&table, 0, 2, &us), STATUS_OK);
	assert_float_equal(us, 1.5, 0);
	assert_int_equal(csv_number(&table, 1, 2, &us), STATUS_OK);
	assert_true(isnan(us));
	fails(csv_number(&table, 1, 1, &us), "file.csv:3: config");
	csv_close(&table);
	csv_close(&table);
}

static void a_torn_last_row_is_cut_off(void **state)
{
	(void)state;
	put("kernel,config,us\ngemv,a,1\ngemv,b");
	append((const char *[]){"rope", "c", "3"});
	assert_holds("kernel,config,us\ngemv,a,1\nrope,c,3\n");
	put("kernel,conf"); /* torn in the header */
	append((const char *[]){"rope", "c", "3"});
	assert_holds("kernel,config,us\nrope,c,3\n");
}

static void a_torn_last_row_is_left_out_while_written(void **state)
{
	(void)state;
	struct csv_table table;
	put("kernel,config,us\ngemv,a,1\ngemv,b");
	assert_int_equal(csv_read_log(path, &table), STATUS_OK);
	assert_int_equal(table.n_rows, 1);
	csv_close(&table);
	fails(csv_read(path, &table), "file.csv:3");
	assert_holds("kernel,config,us\ngemv,a,1\ngemv,b");
}

static void damage_is_named(void **state)
{
	(void)state;
	struct csv_table table;
	const struct {
		const char *text, *message;
	} damaged[] = {
	        {"", "no header"},
	        {"a,b\n1,2\n1\n", "file.csv:3: 1 fields, the header has 2"},
	        {"a,b\n1,2,3\n", "file.csv:2: 3 fields, the header has 2"},
	        {"a,b\n1,\"2\n", "file.csv:2"},
	        {"a,b\n1,2\"3\"\n", "file.csv:2"},
	};
	for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
		put(damaged[i].text);
		fails(csv_read(path, &table), damaged[i].message);
		csv_close(&table);
	}
	unlink(path);
	fails(csv_read(path, &table), "file.csv: No such file");
}

static void another_header_is_refused(void **state)
{
	(void)state;
	struct csv_log log;
	const char *const others[] = {"kernel,config,us,reason\n", "kernel,conf\n",
	                              "kernel,config,ms\nx,y,z\n", "no line break"};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		put(others[i]);
		fails(csv_log_open(path, "kernel,config,us", 0, &log),
		      "header is not 'kernel,config,us'");
		assert_holds(others[i]);
	}
	put("kernel,con"); /* torn while it was written */
	assert_int_equal(csv_log_open(path, "kernel,config,us", 0, &log), STATUS_OK);
	assert_holds("kernel,config,us\n");
	csv_log_close(&log);
}

/* Rows are kept; what they lack is empty; a torn one goes. */
static void later_columns_are_added(void **state)
{
	(void)state;
	struct csv_log log;
	put("kernel,config\ngemv,\"a,b\"\nrope,c\ntorn");
	assert_int_equal(csv_log_open(path, "kernel,config,us,reason", 0, &log), STATUS_OK);
	assert_int_equal(csv_log_row(&log, (const char *[]){"x", "y", "1", "2"}), STATUS_OK);
	csv_log_close(&log);
	assert_holds("kernel,config,us,reason\ngemv,\"a,b\",,\nrope,c,,\nx,y,1,2\n");
	put("kernel,config\n");
	assert_int_equal(csv_log_open(path, "kernel,config,us", 0, &log), STATUS_OK);
	csv_log_close(&log);
	assert_holds("kernel,config,us\n");
}

static void line_breaks_are_refused(void **state)
{
	(void)state;
	struct csv_log log;
	unlink(path);
	assert_int_equal(csv_log_open(path, "a,b", 0, &log), STATUS_OK);
	fails(csv_log_row(&log, (const char *[]){"1", "two\nlines"}), "field 2");
	csv_log_close(&log);
	assert_holds("a,b\n");
}

static void one_writer_at_a_time(void **state)
{
	(void)state;
	struct csv_log first, second;
	unlink(path);
	assert_int_equal(csv_log_open(path, "a,b", 1, &first), STATUS_OK);
	fails(csv_log_open(path, "a,b", 1, &second), "another process is writing it");
	csv_log_close(&first);
	assert_int_equal(csv_log_open(path, "a,b", 1, &second), STATUS_OK);
	csv_log_close(&second);
}

/* The row that does not fit leaves no trace, and the file stays usable. */
static void a_full_disk_costs_the_row_alone(void **state)
{
	(void)state;
	struct csv_log log;
	struct rlimit unlimited, small = {.rlim_cur = 30};
	unlink(path);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	small.rlim_max = unlimited.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(csv_log_open(path, "kernel,config,us", 0, &log), STATUS_OK);
	assert_int_equal(csv_log_row(&log, (const char *[]){"a", "b", "1"}), STATUS_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	enum status status =
	        csv_log_row(&log, (const char *[]){"gemv", "a long configuration", "2"});
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
	fails(status, "file.csv: cannot append a row");
	assert_holds("kernel,config,us\na,b,1\n");
	assert_int_equal(csv_log_row(&log, (const char *[]){"c", "d", "3"}), STATUS_OK);
	assert_holds("kernel,config,us\na,b,1\nc,d,3\n");
	csv_log_close(&log);
}

static void no_space_for_the_header(void **state)
{
	(void)state;
	struct csv_log log;
	fails(csv_log_open("/dev/full", "a,b", 0, &log), "/dev/full: No space left");
}

static void whole_files_replace_or_leave(void **state)
{
	(void)state;
	put("old");
	assert_int_equal(write_file_atomically(path, "new\n", 4), STATUS_OK);
	assert_holds("new\n");
	struct rlimit unlimited, small = {.rlim_cur = 2};
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	small.rlim_max = unlimited.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	enum status status = write_file_atomically(path, "longer\n", 7);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
	fails(status, "file.csv");
	assert_holds("new\n");
	fails(write_file_atomically(folder, "x", 1), "not a regular file");
	unlink(path);
	assert_int_equal(rmdir(folder), 0); /* no temporary file is left in it */
	assert_int_equal(mkdir(folder, 0700), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(rows_come_back),
	        cmocka_unit_test(a_torn_last_row_is_cut_off),
	        cmocka_unit_test(a_torn_last_row_is_left_out_while_written),
	        cmocka_unit_test(damage_is_named),
	        cmocka_unit_test(another_header_is_refused),
	        cmocka_unit_test(later_columns_are_added),
	        cmocka_unit_test(line_breaks_are_refused),
	        cmocka_unit_test(one_writer_at_a_time),
	        cmocka_unit_test(a_full_disk_costs_the_row_alone),
	        cmocka_unit_test(no_space_for_the_header),
	        cmocka_unit_test(whole_files_replace_or_leave),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
