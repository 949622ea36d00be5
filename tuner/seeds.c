#include "tuner/seeds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCES = 256 };

/* An earlier search: of which its rows have key and shape. */
struct source {
	const char *key, *shape;
	double distance; /* of its shape */
	int newest;      /* its last row */
};

/* Tasks first .. first + n - 1 of one kernel and case, by their places in the list. */
static void choose_parents(const int *place, int n, int above, int *parent)
{
	if (!n)
		return;
	const int middle = n / 2;
	parent[place[middle]] = above;
	choose_parents(place, middle, place[middle], parent);
	choose_parents(place + middle + 1, n - middle - 1, place[middle], parent);
}

static bool is_alike(const struct task *a, const struct task *b)
{
	return a->kernel == b->kernel && !memcmp(&a->kase, &b->kase, sizeof a->kase);
}

void seeds_choose_parents(const struct tasks *tasks, int *parent)
{
	int *place = malloc((size_t)tasks->n * sizeof *place);
	for (int i = 0; i < tasks->n; i++)
		parent[i] = -1;
	for (int i = 0; place && i < tasks->n; i++) {
		int n = 0, first = 0;
		while (!is_alike(&tasks->task[first], &tasks->task[i]))
			first++;
		for (int j = i; first == i && j < tasks->n; j++)
			if (is_alike(&tasks->task[j], &tasks->task[i]))
				place[n++] = j;
		choose_parents(place, n, -1, parent);
	}
	free(place);
}

static double log_ratio(int a, int b)
{
	return a > 0 && b > 0 ? fabs(log((double)a / b)) : 0;
}

static double distance_to(const struct task *task, const char *text)
{
	struct shape other;
	const struct shape *own = &task->shape;
	if (kernel_read_shape(task->kernel, text, &other) != STATUS_OK)
		return INFINITY;
	return log_ratio(own->m, other.m) + log_ratio(own->k, other.k) +
	       log_ratio(own->len, other.len) + log_ratio(own->head_dim, other.head_dim);
}

static bool is_of_case(const struct measuring *m, const char *const *cell)
{
	return !strcmp(cell[JOURNAL_kernel], m->task->kernel->name) &&
	       !strcmp(cell[JOURNAL_case], m->task->case_text);
}

static bool is_source(const struct measuring *m, const char *const *cell,
                      const struct task *const *ancestors, int n_ancestors)
{
	if (!is_of_case(m, cell) || !cell[JOURNAL_config][0])
		return false;
	if (strcmp(cell[JOURNAL_key], m->provenance->key) != 0)
		return true;
	for (int i = 0; i < n_ancestors; i++)
		if (shape_alike(cell[JOURNAL_shape], ancestors[i]->shape_text))
			return true;
	return false;
}

static void note_source(const struct measuring *m, const char *const *cell, int row,
                        struct source *sources, int *n)
{
	int i = 0;
	while (i < *n && (strcmp(sources[i].key, cell[JOURNAL_key]) ||
	                  strcmp(sources[i].shape, cell[JOURNAL_shape])))
		i++;
	if (i == MAX_SOURCES)
		return;
	if (i == *n)
		sources[(*n)++] =
		        (struct source){.key = cell[JOURNAL_key],
		                        .shape = cell[JOURNAL_shape],
		                        .distance = distance_to(m->task, cell[JOURNAL_shape])};
	sources[i].newest = row;
}

static int compare_sources(const void *left, const void *right)
{
	const struct source *a = left, *b = right;
	const int order = (a->distance > b->distance) - (a->distance < b->distance);
	return order ? order : b->newest - a->newest;
}

struct seeds {
	const struct measuring *m;
	int *which, n;
};

/* Unless it is none of the task's candidates, the default or there. */
static bool add_config(struct seeds *s, const struct config *config)
{
	const int candidate = candidates_find(s->m->candidates, config);
	bool is_new = candidate > 0 && s->n < MAX_SEEDS;
	for (int i = 0; i < s->n; i++)
		is_new &= s->which[i] != candidate;
	if (is_new)
		s->which[s->n++] = candidate;
	return is_new;
}

static void add_suggestions(struct seeds *s)
{
	struct config config[MAX_SUGGESTIONS];
	const int n = task_suggestions(s->m->task, &s->m->worker->info, config);
	for (int i = 0; i < n; i++)
		add_config(s, &config[i]);
}

/* A candidate that a row names, at the step's defaults. */
static bool add_seed(struct seeds *s, const char *text)
{
	const struct kernel *kernel = s->m->task->kernel;
	struct config config;
	if (!text[0] || !config_read(kernel, text, &config, NULL))
		return false;
	const struct config plain = config_default(kernel);
	for (int p = kernel->n_params - kernel->n_step_params; p < kernel->n_params; p++)
		config.value[p] = plain.value[p];
	return add_config(s, &config);
}

static bool is_row_of(const struct seeds *s, const struct source *source, const char *const *cell)
{
	return is_of_case(s->m, cell) && !strcmp(cell[JOURNAL_key], source->key) &&
	       !strcmp(cell[JOURNAL_shape], source->shape);
}

/* What was fast when it was screened. */
struct screened {
	double us;
	int row;
};

static int compare_screened(const void *left, const void *right)
{
	const struct screened *a = left, *b = right;
	const int order = (a->us > b->us) - (a->us < b->us);
	return order ? order : a->row - b->row;
}

/* Of one search the newest verdicts' winners and runners-up, then what was screened fastest. */
static void add_source(struct seeds *s, const struct source *source, int n_rows,
                       struct screened *screened)
{
	const struct journal_row *rows = s->m->journal->rows;
	int n = 0, added = 0;
	for (int i = n_rows; i-- > 0;) {
		const char *const *cell = rows[i].cell;
		if (!is_row_of(s, source, cell))
			continue;
		const double us = journal_number(&rows[i], JOURNAL_us);
		if (!cell[JOURNAL_round][0] && added < SEEDS_OF_ONE / 2) {
			added += add_seed(s, cell[JOURNAL_config]);
			added += add_seed(s, cell[JOURNAL_runner_up]);
		} else if (!strcmp(cell[JOURNAL_round], "0") && us > 0) {
			screened[n++] = (struct screened){us, i};
		}
	}
	qsort(screened, (size_t)n, sizeof *screened, compare_screened);
	for (int i = 0; i < n && added < SEEDS_OF_ONE; i++)
		added += add_seed(s, rows[screened[i].row].cell[JOURNAL_config]);
}

int seeds_find(const struct measuring *m, const struct task *const *ancestors, int n_ancestors,
               int which[MAX_SEEDS])
{
	struct source sources[MAX_SOURCES];
	struct seeds seeds = {.m = m, .which = which};
	const int n_rows = m->journal->n_rows;
	int n = 0;
	add_suggestions(&seeds);
	struct screened *screened = malloc(((size_t)n_rows + 1) * sizeof *screened);
	for (int i = 0; screened && i < n_rows; i++) {
		const char *const *cell = m->journal->rows[i].cell;
		if (is_source(m, cell, ancestors, n_ancestors))
			note_source(m, cell, i, sources, &n);
	}
	qsort(sources, (size_t)n, sizeof *sources, compare_sources);
	for (int i = 0; i < n && seeds.n < MAX_SEEDS; i++)
		add_source(&seeds, &sources[i], n_rows, screened);
	free(screened);
	return seeds.n;
}
