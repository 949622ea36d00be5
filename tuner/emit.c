#define _GNU_SOURCE
#include "tuner/emit.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sources.h"
#include "core/table.h"
#include "tuner/breakpoints.h"
#include "tuner/verdicts.h"

static void upper(const char *from, char *to, size_t bytes)
{
	size_t i = 0;
	for (; from[i] && i + 1 < bytes; i++)
		to[i] = (char)toupper((unsigned char)from[i]);
	to[i] = 0;
}

/* Whether the decode loop decided at a length within a factor of two of that of a row which was
 * measured alone. */
static bool governs(const struct tuned_row *loop, const struct tuned_row *row)
{
	return loop->fresh == row->fresh && loop->step[0] && !row->step[0] &&
	       loop->shape.len < 2 * row->shape.len && row->shape.len < 2 * loop->shape.len &&
	       !verdict_compare_groups(loop, row);
}

/* Whether `other` serves the length of a row too: the row is of other sources, so that what it says
 * of its length is no longer true; or a loop that does not say beside what decided there. */
static bool replaces(const struct tuned_row *other, const struct tuned_row *row)
{
	if (!other->fresh || verdict_compare_groups(other, row))
		return false;
	return !row->fresh || (!other->shape.beside && governs(other, row));
}

static bool is_replaced(const struct verdicts *table, int i)
{
	const struct tuned_row *row = &table->row[i];
	for (int j = 0; row->shape.len && j < table->n; j++)
		if (replaces(&table->row[j], row))
			return true;
	return false;
}

static void drop_replaced(struct verdicts *table)
{
	int n = 0;
	bool *replaced = calloc((size_t)table->n + 1, sizeof *replaced);
	for (int i = 0; replaced && i < table->n; i++)
		replaced[i] = is_replaced(table, i);
	for (int i = 0; replaced && i < table->n; i++)
		if (!replaced[i])
			table->row[n++] = table->row[i];
	if (replaced)
		table->n = n;
	free(replaced);
}

/* Whether a row's range ends where that of row j begins: rows measured alone are for launches
 * alone, side by side; in a step they serve where no loop decided. */
static bool meets(const struct verdicts *table, const struct tuned_row *row, int j)
{
	const struct tuned_row *other = &table->row[j];
	if (verdict_compare_groups(other, row) || (!row->shape.beside && other->shape.beside))
		return false;
	for (int i = 0; row->shape.beside && i < table->n; i++)
		if (governs(&table->row[i], other))
			return false;
	return true;
}

/* The length that a row's range shares its border with `other` with: its own, or, of a loop's row
 * beside one that was measured alone, the last between them that was measured alone too. So a
 * step's rows change where those of launches alone do. */
static int neighbour_of(const struct verdicts *table, const struct tuned_row *row,
                        const struct tuned_row *other)
{
	const int len = row->shape.len, from = other->shape.len;
	int next = len;
	for (int j = 0; row->shape.beside && !other->shape.beside && j < table->n; j++) {
		const struct tuned_row *alone = &table->row[j];
		const int at = alone->shape.len;
		if (!alone->shape.beside && !verdict_compare_groups(alone, row) &&
		    ((next < at && at < from) || (from < at && at < next)))
			next = at;
	}
	return next;
}

/* A row at a cache length serves up to where it meets the next shorter and longer length: at the
 * geometric mean. */
static void set_range(struct verdicts *table, int i)
{
	struct tuned_row *row = &table->row[i];
	if (!row->shape.len)
		return;
	row->len_min = 1;
	row->len_max = EMIT_MAX_LENGTH;
	for (int j = 0; j < table->n; j++) {
		const int len = table->row[j].shape.len;
		if (len == row->shape.len || !meets(table, row, j))
			continue;
		const int neighbour = neighbour_of(table, row, &table->row[j]);
		if (len < row->shape.len) {
			const int first = length_boundary(len, neighbour) + 1;
			row->len_min = first > row->len_min ? first : row->len_min;
		} else {
			const int last = length_boundary(neighbour, len);
			row->len_max = last < row->len_max ? last : row->len_max;
		}
	}
}

/* Takes in what the next row, of the same configuration, knows. One that the decode loop confirmed
 * stands for both. */
static void merge_rows(struct tuned_row *last, const struct tuned_row *next)
{
	const int len_min = last->len_min, n_lengths = last->n_lengths + next->n_lengths;
	const double regret =
	        fmax(last->regret_percent, next->regret_percent); /* passes over NaN */
	if (!last->step[0] || next->step[0])
		*last = *next;
	last->len_min = len_min;
	last->len_max = next->len_max;
	last->n_lengths = n_lengths;
	last->regret_percent = regret;
}

