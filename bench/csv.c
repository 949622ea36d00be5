#define _GNU_SOURCE
#include "bench/csv.h"

#include <csv.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/replace.h"

enum { ROW_BYTES = 8192 };

struct reader {
	struct csv_table *table;
	size_t n_cells, capacity;
	int line, fields; /* of the row being read */
	enum status status;
};

static bool grow_cells(struct reader *r)
{
	if (r->n_cells < r->capacity)
		return true;
	size_t capacity = r->capacity ? 2 * r->capacity : 256;
	char **cells = realloc(r->table->cell, capacity * sizeof *cells);
	if (!cells)
		return false;
	r->table->cell = cells;
	r->capacity = capacity;
	return true;
}

static void on_field(void *text, size_t bytes, void *user)
{
	struct reader *r = user;
	if (r->status != STATUS_OK)
		return;
	r->fields++;
	char *copy = strndup(text ? text : "", bytes);
	if (!copy || !grow_cells(r)) {
		free(copy);
		r->status = fail(STATUS_NO_MEMORY, "%s: out of memory", r->table->path);
		return;
	}
	r->table->cell[r->n_cells++] = copy;
}

static void on_row(int terminator, void *user)
{
	struct reader *r = user;
	struct csv_table *t = r->table;
	(void)terminator;
	r->line++;
	if (r->status != STATUS_OK)
		return;
	if (!t->n_columns) {
		t->n_columns = r->fields;
		t->column = t->cell;
		t->cell = NULL;
		r->n_cells = r->capacity = 0;
	} else if (r->fields != t->n_columns) {
		r->status = fail(STATUS_FAILED, "%s:%d: %d fields, the header has %d", t->path,
		                 r->line, r->fields, t->n_columns);
	} else {
		t->n_rows++;
	}
	r->fields = 0;
}

/* Where the last complete row ends, -1 on an error. */
static off_t end_of_rows(int file, off_t end)
{
	char last;
	for (; end > 0; end--) {
		if (pread(file, &last, 1, end - 1) != 1)
			return -1;
		if (last == '\n')
			break;
	}
	return end;
}

/* `limit` is the number of bytes to read. */
static enum status read_up_to(const char *path, off_t limit, struct csv_table *table)
{
	enum status status = STATUS_OK;
	struct csv_parser parser;
	bool parsing = false;
	FILE *file = NULL;
	char chunk[65536];
	size_t n;
	*table = (struct csv_table){.path = strdup(path)};
	struct reader reader = {.table = table};
	if (!table->path || csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL)) {
		status = fail(STATUS_NO_MEMORY, "%s: out of memory", path);
		goto done;
	}
	parsing = true;
	file = fopen(path, "rb");
	if (!file) {
		status = fail_errno(STATUS_FAILED, "%s", path);
		goto done;
	}
	for (; (n = fread(chunk, 1, limit < (off_t)sizeof chunk ? (size_t)limit : sizeof chunk,
	                  file)) > 0;
	     limit -= (off_t)n)
		if (csv_parse(&parser, chunk, n, on_field, on_row, &reader) != n)
			break;
	if (ferror(file)) {
		status = fail_errno(STATUS_FAILED, "%s", path);
		goto done;
	}
	if (csv_error(&parser) || csv_fini(&parser, on_field, on_row, &reader)) {
		status = fail(STATUS_FAILED, "%s:%d: %s", path, reader.line + 1,
		              csv_strerror(csv_error(&parser)));
		goto done;
	}
	TRY(reader.status);
	if (!table->n_columns)
		status = fail(STATUS_FAILED, "%s: no header row", path);
done:
	if (parsing)
		csv_free(&parser);
	if (file)
		fclose(file);
	if (status != STATUS_OK) {
		for (size_t i = table->n_columns ? (size_t)table->n_rows * (size_t)table->n_columns
		                                 : 0;
		     i < reader.n_cells; i++)
			free(table->cell[i]); /* of a row that was not counted */
		csv_close(table);
	}
	return status;
}

enum status csv_read(const char *path, struct csv_table *table)
{
	return read_up_to(path, INT64_MAX, table);
}

enum status csv_read_log(const char *path, struct csv_table *table)
{
	struct stat info;
	int file = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = -1;
	*table = (struct csv_table){0};
	if (file >= 0 && !fstat(file, &info))
		end = end_of_rows(file, info.st_size);
	enum status status = end < 0 ? fail_errno(STATUS_FAILED, "%s", path) : STATUS_OK;
	if (file >= 0)
		close(file);
	return status == STATUS_OK ? read_up_to(path, end, table) : status;
}

