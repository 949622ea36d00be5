#define _POSIX_C_SOURCE 200809L
#include "tuner/journal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sources.h"

#define COLUMN_TEXT(name) "," #name

static const char columns[] = JOURNAL_COLUMNS(COLUMN_TEXT);

static uint64_t hash_identity(const char *const *identity)
{
	uint64_t hash = FNV1A_START;
	for (int i = 0; i < N_JOURNAL_IDENTITY; i++)
		hash = fnv1a(hash, identity[i], strlen(identity[i]) + 1);
	return hash;
}

static bool same_identity(const char *const *a, const char *const *b)
{
	for (int i = 0; i < N_JOURNAL_IDENTITY; i++)
		if (strcmp(a[i], b[i]))
			return false;
	return true;
}

/* The slot that holds this identity, or the empty one where it belongs. */
static int *find_slot(const struct journal *journal, const char *const *identity)
{
	size_t mask = (size_t)journal->n_slots - 1;
	size_t at = hash_identity(identity) & mask;
	while (journal->slots[at] &&
	       !same_identity(journal->rows[journal->slots[at] - 1].cell, identity))
		at = (at + 1) & mask;
	return &journal->slots[at];
}

/* Room for one more row, the hash table at most half full. */
static enum status grow(struct journal *journal)
{
	if (journal->n_rows < journal->capacity)
		return STATUS_OK;
	int capacity = journal->capacity ? 2 * journal->capacity : 512;
	struct journal_row *rows = realloc(journal->rows, (size_t)capacity * sizeof *rows);
	if (rows)
		journal->rows = rows;
	int *slots = calloc((size_t)capacity * 2, sizeof *slots);
	if (!rows || !slots) {
		free(slots);
		return fail(STATUS_NO_MEMORY, "%s: out of memory", journal->path);
	}
	free(journal->slots);
	journal->slots = slots;
	journal->n_slots = 2 * capacity;
	journal->capacity = capacity;
	for (int i = 0; i < journal->n_rows; i++)
		*find_slot(journal, rows[i].cell) = i + 1;
	return STATUS_OK;
}

/* Copies the cells into one block, owned by the row's first cell. */
static enum status remember(struct journal *journal, const char *const cell[N_JOURNAL_COLUMNS],
                            int line)
{
	enum status status;
	size_t bytes = 0;
	for (int i = 0; i < N_JOURNAL_COLUMNS; i++)
		bytes += strlen(cell[i]) + 1;
	char *text = NULL;
	TRY(grow(journal));
	text = malloc(bytes);
	if (!text)
		return fail(STATUS_NO_MEMORY, "%s: out of memory", journal->path);
	struct journal_row *row = &journal->rows[journal->n_rows];
	row->line = line;
	for (int i = 0; i < N_JOURNAL_COLUMNS; i++) {
		row->cell[i] = strcpy(text, cell[i]);
		text += strlen(text) + 1;
	}
	*find_slot(journal, row->cell) = journal->n_rows + 1;
	journal->n_rows++;
done:
	return status;
}

static enum status load(struct journal *journal)
{
	static const char *const names[] = {
#define COLUMN_NAME(name) #name,
	        JOURNAL_COLUMNS(COLUMN_NAME)};
	enum status status;
	struct csv_table table = {0};
	int column[N_JOURNAL_COLUMNS];
	TRY(csv_read_log(journal->path, &table));
	for (int i = 0; i < N_JOURNAL_COLUMNS; i++) {
		column[i] = csv_column(&table, names[i]);
		if (column[i] < 0 && i <= JOURNAL_reason) {
			status = fail(STATUS_FAILED, "%s: no column '%s'", journal->path, names[i]);
			goto done;
		}
	}
	for (int r = 0; r < table.n_rows; r++) {
		const char *cell[N_JOURNAL_COLUMNS];
		for (int i = 0; i < N_JOURNAL_COLUMNS; i++)
			cell[i] = csv_cell(&table, r, column[i]);
		TRY(remember(journal, cell, r + 2));
	}
done:
	csv_close(&table);
	return status;
}

enum status journal_open(const char *path, struct journal *journal)
{
	enum status status;
	char folder[4096];
	*journal = (struct journal){.path = strdup(path), .log.file = -1};
	const char *slash = strrchr(path, '/');
	if (slash) {
		snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
		TRY(make_folders(folder));
	}
	TRY(csv_log_open(path, columns + 1, 1, &journal->log));
	TRY(load(journal));
done:
	if (status != STATUS_OK)
		journal_close(journal);
	return status;
}

enum status journal_read(const char *path, struct journal *journal)
{
	*journal = (struct journal){.path = strdup(path), .log.file = -1};
	enum status status = load(journal);
	if (status != STATUS_OK)
		journal_close(journal);
	return status;
}

