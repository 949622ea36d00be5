#define _GNU_SOURCE
#include "tuner/verdicts.h"

#include <ctype.h>
#include <glob.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/candidates.h"

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

/* The row's configuration; a value that the kernel does not list is a problem. */
static void read_config(const char *text, const struct tuned_row *row, struct config *config,
                        char problem[CONFIG_TEXT])
{
	char bad[CONFIG_TEXT];
	if (!config_read(row->kernel, text, config, bad))
		copy_plain(bad, problem, CONFIG_TEXT);
	if (!problem[0] &&
	    !row->kernel->legal(row->kase.value, config->value, row->provenance.info.target))
		snprintf(problem, CONFIG_TEXT, "not legal on its device");
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

/* A case says the value of every field: of one written before a field was there, nobody can tell
 * what it was. */
static enum status read_case(const char *text, const struct kernel *kernel, int *kase)
{
	enum status status;
	char now[CONFIG_TEXT];
	TRY(params_parse(kernel->fields, kernel->n_fields, text, kase));
	if (strcmp(params_format(kernel->fields, kernel->n_fields, kase, now), text))
		status = fail(STATUS_FAILED, "%s has no case '%s' any more", kernel->name, text);
done:
	return status;
}

/* A number of samples; 0 where the cell is empty. */
static enum status read_count(const char *text, int *n)
{
	char *end;
	const long value = strtol(text, &end, 10);
	if (*end || value < 0 || value > INT_MAX)
		return fail(STATUS_FAILED, "'%s' is no number of samples", text);
	*n = (int)value;
	return STATUS_OK;
}

static enum status read_verdict(const struct journal *journal, const struct journal_row *from,
                                struct tuned_row *row)
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
	TRY(read_case(from->cell[JOURNAL_case], row->kernel, row->kase.value));
	TRY(kernel_read_shape(row->kernel, from->cell[JOURNAL_shape], &row->shape));
	char problem[CONFIG_TEXT] = "";
	read_config(from->cell[JOURNAL_config], row, &row->config, row->problem);
	read_config(from->cell[JOURNAL_runner_up], row, &row->runner_up, problem);
	row->has_runner_up = from->cell[JOURNAL_runner_up][0] && !problem[0];
	provenance_of(row->kernel, &row->provenance.info, &now);
	row->fresh = !strcmp(now.source_hash, row->provenance.source_hash) &&
	             !strcmp(now.space_hash, row->provenance.space_hash);
	make_id(row->provenance.info.slug, row->id);
	row->us = journal_number(from, JOURNAL_us);
	row->default_us = journal_number(from, JOURNAL_default_us);
	row->runner_up_us = journal_number(from, JOURNAL_runner_up_us);
	TRY(read_count(from->cell[JOURNAL_samples], &row->samples));
	row->gbps = journal_number(from, JOURNAL_gbps);
	snprintf(row->case_text, sizeof row->case_text, "%s", from->cell[JOURNAL_case]);
	snprintf(row->shape_text, sizeof row->shape_text, "%s", from->cell[JOURNAL_shape]);
	copy_plain(from->cell[JOURNAL_reason], row->reason, sizeof row->reason);
	row->ceiling_gbps = journal_number(from, JOURNAL_ceiling_gbps);
	copy_plain(from->cell[JOURNAL_step], row->step, sizeof row->step);
	row->step_percent = journal_number(from, JOURNAL_step_percent);
	row->step_percent_lo = journal_number(from, JOURNAL_step_percent_lo);
	row->step_percent_hi = journal_number(from, JOURNAL_step_percent_hi);
	row->regret_percent = journal_number(from, JOURNAL_regret_percent);
	row->n_lengths = isfinite(row->regret_percent);
	copy_plain(from->cell[JOURNAL_status], row->status, sizeof row->status);
	copy_plain(from->cell[JOURNAL_method], row->method, sizeof row->method);
	copy_plain(from->cell[JOURNAL_date], row->date, sizeof row->date);
done:
	return status;
}

