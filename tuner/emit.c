#define _GNU_SOURCE
#include "tuner/emit.h"

#include <ctype.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sources.h"
#include "core/table.h"
#include "tuner/journal.h"

/* One verdict of a journal, as a row of the header. */
struct verdict_row {
	struct provenance provenance;
	char id[64]; /* of the device: its slug as an identifier */
	const struct kernel *kernel;
	int kernel_order; /* in kernels[] */
	struct kase kase;
	struct shape shape;
	int len_min, len_max;
	struct config config;
	char problem[CONFIG_TEXT]; /* why it cannot be a row; "" when it can */
	bool fresh;                /* of the present kernel sources */
	int sequence;              /* order of reading: journals by name, rows by age */
	double us, default_us, gbps, ceiling_gbps;
	char status[16], method[64], date[64];
};

struct table {
	struct verdict_row *rows;
	int n, capacity;
};

/* Text for a comment or a string of the header: what could end either becomes '_'. */
static void copy_plain(const char *from, char *to, size_t bytes)
{
	snprintf(to, bytes, "%s", from);
	for (char *c = to; *c; c++)
		if (strchr("\"\\*/?", *c) || (unsigned char)*c < ' ')
			*c = '_';
}

static void make_id(const char *slug, char id[64])
{
	size_t i = 0;
	for (; slug[i] && i < 63; i++)
		id[i] = isalnum((unsigned char)slug[i]) ? (char)toupper((unsigned char)slug[i])
		                                        : '_';
	id[i] = 0;
}

static void upper(const char *from, char *to, size_t bytes)
{
	size_t i = 0;
	for (; from[i] && i + 1 < bytes; i++)
		to[i] = (char)toupper((unsigned char)from[i]);
	to[i] = 0;
}

/* Fills config from "name=value" pairs. A tunable that the text lacks gets its default, one that
 * the kernel lacks is passed over, a value that the kernel does not list is a problem of the row.
 */
static void read_config(const char *text, struct verdict_row *row)
{
	char copy[1024], *save = NULL;
	const struct kernel *kernel = row->kernel;
	for (int i = 0; i < kernel->n_params; i++)
		row->config.value[i] = kernel->params[i].default_value;
	snprintf(copy, sizeof copy, "%s", text);
	for (char *pair = strtok_r(copy, " ", &save); pair; pair = strtok_r(NULL, " ", &save)) {
		size_t name = strcspn(pair, "=");
		int p = 0;
		while (p < kernel->n_params && (strlen(kernel->params[p].name) != name ||
		                                strncmp(kernel->params[p].name, pair, name)))
			p++;
		if (p == kernel->n_params)
			continue;
		if (params_parse(kernel->params, kernel->n_params, pair, row->config.value))
			copy_plain(pair, row->problem, sizeof row->problem);
	}
	if (!row->problem[0] &&
	    !kernel->legal(row->kase.value, row->config.value, row->provenance.info.target))
		snprintf(row->problem, sizeof row->problem, "not legal on its device");
}

static bool is_verdict(const char *status)
{
	return !strcmp(status, "win") || !strcmp(status, "tie") || !strcmp(status, "default");
}

/* The provenance that a verdict's key stands for: an earlier row of the same journal. */
static enum status find_provenance(const struct journal *journal, const struct journal_row *row,
                                   struct provenance *provenance)
{
	const char *identity[N_JOURNAL_IDENTITY] = {
	        row->cell[JOURNAL_key], row->cell[JOURNAL_kernel], "", "", "", ""};
	const struct journal_row *key = journal_find(journal, identity);
	if (!key)
		return fail(STATUS_FAILED, "no row tells what key '%s' is", identity[0]);
	enum status status = provenance_parse(key->cell[JOURNAL_reason], provenance);
	if (status == STATUS_OK && strcmp(provenance->key, identity[0]))
		status = fail(STATUS_FAILED, "key '%s' is not the hash of its text", identity[0]);
	return status;
}