void csv_close(struct csv_table *table)
{
	for (int i = 0; i < table->n_columns; i++)
		free(table->column[i]);
	for (size_t i = 0; i < (size_t)table->n_rows * (size_t)table->n_columns; i++)
		free(table->cell[i]);
	free(table->column);
	free(table->cell);
	free(table->path);
	*table = (struct csv_table){0};
}

int csv_column(const struct csv_table *table, const char *name)
{
	for (int i = 0; i < table->n_columns; i++)
		if (!strcmp(table->column[i], name))
			return i;
	return -1;
}

const char *csv_cell(const struct csv_table *table, int row, int column)
{
	return column < 0 ? ""
	                  : table->cell[(size_t)row * (size_t)table->n_columns + (size_t)column];
}

enum status csv_number(const struct csv_table *table, int row, int column, double *value)
{
	const char *text = csv_cell(table, row, column);
	char *end;
	*value = NAN;
	if (!text[0])
		return STATUS_OK;
	*value = strtod(text, &end);
	if (*end)
		return fail(STATUS_FAILED, "%s:%d: %s: '%s' is not a number", table->path, row + 2,
		            table->column[column], text);
	return STATUS_OK;
}

/* The file must start with the header, or be what a torn write left of one. */
static enum status check_header(const struct csv_log *log, const char *columns)
{
	char header[ROW_BYTES];
	struct stat info;
	size_t n = strlen(columns), held = 0;
	if (!fstat(log->file, &info))
		held = info.st_size > (off_t)n ? n + 1 : (size_t)info.st_size;
	if (pread(log->file, header, held, 0) != (ssize_t)held)
		return fail_errno(STATUS_FAILED, "%s", log->path);
	if (memcmp(header, columns, held > n ? n : held) || (held > n && header[n] != '\n'))
		return fail(STATUS_FAILED, "%s: its header is not '%s'", log->path, columns);
	return STATUS_OK;
}

/* Cuts off what follows the last line break. */
static enum status cut_torn_tail(struct csv_log *log, off_t *size)
{
	struct stat info;
	if (fstat(log->file, &info))
		return fail_errno(STATUS_FAILED, "%s", log->path);
	off_t end = end_of_rows(log->file, info.st_size);
	if (end < 0)
		return fail_errno(STATUS_FAILED, "%s", log->path);
	if (end != info.st_size && ftruncate(log->file, end))
		return fail_errno(STATUS_FAILED, "%s: cannot cut a torn last row", log->path);
	*size = end;
	return STATUS_OK;
}

/* A header line that `columns` goes on from; the number of columns that it lacks, else 0. */
static int missing_columns(const char *text, size_t header, const char *columns)
{
	int n = 0;
	if (header >= strlen(columns) || memcmp(text, columns, header) || columns[header] != ',')
		return 0;
	for (const char *c = columns + header; *c; c++)
		n += *c == ',';
	return n;
}

/* A file without the last columns is replaced by one whose rows end with as many empty fields. */
static enum status add_columns(const char *path, const char *columns)
{
	enum status status = STATUS_OK;
	struct stat info;
	char *text = NULL, *wide = NULL;
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || fstat(file, &info) || info.st_size == 0)
		goto done;
	if (flock(file, LOCK_EX | LOCK_NB)) /* its writer has added them */
		goto done;
	const size_t bytes = (size_t)info.st_size;
	text = malloc(bytes);
	if (!text || read(file, text, bytes) != (ssize_t)bytes) {
		status = fail_errno(STATUS_FAILED, "%s", path);
		goto done;
	}
	const char *end = memchr(text, '\n', bytes);
	const int missing = end ? missing_columns(text, (size_t)(end - text), columns) : 0;
	if (!missing)
		goto done;
	size_t rows = 0, n = strlen(columns);
	for (size_t i = 0; i < bytes; i++)
		rows += text[i] == '\n';
	wide = malloc(n + 1 + bytes + rows * (size_t)missing);
	if (!wide) {
		status = fail(STATUS_NO_MEMORY, "%s: no memory", path);
		goto done;
	}
	memcpy(wide, columns, n);
	wide[n++] = '\n';
	for (const char *row = end + 1; (end = memchr(row, '\n', (size_t)(text + bytes - row)));
	     row = end + 1) {
		memcpy(wide + n, row, (size_t)(end - row));
		n += (size_t)(end - row);
		memset(wide + n, ',', (size_t)missing);
		n += (size_t)missing;
		wide[n++] = '\n';
	}
	TRY(write_file_atomically(path, wide, n));