/* Whether a row goes on where the last one ends. */
static bool continues(const struct tuned_row *row, const struct tuned_row *last)
{
	return row->shape.len && !verdict_compare_groups(last, row) &&
	       last->shape.beside == row->shape.beside && last->len_max + 1 == row->len_min &&
	       !memcmp(&last->config, &row->config, sizeof row->config) &&
	       last->fresh == row->fresh && !last->problem[0] && !row->problem[0];
}

/* Turns rows at single cache lengths into ranges that cover 1 .. EMIT_MAX_LENGTH: of what runs
 * beside the same, neighbours with the same configuration are one row. */
static void merge_lengths(struct verdicts *table)
{
	int n = 0;
	for (int i = 0; i < table->n; i++)
		set_range(table, i);
	for (int i = 0; i < table->n; i++) {
		int last = n - 1;
		while (last >= 0 && !continues(&table->row[i], &table->row[last]))
			last--;
		if (last >= 0)
			merge_rows(&table->row[last], &table->row[i]);
		else
			table->row[n++] = table->row[i];
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

/* ", at most 1.30 % over the fastest at 5 lengths" */
static void print_regret(FILE *out, const struct tuned_row *row)
{
	if (row->n_lengths)
		fprintf(out, ", at most %.2f %% over the fastest at %d lengths",
		        row->regret_percent, row->n_lengths);
}

/* ", in the step of qwen2.5-0.5b at 1024 +1.69 % tokens/s (+1.20 +2.10)" */
static void print_step(FILE *out, const struct tuned_row *row)
{
	if (!row->step[0])
		return;
	fprintf(out, ", in the step of %s", row->step);
	if (isfinite(row->step_percent))
		fprintf(out, " %+.2f %% tokens/s (%+.2f %+.2f)", row->step_percent,
		        row->step_percent_lo, row->step_percent_hi);
}

/* "; 48 samples, +1.20 % to (32, 4, 1)" */
static void print_runner_up(FILE *out, const struct tuned_row *row)
{
	if (row->samples > 0)
		fprintf(out, "; %d samples", row->samples);
	if (!row->has_runner_up || !(row->runner_up_us > 0) || !(row->us > 0))
		return;
	fprintf(out, ", %+.2f %% to (", 100 * (row->runner_up_us / row->us - 1));
	for (int i = 0; i < row->kernel->n_params; i++)
		fprintf(out, i ? ", %d" : "%d", row->runner_up.value[i]);
	fprintf(out, ")");
}

static void print_row(FILE *out, const struct tuned_row *row)
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
	char beside[16];
	upper(row->shape.beside ? beside_name(row->shape.beside) : "none", beside, sizeof beside);
	fprintf(out, "), %d, %d, %d, %d, BESIDE_%s", row->shape.m, row->shape.k, row->len_min,
	        row->len_max, beside);
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
	fprintf(out, ", %s%s", row->status, row->fresh ? "" : ", stale");
	print_regret(out, row);
	print_step(out, row);
	print_runner_up(out, row);
	fprintf(out, " */");
}

/* One macro: the rows of a device and kernel. */
static void print_kernel(FILE *out, const struct verdicts *table, const char *id,
                         const struct kernel *kernel)
{
	char name[64];
	upper(kernel->name, name, sizeof name);
	fprintf(out, "\n/* (");
	for (int i = 0; i < kernel->n_fields; i++)
		fprintf(out, "%s%s", i ? ", " : "", kernel->fields[i].name);
	fprintf(out, "), m, k, len_min, len_max, beside");
	for (int i = 0; i < kernel->n_params; i++)
		fprintf(out, ", %s", kernel->params[i].name);
	fprintf(out, " */\n#define TUNED_%s_%s(ROW)", id, name);
	for (int i = 0; i < table->n; i++)
		if (table->row[i].kernel == kernel && !strcmp(table->row[i].id, id)) {
			fprintf(out, " \\\n");
			print_row(out, &table->row[i]);
		}
	fprintf(out, "\n");
}

/* Of a device's rows the one whose provenance stands for the device: fresh before stale, then the
 * latest. */
static const struct tuned_row *newest_of(const struct verdicts *table, const char *id)
{
	const struct tuned_row *newest = NULL;
	for (int i = 0; i < table->n; i++) {
		const struct tuned_row *row = &table->row[i];
		if (strcmp(row->id, id))
			continue;
		if (!newest || row->fresh > newest->fresh ||
		    (row->fresh == newest->fresh && strcmp(row->date, newest->date) >= 0))
			newest = row;
	}
	return newest;
}

/* The present hashes when all rows of the device are of the present sources and spaces, else those
 * of a stale row. */
static void device_hashes(const struct verdicts *table, const char *id, char source[17],
                          char space[17])
{
	struct provenance now;
	table_source_hash(source);
	table_space_hash(space);
	for (int i = 0; i < table->n; i++) {
		const struct tuned_row *row = &table->row[i];
		const struct provenance *of = &row->provenance;
		if (strcmp(row->id, id))
			continue;
		provenance_of(row->kernel, &of->info, &now);
		if (strcmp(of->source_hash, now.source_hash) != 0)
			strcpy(source, of->source_hash);
		if (strcmp(of->space_hash, now.space_hash) != 0)
			strcpy(space, of->space_hash);
	}
}

static void print_device(FILE *out, const struct verdicts *table, const char *id)
{
	char source[17], space[17];
	const struct tuned_row *newest = newest_of(table, id);
	const struct device_info *info = &newest->provenance.info;
	device_hashes(table, id, source, space);
	fprintf(out,
	        " \\\n\tX(K, %s, \"%s\", %d, %d, %d, %.1f, \"%s\", \"%s\", \"%s\", \"%s\", \"%s\", "
	        "\"%s\")",
	        id, info->name, info->target.sm, info->target.lanes, info->sm_count, info->bus_gbps,
	        info->driver, info->toolkit, source, space, newest->date, newest->method);
}

static const char *kind_of(const struct tuned_row *row)
{
	struct target target = row->provenance.info.target;
	return target.sm ? "CUDA" : target.lanes == 1 ? "HOST" : "HOST32";
}

/* The first row of each device. */
static bool starts_device(const struct verdicts *table, int i)
{
	return i == 0 || strcmp(table->row[i - 1].id, table->row[i].id);
}

static void print_devices(FILE *out, const struct verdicts *table)
{
	static const char *const kinds[] = {"HOST", "HOST32", "CUDA"};
	for (int kind = 0; kind < 3; kind++) {
		fprintf(out, "#define TUNED_DEVICES_%s(X, K)", kinds[kind]);
		for (int i = 0; i < table->n; i++)
			if (starts_device(table, i) &&
			    !strcmp(kind_of(&table->row[i]), kinds[kind]))
				print_device(out, table, table->row[i].id);
		fprintf(out, "\n");
	}
}

static void print_rows(FILE *out, const struct verdicts *table)
{
	for (int i = 0; i < table->n; i++) {
		const char *id = table->row[i].id;
		if (!starts_device(table, i))
			continue;
		const struct tuned_row *newest = newest_of(table, id);
		const struct device_info *info = &newest->provenance.info;
		fprintf(out,
		        "\n/* ---- %s: %d multiprocessors, driver %s, toolkit %s, tuned %s by %s "
		        "---- */\n",
		        info->name, info->sm_count, info->driver, info->toolkit, newest->date,
		        newest->method);
		for (const struct kernel *const *kernel = kernels; *kernel; kernel++)
			if (!(*kernel)->defaults_only)
				print_kernel(out, table, id, *kernel);
	}
}

static void print_header(FILE *out, const struct verdicts *table)
{
	fputs("/* Generated by warpsmith-tune --emit from results/<device>/journal.csv. Do not "
	      "edit.\n"
	      " * Behind each row: time of one launch, share of the measured read ceiling, "
	      "speed-up over the default,\n"
	      " * verdict (win; tie: as good as others that beat the default; default: nothing "
	      "beats it); where the decode\n"
	      " * loop of a model confirmed it, the model, the cache length and how much it adds "
	      "there, with an interval;\n"
	      " * of a range of cache lengths the worst regret at the lengths that were measured;\n"
	      " * samples of each finalist, and how much more time the runner-up takes.\n"
	      " * beside: the weights of the product behind the launch in the step that confirmed "
	      "the row, where its case names none;\n"
	      " * rows that say none are for launches alone, and for steps at lengths that no "
	      "other covers. */\n"
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
	struct verdicts table = {0};
	char *text = NULL;
	size_t bytes = 0;
	TRY(verdicts_open(folder, WHOLE_SPACES, &table));
	drop_replaced(&table);
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
	verdicts_close(&table);
	return status;
}