static enum status read_verdict(const struct journal *journal, const struct journal_row *from,
                                struct verdict_row *row)
{
	enum status status;
	struct provenance now;
	const char *name = from->cell[JOURNAL_kernel];
	while (kernels[row->kernel_order] && strcmp(kernels[row->kernel_order]->name, name))
		row->kernel_order++;
	row->kernel = kernels[row->kernel_order];
	if (!row->kernel)
		return fail(STATUS_FAILED, "no kernel '%s'", name);
	TRY(find_provenance(journal, from, &row->provenance));
	TRY(params_parse(row->kernel->fields, row->kernel->n_fields, from->cell[JOURNAL_case],
	                 row->kase.value));
	TRY(row->kernel->parse_shape(from->cell[JOURNAL_shape], &row->shape));
	read_config(from->cell[JOURNAL_config], row);
	provenance_of(row->kernel, &row->provenance.info, &now);
	row->fresh = !strcmp(now.source_hash, row->provenance.source_hash);
	make_id(row->provenance.info.slug, row->id);
	row->us = journal_number(from, JOURNAL_us);
	row->default_us = journal_number(from, JOURNAL_default_us);
	row->gbps = journal_number(from, JOURNAL_gbps);
	row->ceiling_gbps = journal_number(from, JOURNAL_ceiling_gbps);
	copy_plain(from->cell[JOURNAL_status], row->status, sizeof row->status);
	copy_plain(from->cell[JOURNAL_method], row->method, sizeof row->method);
	copy_plain(from->cell[JOURNAL_date], row->date, sizeof row->date);
done:
	return status;
}

static enum status add_journal(const char *path, struct table *table)
{
	enum status status;
	struct journal journal = {0};
	TRY(journal_read(path, &journal));
	for (int i = 0; i < journal.n_rows; i++) {
		const struct journal_row *from = &journal.rows[i];
		if (!is_verdict(from->cell[JOURNAL_status]))
			continue;
		if (table->n == table->capacity) {
			int capacity = table->capacity ? 2 * table->capacity : 64;
			void *rows = realloc(table->rows, (size_t)capacity * sizeof *table->rows);
			if (!rows) {
				status = fail(STATUS_NO_MEMORY, "%s: out of memory", path);
				goto done;
			}
			table->rows = rows;
			table->capacity = capacity;
		}
		struct verdict_row *row = &table->rows[table->n];
		*row = (struct verdict_row){.sequence = table->n};
		if (read_verdict(&journal, from, row) == STATUS_OK)
			table->n++;
		else
			fprintf(stderr, "warning: %s:%d: %s; row left out\n", path, from->line,
			        fail_message());
	}
done:
	journal_close(&journal);
	return status;
}

/* Order of rows of one (device, kernel, case, shape without length). */
static int compare_groups(const struct verdict_row *a, const struct verdict_row *b)
{
	int order = strcmp(a->id, b->id);
	if (!order)
		order = a->kernel_order - b->kernel_order;
	for (int i = 0; !order && i < MAX_FIELDS; i++)
		order = a->kase.value[i] - b->kase.value[i];
	const int m[] = {a->shape.m, a->shape.k, a->shape.head_dim};
	const int n[] = {b->shape.m, b->shape.k, b->shape.head_dim};
	for (int i = 0; !order && i < 3; i++)
		order = (m[i] > n[i]) - (m[i] < n[i]);
	return order;
}

/* The header's order; of the same thing the row to keep comes first. */
static int compare_rows(const void *left, const void *right)
{
	const struct verdict_row *a = left, *b = right;
	int order = compare_groups(a, b);
	if (!order)
		order = a->shape.len - b->shape.len;
	if (!order)
		order = b->fresh - a->fresh;
	return order ? order : b->sequence - a->sequence;
}

static void keep_newest(struct table *table)
{
	int n = 0;
	if (table->n)
		qsort(table->rows, (size_t)table->n, sizeof *table->rows, compare_rows);
	for (int i = 0; i < table->n; i++) {
		struct verdict_row *last = n ? &table->rows[n - 1] : NULL, *row = &table->rows[i];
		if (!last || compare_groups(last, row) || last->shape.len != row->shape.len)
			table->rows[n++] = *row;
	}
	table->n = n;
}

/* Turns rows at single cache lengths into ranges that cover 1 .. EMIT_MAX_LENGTH: neighbours with
 * the same configuration are one row, others meet at the geometric mean of their lengths. */
static void merge_lengths(struct table *table)
{
	int n = 0;
	for (int i = 0; i < table->n; i++) {
		struct verdict_row *last = n ? &table->rows[n - 1] : NULL, *row = &table->rows[i];
		row->len_min = row->len_max = 0;
		if (row->shape.len) {
			row->len_min = 1;
			row->len_max = EMIT_MAX_LENGTH;
		}
		if (last && row->shape.len && last->shape.len && !compare_groups(last, row)) {
			int middle = (int)sqrt((double)last->shape.len * row->shape.len);
			row->len_min = middle + 1;
			last->len_max = middle;
			if (!memcmp(&last->config, &row->config, sizeof row->config) &&
			    last->fresh == row->fresh && !last->problem[0] && !row->problem[0]) {
				row->len_min = last->len_min;
				n--;
			}
		}
		table->rows[n++] = *row;
	}
	table->n = n;
}

