#include "bench/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/csv.h"
#include "bench/report.h"

/* What tells measurements apart. Configurations may differ: a tuned row is still the tuned row
 * after tuning again. */
static const enum bench_column KEY[] = {BENCH_kernel, BENCH_case,   BENCH_shape,
                                        BENCH_state,  BENCH_launch, BENCH_choice};
enum { N_KEY = sizeof KEY / sizeof *KEY };

/* A bench.csv with its columns by our numbers. */
struct run {
	struct csv_table table;
	int column[N_BENCH_COLUMNS]; /* -1: the file lacks it */
};

static enum status run_open(const char *folder, struct run *run)
{
	enum status status;
	char path[4096];
	snprintf(path, sizeof path, "%s/bench.csv", folder);
	TRY(csv_read_log(path, &run->table));
	for (int c = 0; c < N_BENCH_COLUMNS; c++) {
		run->column[c] = csv_column(&run->table, bench_column_names[c]);
		if (run->column[c] < 0 && c <= BENCH_choice)
			return fail(STATUS_FAILED, "%s: no column '%s'", path,
			            bench_column_names[c]);
	}
done:
	return status;
}

static const char *cell(const struct run *run, int row, enum bench_column column)
{
	return csv_cell(&run->table, row, run->column[column]);
}

static bool same_key(const struct run *a, int row_a, const struct run *b, int row_b)
{
	for (int k = 0; k < N_KEY; k++)
		if (strcmp(cell(a, row_a, KEY[k]), cell(b, row_b, KEY[k])))
			return false;
	return true;
}

/* The last row below `end` with the key of a row; -1 when there is none. */
static int find_last(const struct run *in, int end, const struct run *like, int row)
{
	for (int i = end; i-- > 0;)
		if (same_key(in, i, like, row))
			return i;
	return -1;
}

static bool newest(const struct run *run, int row)
{
	return find_last(run, run->table.n_rows, run, row) == row;
}

static enum status read_interval(const struct run *run, int row, struct interval *interval)
{
	enum status status;
	TRY(csv_number(&run->table, row, run->column[BENCH_us], &interval->median));
	TRY(csv_number(&run->table, row, run->column[BENCH_us_lo], &interval->lo));
	TRY(csv_number(&run->table, row, run->column[BENCH_us_hi], &interval->hi));
done:
	return status;
}

/* Keys hold no quotes; a comma may not be in them either. */
static void print_row(const struct run *run, int row, const char *verdict, const struct interval *a,
                      const struct interval *b, const struct interval *ratio)
{
	for (int k = 0; k < N_KEY; k++)
		printf("%s,", cell(run, row, KEY[k]));
	printf("%s", verdict);
	const double numbers[] = {a ? a->median : NAN, b ? b->median : NAN,
	                          ratio ? ratio->median : NAN, ratio ? ratio->lo : NAN,
	                          ratio ? ratio->hi : NAN};
	for (int i = 0; i < 5; i++)
		isfinite(numbers[i]) ? printf(",%.6g", numbers[i]) : printf(",");
	printf("\n");
}

/* Compares two rows of one key; counts regressions. */
static enum status compare_rows(const struct run *a, int row_a, const struct run *b, int row_b,
                                double noise, int *n_slower)
{
	enum status status;
	struct interval us_a, us_b;
	bool ok_a = !strcmp(cell(a, row_a, BENCH_status), "ok");
	bool ok_b = !strcmp(cell(b, row_b, BENCH_status), "ok");
	TRY(read_interval(a, row_a, &us_a));
	TRY(read_interval(b, row_b, &us_b));
	if (!ok_a || !ok_b) {
		print_row(a, row_a, cell(ok_a ? b : a, ok_a ? row_b : row_a, BENCH_status), &us_a,
		          &us_b, NULL);
		*n_slower += ok_a;
		goto done;
	}
	struct comparison c = compare_intervals(&us_a, &us_b, noise);
	print_row(a, row_a, verdict_name(c.verdict), &us_a, &us_b, &c.ratio);
	*n_slower += c.verdict == VERDICT_SLOWER;
done:
	return status;
}

enum status compare_folders(const char *folder_a, const char *folder_b, double noise)
{
	enum status status;
	struct run a = {0}, b = {0};
	int n_slower = 0, n_both = 0;
	TRY(run_open(folder_a, &a));
	TRY(run_open(folder_b, &b));
	for (int k = 0; k < N_KEY; k++)
		printf("%s,", bench_column_names[KEY[k]]);
	printf("verdict,us_a,us_b,ratio,ratio_lo,ratio_hi\n");
	for (int i = 0; i < a.table.n_rows; i++) {
		if (!newest(&a, i))
			continue;
		int j = find_last(&b, b.table.n_rows, &a, i);
		if (j < 0) {
			print_row(&a, i, "only in A", NULL, NULL, NULL);
			continue;
		}
		n_both++;
		TRY(compare_rows(&a, i, &b, j, noise, &n_slower));
	}
	for (int j = 0; j < b.table.n_rows; j++)
		if (newest(&b, j) && find_last(&a, a.table.n_rows, &b, j) < 0)
			print_row(&b, j, "only in B", NULL, NULL, NULL);
	if (!n_both)
		status = fail(STATUS_FAILED, "%s and %s have no measurement in common", folder_a,
		              folder_b);
	else if (n_slower)
		status = fail(STATUS_VIOLATION,
		              "%d of %d measurements are slower in %s or failed there", n_slower,
		              n_both, folder_b);
done:
	csv_close(&a.table);
	csv_close(&b.table);
	return status;
}