void journal_close(struct journal *journal)
{
	for (int i = 0; i < journal->n_rows; i++)
		free((char *)journal->rows[i].cell[0]);
	free(journal->rows);
	free(journal->slots);
	free(journal->path);
	csv_log_close(&journal->log);
	*journal = (struct journal){.log.file = -1};
}

const struct journal_row *journal_find(const struct journal *journal, const char *const *identity)
{
	int slot = journal->n_slots ? *find_slot(journal, identity) : 0;
	return slot ? &journal->rows[slot - 1] : NULL;
}

enum status journal_append(struct journal *journal, const char *const cell[N_JOURNAL_COLUMNS])
{
	enum status status;
	const char *text[N_JOURNAL_COLUMNS];
	for (int i = 0; i < N_JOURNAL_COLUMNS; i++)
		text[i] = cell[i] ? cell[i] : "";
	TRY(csv_log_row(&journal->log, text));
	int line = journal->n_rows ? journal->rows[journal->n_rows - 1].line + 1 : 2;
	TRY(remember(journal, text, line));
done:
	return status;
}

double journal_number(const struct journal_row *row, enum journal_column column)
{
	char *end;
	double value = strtod(row->cell[column], &end);
	return end == row->cell[column] || *end ? NAN : value;
}

static void format_hash(uint64_t hash, char text[17])
{
	snprintf(text, 17, "%016llx", (unsigned long long)hash);
}

static void set_key(struct provenance *provenance)
{
	char text[PROVENANCE_TEXT];
	provenance_format(provenance, text);
	format_hash(fnv1a(FNV1A_START, text, strlen(text)), provenance->key);
}

void provenance_of(const struct kernel *kernel, const struct device_info *info,
                   struct provenance *provenance)
{
	provenance->info = *info;
	source_hash(kernel->name, provenance->source_hash);
	space_hash(kernel->params, kernel->n_params, provenance->space_hash);
	set_key(provenance);
}

/* Characters that would end a value, or a comment or string of the header, become '_'. */
static void clean(const char *from, char to[64])
{
	snprintf(to, 64, "%s", from);
	for (char *c = to; *c; c++)
		if (strchr(";=\"\\*/", *c) || (unsigned char)*c < ' ')
			*c = '_';
}

void provenance_format(const struct provenance *provenance, char text[PROVENANCE_TEXT])
{
	const struct device_info *info = &provenance->info;
	char name[64], slug[64], driver[64], toolkit[64];
	clean(info->name, name);
	clean(info->slug, slug);
	clean(info->driver, driver);
	clean(info->toolkit, toolkit);
	snprintf(text, PROVENANCE_TEXT,
	         "device=%s; slug=%s; sm=%d; lanes=%d; sm_count=%d; bus_gbps=%.1f; driver=%s; "
	         "toolkit=%s; sources=%s; space=%s",
	         name, slug, info->target.sm, info->target.lanes, info->sm_count, info->bus_gbps,
	         driver, toolkit, provenance->source_hash, provenance->space_hash);
}

enum status provenance_parse(const char *text, struct provenance *provenance)
{
	char again[PROVENANCE_TEXT];
	struct device_info *info = &provenance->info;
	*provenance = (struct provenance){0};
	int n = sscanf(
	        text,
	        "device=%63[^;]; slug=%63[^;]; sm=%9d; lanes=%9d; sm_count=%9d; bus_gbps=%lf; "
	        "driver=%31[^;]; toolkit=%31[^;]; sources=%16[0-9a-f]; space=%16[0-9a-f]",
	        info->name, info->slug, &info->target.sm, &info->target.lanes, &info->sm_count,
	        &info->bus_gbps, info->driver, info->toolkit, provenance->source_hash,
	        provenance->space_hash);
	provenance_format(provenance, again);
	if (n != 10 || strcmp(again, text))
		return fail(STATUS_FAILED, "'%s' is no provenance", text);
	set_key(provenance);
	return STATUS_OK;
}

enum status journal_key(struct journal *journal, const struct kernel *kernel,
                        const struct provenance *provenance)
{
	char text[PROVENANCE_TEXT];
	const char *cell[N_JOURNAL_COLUMNS] = {0};
	const char *identity[N_JOURNAL_IDENTITY] = {provenance->key, kernel->name, "", "", "", ""};
	if (journal_find(journal, identity))
		return STATUS_OK;
	provenance_format(provenance, text);
	cell[JOURNAL_key] = provenance->key;
	cell[JOURNAL_kernel] = kernel->name;
	cell[JOURNAL_status] = "key";
	cell[JOURNAL_reason] = text;
	return journal_append(journal, cell);
}