/* A value as C source: a number or an enumerator. */
static void print_value(FILE *out, const struct param *field, int value)
{
	static const char *const prefixes[] = {
	        [NAMES_NUMBER] = "",
	        [NAMES_DTYPE] = "DTYPE_",
	        [NAMES_EPILOGUE] = "EPILOGUE_",
	};
	char text[16], name[16];
	upper(value_format(field->names, value, text), name, sizeof name);
	fprintf(out, "%s%s", prefixes[field->names], name);
}

static void print_row(FILE *out, const struct verdict_row *row)
{
	const struct kernel *kernel = row->kernel;
	fputc('\t', out);
	if (row->problem[0])
		fprintf(out, "/* left out (%s): ", row->problem);
	fprintf(out, "ROW(%s, (", kernel->name);
	for (int i = 0; i < kernel->n_fields; i++) {
		fputs(i ? ", " : "", out);
		print_value(out, &kernel->fields[i], row->kase.value[i]);
	}
	fprintf(out, "), %d, %d, %d, %d", row->shape.m, row->shape.k, row->len_min, row->len_max);
	for (int i = 0; i < kernel->n_params; i++)
		fprintf(out, ", %d", row->config.value[i]);
	fprintf(out, ")%s", row->problem[0] ? ";" : " /*");
	fprintf(out, " %.2f us", row->us);
	if (row->shape.len)
		fprintf(out, " at %d", row->shape.len);
	if (row->gbps > 0 && row->ceiling_gbps > 0)
		fprintf(out, ", %.0f %% of %.0f GB/s", 100 * row->gbps / row->ceiling_gbps,
		        row->ceiling_gbps);
	if (row->default_us > 0 && row->us > 0)
		fprintf(out, ", %.2fx", row->default_us / row->us);
	fprintf(out, ", %s%s */", row->status, row->fresh ? "" : ", stale");
}

/* One macro: the rows of a device and kernel. */
static void print_kernel(FILE *out, const struct table *table, const char *id,
                         const struct kernel *kernel)
{
	char name[64];
	upper(kernel->name, name, sizeof name);
	fprintf(out, "\n/* (");
	for (int i = 0; i < kernel->n_fields; i++)
		fprintf(out, "%s%s", i ? ", " : "", kernel->fields[i].name);
	fprintf(out, "), m, k, len_min, len_max");
	for (int i = 0; i < kernel->n_params; i++)
		fprintf(out, ", %s", kernel->params[i].name);
	fprintf(out, " */\n#define TUNED_%s_%s(ROW)", id, name);
	for (int i = 0; i < table->n; i++)
		if (table->rows[i].kernel == kernel && !strcmp(table->rows[i].id, id)) {
			fprintf(out, " \\\n");
			print_row(out, &table->rows[i]);
		}
	fprintf(out, "\n");
}

/* Of a device's rows the one whose provenance stands for the device: fresh before stale, then the
 * latest. */
static const struct verdict_row *newest_of(const struct table *table, const char *id)
{
	const struct verdict_row *newest = NULL;
	for (int i = 0; i < table->n; i++) {
		const struct verdict_row *row = &table->rows[i];
		if (strcmp(row->id, id))
			continue;
		if (!newest || row->fresh > newest->fresh ||
		    (row->fresh == newest->fresh && strcmp(row->date, newest->date) >= 0))
			newest = row;
	}
	return newest;
}

/* The present hash when all rows of the device are of the present sources, else that of a stale
 * row. */
static void device_source_hash(const struct table *table, const char *id, char hash[17])
{
	table_source_hash(hash);
	for (int i = 0; i < table->n; i++)
		if (!table->rows[i].fresh && !strcmp(table->rows[i].id, id))
			strcpy(hash, table->rows[i].provenance.source_hash);
}

/* Over the spaces of all kernels in order. */
static void device_space_hash(const struct table *table, const char *id, char text[17])
{
	uint64_t hash = FNV1A_START;
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++) {
		struct provenance of = {0};
		provenance_of(*kernel, &of.info, &of);
		for (int i = 0; i < table->n; i++)
			if (table->rows[i].kernel == *kernel && !strcmp(table->rows[i].id, id))
				of = table->rows[i].provenance;
		hash = fnv1a(hash, of.space_hash, strlen(of.space_hash));
	}
	snprintf(text, 17, "%016llx", (unsigned long long)hash);
}

