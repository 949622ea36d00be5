#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/statistics.h"
#include "tuner/verdicts.h"
#include "tuner/verify.h"

/* What the journal has of one configuration. */
struct history {
	const char *config;
	double screened_us;
	const char *status, *reason; /* of the first failure, else "ok" */
	int n_rounds;
	double us[MAX_ROUNDS]; /* of complete races */
	double step_percent;   /* of the latest trial in a decode loop; NaN: none */
};

struct story {
	struct history *candidate;
	int n, capacity;
	const struct journal_row *alone; /* the latest verdict that is not the decode loop's */
};

static bool has_word(const char *text, const char *word, size_t n)
{
	for (const char *at = text; *at;) {
		size_t length = strcspn(at, " ");
		if (length == n && !strncmp(at, word, n))
			return true;
		at += length + (at[length] == ' ');
	}
	return false;
}

static bool matches(const struct tuned_row *v, const char *words)
{
	char text[512];
	snprintf(text, sizeof text, "%s %s %s %s", v->kernel->name, v->shape_text, v->case_text,
	         v->provenance.info.slug);
	for (const char *at = words; *at;) {
		size_t n = strcspn(at, " ");
		if (n && !has_word(text, at, n))
			return false;
		at += n + (at[n] == ' ');
	}
	return true;
}

static struct history *find_history(struct story *story, const char *config)
{
	for (int i = 0; i < story->n; i++)
		if (!strcmp(story->candidate[i].config, config))
			return &story->candidate[i];
	if (story->n == story->capacity) {
		int capacity = story->capacity ? 2 * story->capacity : 64;
		void *grown =
		        realloc(story->candidate, (size_t)capacity * sizeof *story->candidate);
		if (!grown)
			return NULL;
		story->candidate = grown;
		story->capacity = capacity;
	}
	story->candidate[story->n] = (struct history){.config = config,
	                                              .screened_us = NAN,
	                                              .status = "ok",
	                                              .reason = "",
	                                              .step_percent = NAN};
	return &story->candidate[story->n++];
}

/* A row beside other weights tells nothing of this one; of the launch alone it does. */
static bool tells_of(const char *shape, const struct tuned_row *v)
{
	char alone[64];
	return !strcmp(shape, v->shape_text) || !strcmp(shape, shape_alone(v->shape_text, alone));
}

/* The journal's rows on the verdict's launch with the verdict's key. */
static enum status read_story(const struct journal *journal, const struct tuned_row *v,
                              struct story *story)
{
	for (int i = 0; i < journal->n_rows; i++) {
		const struct journal_row *row = &journal->rows[i];
		if (strcmp(row->cell[JOURNAL_key], v->provenance.key) ||
		    strcmp(row->cell[JOURNAL_kernel], v->kernel->name) ||
		    strcmp(row->cell[JOURNAL_case], v->case_text) ||
		    !tells_of(row->cell[JOURNAL_shape], v))
			continue;
		if (!row->cell[JOURNAL_round][0]) {
			if (strcmp(row->cell[JOURNAL_method], DECODE_METHOD) != 0)
				story->alone = row;
			continue;
		}
		struct history *h = find_history(story, row->cell[JOURNAL_config]);
		if (!h)
			return fail(STATUS_NO_MEMORY, "%s: out of memory", journal->path);
		double us = journal_number(row, JOURNAL_us);
		if (!strcmp(row->cell[JOURNAL_status], "trial")) {
			h->step_percent = journal_number(row, JOURNAL_step_percent);
		} else if (strcmp(row->cell[JOURNAL_status], "ok") != 0) {
			h->status = row->cell[JOURNAL_status];
			h->reason = row->cell[JOURNAL_reason];
		} else if (!strcmp(row->cell[JOURNAL_round], "0")) {
			h->screened_us = us;
		} else if (h->n_rounds < MAX_ROUNDS) {
			h->us[h->n_rounds++] = us;
		}
	}
	return STATUS_OK;
}

