/* CSV files with one header row, through libcsv. Fields contain no line breaks. */
#ifndef BENCH_CSV_H
#define BENCH_CSV_H

#include <stddef.h>

#include "core/status.h"

#define CSV_MAX_FIELDS 64

/* A file in memory. cell[row * n_columns + column], never NULL. */
struct csv_table {
	char *path;
	int n_columns, n_rows; /* rows without the header */
	char **column;         /* names */
	char **cell;
};

/* Every row must have as many fields as the header; the message names file and line. */
MUST_CHECK enum status csv_read(const char *path, struct csv_table *table);
/* The same for a file that another process may be appending to: a torn last row is left out. */
MUST_CHECK enum status csv_read_log(const char *path, struct csv_table *table);
void csv_close(struct csv_table *table);
/* Index of a column, -1 when the table lacks it. */
int csv_column(const struct csv_table *table, const char *name);
const char *csv_cell(const struct csv_table *table, int row, int column);
/* Parses a cell as a number; "" gives NaN; the message names file, line and column. */
MUST_CHECK enum status csv_number(const struct csv_table *table, int row, int column,
                                  double *value);

/* An append-only file: a row is one write(2), so it is there entirely or, after a crash, as a torn
 * tail that the next open cuts off. Writes the header when the file is new or empty; a file that
 * lacks the last columns gets them, empty; fails when an existing header differs otherwise. */
struct csv_log {
	char *path;
	int file; /* descriptor */
	int n_columns;
};

/* `columns` is "a,b,c". `exclusive` takes a lock so that two writers cannot share the file. */
MUST_CHECK enum status csv_log_open(const char *path, const char *columns, int exclusive,
                                    struct csv_log *log);
/* The same, not exclusive, of folder/device/name, shorter than CSV_PATH; makes the folders.
 * `device` is a slug. */
enum { CSV_PATH = 4096 };
MUST_CHECK enum status csv_log_open_for(const char *folder, const char *device, const char *name,
                                        const char *columns, struct csv_log *log);
/* n_columns texts. */
MUST_CHECK enum status csv_log_row(struct csv_log *log, const char *const *fields);
void csv_log_close(struct csv_log *log);

/* Creates a folder and its parents. */
MUST_CHECK enum status make_folders(const char *path);
/* Whether write_file_atomically() could write here, asked before hours of work. */
MUST_CHECK enum status check_replaceable(const char *path);
/* Writes a whole file: temporary file in the same folder, fsync, rename. */
MUST_CHECK enum status write_file_atomically(const char *path, const char *text, size_t bytes);

#endif