static enum status add_journal(const char *path, enum verdicts_of of, struct verdicts *verdicts)
{
	enum status status;
	struct journal journal = {0};
	TRY(journal_read(path, &journal));
	for (int i = 0; i < journal.n_rows; i++) {
		const struct journal_row *from = &journal.rows[i];
		if (!is_verdict(from->cell[JOURNAL_status]) ||
		    (of == WHOLE_SPACES && strstr(from->cell[JOURNAL_method], SUBSPACE_METHOD)))
			continue;
		if (verdicts->n == verdicts->capacity) {
			int capacity = verdicts->capacity ? 2 * verdicts->capacity : 64;
			void *rows =
			        realloc(verdicts->row, (size_t)capacity * sizeof *verdicts->row);
			if (!rows) {
				status = fail(STATUS_NO_MEMORY, "%s: out of memory", path);
				goto done;
			}
			verdicts->row = rows;
			verdicts->capacity = capacity;
		}
		struct tuned_row *row = &verdicts->row[verdicts->n];
		*row = (struct tuned_row){.sequence = verdicts->n};
		if (read_verdict(&journal, from, row) == STATUS_OK)
			verdicts->n++;
		else
			fprintf(stderr, "warning: %s:%d: %s; row left out\n", path, from->line,
			        fail_message());
	}
done:
	journal_close(&journal);
	return status;
}

int verdict_compare_groups(const struct tuned_row *a, const struct tuned_row *b)
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

static bool is_by_step(const struct tuned_row *row)
{
	return row->step[0] != 0;
}

/* The header's order; of the same thing the row to keep comes first. */
static int compare_rows(const void *left, const void *right)
{
	const struct tuned_row *a = left, *b = right;
	int order = verdict_compare_groups(a, b);
	if (!order)
		order = a->shape.len - b->shape.len;
	if (!order)
		order = a->shape.beside - b->shape.beside;
	if (!order)
		order = b->fresh - a->fresh;
	if (!order && a->fresh)
		order = is_by_step(b) - is_by_step(a);
	return order ? order : b->sequence - a->sequence;
}

static bool is_same_launch(const struct tuned_row *a, const struct tuned_row *b)
{
	return !verdict_compare_groups(a, b) && a->shape.len == b->shape.len &&
	       a->shape.beside == b->shape.beside;
}

static void keep_newest(struct verdicts *verdicts)
{
	int n = 0;
	if (verdicts->n)
		qsort(verdicts->row, (size_t)verdicts->n, sizeof *verdicts->row, compare_rows);
	for (int i = 0; i < verdicts->n; i++) {
		struct tuned_row *last = n ? &verdicts->row[n - 1] : NULL, *row = &verdicts->row[i];
		if (!last || !is_same_launch(last, row))
			verdicts->row[n++] = *row;
	}
	verdicts->n = n;
}

enum status verdicts_open(const char *folder, enum verdicts_of of, struct verdicts *verdicts)
{
	enum status status = STATUS_OK;
	char pattern[4096];
	glob_t found = {0};
	*verdicts = (struct verdicts){0};
	snprintf(pattern, sizeof pattern, "%s/*/journal.csv", folder);
	int globbed = glob(pattern, 0, NULL, &found);
	if (globbed && globbed != GLOB_NOMATCH) {
		status = fail(STATUS_FAILED, "%s: cannot be searched", folder);
		goto done;
	}
	for (size_t i = 0; i < found.gl_pathc; i++)
		TRY(add_journal(found.gl_pathv[i], of, verdicts));
	keep_newest(verdicts);
done:
	globfree(&found);
	if (status != STATUS_OK)
		verdicts_close(verdicts);
	return status;
}

void verdicts_close(struct verdicts *verdicts)
{
	free(verdicts->row);
	*verdicts = (struct verdicts){0};
}