/* Those that raced longest first, by time; then the screened ones by time; failures last. */
static int compare_histories(const void *left, const void *right)
{
	const struct history *a = left, *b = right;
	bool a_failed = strcmp(a->status, "ok"), b_failed = strcmp(b->status, "ok");
	if (a_failed != b_failed)
		return a_failed - b_failed;
	if (a->n_rounds != b->n_rounds)
		return b->n_rounds - a->n_rounds;
	double x = a->n_rounds ? median(a->us, a->n_rounds) : a->screened_us;
	double y = b->n_rounds ? median(b->us, b->n_rounds) : b->screened_us;
	return x != y ? (x > y) - (x < y) : strcmp(a->config, b->config);
}

static void print_number(const char *format, double value)
{
	if (isfinite(value))
		printf(format, value);
	else
		printf(" %10s", "");
}

/* What the row takes, alone or in the step. */
static void print_times(const struct tuned_row *v, const struct story *story)
{
	char config[CONFIG_TEXT];
	params_format(v->kernel->params, v->kernel->n_params, v->config.value, config);
	printf("  row        %s, %.4g us", config, v->us);
	if (!v->step[0]) {
		printf(", the default takes %.4g us (%.2fx)\n", v->default_us,
		       v->default_us / v->us);
		return;
	}
	printf(" of the step of %s", v->step);
	if (isfinite(v->step_percent))
		printf(", %+.2f %% tokens/s (%+.2f %+.2f) to the default", v->step_percent,
		       v->step_percent_lo, v->step_percent_hi);
	printf("\n");
	if (story->alone)
		printf("  alone      %s, %s us, the default takes %s us: %s\n",
		       story->alone->cell[JOURNAL_config], story->alone->cell[JOURNAL_us],
		       story->alone->cell[JOURNAL_default_us], story->alone->cell[JOURNAL_status]);
}

static void print_story(const struct tuned_row *v, struct story *story)
{
	char text[PROVENANCE_TEXT];
	provenance_format(&v->provenance, text);
	printf("%s %s %s on %s: %s\n", v->kernel->name, v->shape_text, v->case_text,
	       v->provenance.info.name, v->status);
	print_times(v, story);
	printf("  grounds    %s\n", v->reason);
	printf("  when       %s by %s; %d samples of each finalist\n", v->date, v->method,
	       v->samples);
	printf("  of         %s%s\n", text, v->fresh ? "" : " (other sources than now)");
	if (v->problem[0])
		printf("  but        %s\n", v->problem);
	printf("  %10s %10s %6s %10s  configuration\n", "screened", "raced, us", "rounds",
	       "in step, %");
	qsort(story->candidate, (size_t)story->n, sizeof *story->candidate, compare_histories);
	for (int i = 0; i < story->n; i++) {
		const struct history *h = &story->candidate[i];
		bool ok = !strcmp(h->status, "ok");
		printf("  ");
		print_number(" %10.4g", h->screened_us);
		print_number(" %10.4g", h->n_rounds ? median(h->us, h->n_rounds) : NAN);
		printf(" %6d", h->n_rounds);
		print_number(" %+10.2f", h->step_percent);
		printf("  %s%s%s%s%s\n", h->config, ok ? "" : "  ", ok ? "" : h->status,
		       ok ? "" : ": ", ok ? "" : h->reason);
	}
}

static enum status explain_one(const char *folder, const struct tuned_row *v)
{
	enum status status;
	char path[4096];
	struct journal journal = {.log.file = -1};
	struct story story = {0};
	snprintf(path, sizeof path, "%s/%s/journal.csv", folder, v->provenance.info.slug);
	TRY(journal_read(path, &journal));
	TRY(read_story(&journal, v, &story));
	print_story(v, &story);
done:
	free(story.candidate);
	journal_close(&journal);
	return status;
}

enum status explain(const char *folder, const char *words)
{
	enum status status;
	struct verdicts verdicts = {0};
	int n = 0;
	TRY(verdicts_open(folder, WHOLE_SPACES, &verdicts));
	for (int i = 0; i < verdicts.n; i++) {
		if (!matches(&verdicts.row[i], words))
			continue;
		if (n++)
			printf("\n");
		TRY(explain_one(folder, &verdicts.row[i]));
	}
	if (!n)
		status = fail(STATUS_FAILED, "%s: no tuned row matches '%s'", folder, words);
done:
	verdicts_close(&verdicts);
	return status;
}