done:
	if (file >= 0)
		close(file);
	free(text);
	free(wide);
	return status;
}

enum status csv_log_open(const char *path, const char *columns, int exclusive, struct csv_log *log)
{
	enum status status = STATUS_OK;
	off_t size = 0;
	size_t n = strlen(columns);
	char header[ROW_BYTES];
	*log = (struct csv_log){.path = strdup(path), .file = -1, .n_columns = 1};
	for (const char *c = columns; *c; c++)
		log->n_columns += *c == ',';
	TRY(add_columns(path, columns));
	log->file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (log->file < 0) {
		status = fail_errno(STATUS_FAILED, "%s", path);
		goto done;
	}
	if (exclusive && flock(log->file, LOCK_EX | LOCK_NB)) {
		status = fail(STATUS_FAILED, "%s: another process is writing it", path);
		goto done;
	}
	TRY(check_header(log, columns));
	TRY(cut_torn_tail(log, &size));
	if (size == 0) {
		snprintf(header, sizeof header, "%s\n", columns);
		if (write(log->file, header, n + 1) != (ssize_t)n + 1)
			status = fail_errno(STATUS_FAILED, "%s", path);
	}
done:
	if (status != STATUS_OK)
		csv_log_close(log);
	return status;
}

enum status csv_log_row(struct csv_log *log, const char *const *fields)
{
	char row[ROW_BYTES];
	size_t n = 0;
	for (int i = 0; i < log->n_columns; i++) {
		size_t bytes = strlen(fields[i]);
		/* quoted, each character at most doubled */
		if (n + 2 * bytes + 4 > sizeof row || strpbrk(fields[i], "\r\n"))
			return fail(STATUS_FAILED, "%s: field %d is too long or has a line break",
			            log->path, i + 1);
		if (i)
			row[n++] = ',';
		if (strpbrk(fields[i], ",\"")) {
			n += csv_write(row + n, sizeof row - n, fields[i], bytes);
		} else {
			memcpy(row + n, fields[i], bytes);
			n += bytes;
		}
	}
	row[n++] = '\n';
	off_t before = lseek(log->file, 0, SEEK_END);
	ssize_t written = write(log->file, row, n);
	if (written == (ssize_t)n)
		return STATUS_OK;
	if (written >= 0)
		errno = ENOSPC;
	enum status status = fail_errno(STATUS_FAILED, "%s: cannot append a row", log->path);
	if (written > 0 && before >= 0 && ftruncate(log->file, before))
		status = fail_errno(STATUS_FAILED, "%s: cannot append a row or cut it", log->path);
	return status;
}

void csv_log_close(struct csv_log *log)
{
	if (log->path && log->file >= 0)
		close(log->file);
	free(log->path);
	*log = (struct csv_log){.file = -1};
}

enum status make_folders(const char *path)
{
	char part[4096];
	size_t n = strlen(path);
	if (n >= sizeof part)
		return fail(STATUS_FAILED, "%s: the name is too long", path);
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i])
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdir(part, 0755) && errno != EEXIST)
			return fail_errno(STATUS_FAILED, "%s", part);
	}
	return STATUS_OK;
}

enum status csv_log_open_for(const char *folder, const char *device, const char *name,
                             const char *columns, struct csv_log *log)
{
	enum status status;
	char path[CSV_PATH];
	if (snprintf(path, sizeof path, "%s/%s/%s", folder, device, name) >= CSV_PATH)
		return fail(STATUS_FAILED, "%s: the name is too long", folder);
	*strrchr(path, '/') = 0;
	TRY(make_folders(path));
	path[strlen(path)] = '/';
	TRY(csv_log_open(path, columns, 0, log));
done:
	return status;
}

enum status check_replaceable(const char *path)
{
	struct replacement r;
	enum status status = replacement_open(path, &r);
	replacement_close(&r);
	return status;
}

enum status write_file_atomically(const char *path, const char *text, size_t bytes)
{
	enum status status;
	struct replacement r;
	TRY(replacement_open(path, &r));
	if (fwrite(text, 1, bytes, r.file) != bytes)
		TRY(fail_errno(STATUS_FAILED, "%s", path));
	TRY(replacement_commit(&r));
done:
	replacement_close(&r);
	return status;
}