static void print_device(FILE *out, const struct table *table, const char *id)
{
	char source[17], space[17];
	const struct verdict_row *newest = newest_of(table, id);
	const struct device_info *info = &newest->provenance.info;
	device_source_hash(table, id, source);
	device_space_hash(table, id, space);
	fprintf(out,
	        " \\\n\tX(K, %s, \"%s\", %d, %d, %d, %.1f, \"%s\", \"%s\", \"%s\", \"%s\", \"%s\", "
	        "\"%s\")",
	        id, info->name, info->target.sm, info->target.lanes, info->sm_count, info->bus_gbps,
	        info->driver, info->toolkit, source, space, newest->date, newest->method);
}

static const char *kind_of(const struct verdict_row *row)
{
	struct target target = row->provenance.info.target;
	return target.sm ? "CUDA" : target.lanes == 1 ? "HOST" : "HOST32";
}

/* The first row of each device. */
static bool starts_device(const struct table *table, int i)
{
	return i == 0 || strcmp(table->rows[i - 1].id, table->rows[i].id);
}

static void print_devices(FILE *out, const struct table *table)
{
	static const char *const kinds[] = {"HOST", "HOST32", "CUDA"};
	for (int kind = 0; kind < 3; kind++) {
		fprintf(out, "#define TUNED_DEVICES_%s(X, K)", kinds[kind]);
		for (int i = 0; i < table->n; i++)
			if (starts_device(table, i) &&
			    !strcmp(kind_of(&table->rows[i]), kinds[kind]))
				print_device(out, table, table->rows[i].id);
		fprintf(out, "\n");
	}
}

static void print_rows(FILE *out, const struct table *table)
{
	for (int i = 0; i < table->n; i++) {
		const char *id = table->rows[i].id;
		if (!starts_device(table, i))
			continue;
		const struct verdict_row *newest = newest_of(table, id);
		const struct device_info *info = &newest->provenance.info;
		fprintf(out,
		        "\n/* ---- %s: %d multiprocessors, driver %s, toolkit %s, tuned %s by %s "
		        "---- */\n",
		        info->name, info->sm_count, info->driver, info->toolkit, newest->date,
		        newest->method);
		for (const struct kernel *const *kernel = kernels; *kernel; kernel++)
			print_kernel(out, table, id, *kernel);
	}
}

static void print_header(FILE *out, const struct table *table)
{
	fputs("/* Generated by warpsmith-tune --emit from results/<device>/journal.csv. Do not "
	      "edit.\n"
	      " * Behind each row: time of one launch, share of the measured read ceiling, "
	      "speed-up over the default,\n"
	      " * verdict (win; tie: as good as others that beat the default; default: nothing "
	      "beats it). */\n"
	      "#ifndef RESULTS_TUNED_H\n#define RESULTS_TUNED_H\n\n"
	      "/* X(K, id, name, sm, lanes, sm_count, bus_gbps, driver, toolkit, source_hash, "
	      "space_hash, date, method) */\n",
	      out);
	print_devices(out, table);
	print_rows(out, table);
	fputs("\n#endif\n", out);
}

/* Leaves an identical file untouched, so that nothing is rebuilt for it. */
static enum status replace_file(const char *path, const char *text, size_t bytes)
{
	FILE *file = fopen(path, "rb");
	char *old = file ? malloc(bytes + 1) : NULL;
	bool same = old && fread(old, 1, bytes + 1, file) == bytes && !memcmp(old, text, bytes);
	free(old);
	if (file)
		fclose(file);
	return same ? STATUS_OK : write_file_atomically(path, text, bytes);
}

enum status emit_header(const char *folder, const char *path, int *n_rows)
{
	enum status status = STATUS_OK;
	struct table table = {0};
	char pattern[4096], *text = NULL;
	size_t bytes = 0;
	glob_t found = {0};
	snprintf(pattern, sizeof pattern, "%s/*/journal.csv", folder);
	int globbed = glob(pattern, 0, NULL, &found);
	if (globbed && globbed != GLOB_NOMATCH) {
		status = fail(STATUS_FAILED, "%s: cannot be searched", folder);
		goto done;
	}
	for (size_t i = 0; i < found.gl_pathc; i++)
		TRY(add_journal(found.gl_pathv[i], &table));
	keep_newest(&table);
	merge_lengths(&table);
	FILE *out = open_memstream(&text, &bytes);
	if (!out) {
		status = fail(STATUS_NO_MEMORY, "%s: out of memory", path);
		goto done;
	}
	print_header(out, &table);
	if (fclose(out)) {
		status = fail(STATUS_NO_MEMORY, "%s: out of memory", path);
		goto done;
	}
	TRY(replace_file(path, text, bytes));
	*n_rows = table.n;
done:
	free(text);
	free(table.rows);
	globfree(&found);
	return status;
}
