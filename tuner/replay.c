#include "tuner/replay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/csv.h"

static const double DEFAULT_PERCENT = 10;

struct landscape {
	struct points points;
	double *us; /* INFINITY: failed */
	double optimum_us;
};

static void landscape_close(struct landscape *landscape)
{
	points_close(&landscape->points);
	free(landscape->us);
	*landscape = (struct landscape){0};
}

/* The number of columns before time_us, which are the parameters. */
static enum status count_params(const struct csv_table *table, int *n_params)
{
	*n_params = csv_column(table, "time_us");
	if (*n_params < 0)
		return fail(STATUS_FAILED, "%s: no column 'time_us'", table->path);
	if (*n_params == 0)
		return fail(STATUS_FAILED, "%s: no parameters before column 'time_us'",
		            table->path);
	if (*n_params > POINTS_MAX_PARAMS)
		return fail(STATUS_FAILED, "%s: %d parameters, at most %d are read", table->path,
		            *n_params, POINTS_MAX_PARAMS);
	for (int i = 0; i < *n_params; i++)
		if (csv_column(table, table->column[i]) != i)
			return fail(STATUS_FAILED, "%s: two columns '%s'", table->path,
			            table->column[i]);
	if (!table->n_rows)
		return fail(STATUS_FAILED, "%s: no rows", table->path);
	return STATUS_OK;
}

static enum status read_values(const struct csv_table *table, int n_params, double *value)
{
	enum status status = STATUS_OK;
	for (int r = 0; r < table->n_rows; r++)
		for (int p = 0; p < n_params; p++, value++) {
			TRY(csv_number(table, r, p, value));
			if (!isfinite(*value)) {
				status = fail(STATUS_FAILED, "%s:%d: %s: '%s' is no number",
				              table->path, r + 2, table->column[p],
				              csv_cell(table, r, p));
				goto done;
			}
		}
done:
	return status;
}

/* A configuration failed when its status says so, or by having no time where there is no status. */
static enum status read_times(const struct csv_table *table, int column, struct landscape *l)
{
	enum status status = STATUS_OK;
	int status_column = csv_column(table, "status");
	l->optimum_us = INFINITY;
	for (int r = 0; r < table->n_rows; r++) {
		double us;
		const char *text = csv_cell(table, r, column);
		bool failed = status_column < 0 ? !*text
		                                : strcmp(csv_cell(table, r, status_column), "ok");
		TRY(csv_number(table, r, column, &us));
		if (!failed && !(isfinite(us) && us > 0)) {
			status = fail(STATUS_FAILED, "%s:%d: time_us: '%s' is no time", table->path,
			              r + 2, text);
			goto done;
		}
		l->us[r] = failed ? INFINITY : us;
		l->optimum_us = fmin(l->optimum_us, l->us[r]);
	}
	if (!isfinite(l->optimum_us))
		status = fail(STATUS_FAILED, "%s: no configuration has a time", table->path);
done:
	return status;
}

static enum status landscape_open(const char *path, struct landscape *l)
{
	enum status status;
	struct csv_table table = {0};
	double *value = NULL;
	int n_params, twin[2];
	*l = (struct landscape){0};
	TRY(csv_read(path, &table));
	TRY(count_params(&table, &n_params));
	value = malloc((size_t)table.n_rows * (size_t)n_params * sizeof *value);
	l->us = malloc((size_t)table.n_rows * sizeof *l->us);
	if (!value || !l->us) {
		status = fail(STATUS_NO_MEMORY, "%s: out of memory", path);
		goto done;
	}
	TRY(read_values(&table, n_params, value));
	TRY(read_times(&table, n_params, l));
	status = points_open(value, table.n_rows, n_params, &l->points, twin);
	if (status == STATUS_FAILED && twin[0] >= 0)
		status = fail(STATUS_FAILED, "%s:%d: the configuration of line %d again", path,
		              twin[1] + 2, twin[0] + 2);
done:
	free(value);
	csv_close(&table);
	if (status != STATUS_OK)
		landscape_close(l);
	return status;
}

/* One evaluation at a time: a strategy knows all results when it proposes the next. */
static enum status replay_seed(const struct landscape *l, const struct strategy *strategy,
                               int evaluations, unsigned long long seed)
{
	enum status status;
	struct search search;
	double best = INFINITY;
	TRY(search_open(strategy, &l->points, seed, &search));
	while (search.n_tried < evaluations) {
		TRY(strategy->propose(&search, 1));
		if (search.n_taken == search.n_tried)
			break;
		const double us = l->us[search.order[search.n_tried]];
		search_tried(&search, us);
		best = fmin(best, us);
	}
	printf("%s,%llu,%d,%.6g,%.6g,%.6f\n", strategy->name, seed, search.n_tried, best,
	       l->optimum_us, best / l->optimum_us);
done:
	search_close(strategy, &search);
	return status;
}

enum status replay(const char *path, const struct strategy *strategy, const struct budget *budget,
                   unsigned long long first_seed, int n_seeds)
{
	enum status status;
	struct landscape landscape = {0};
	struct budget known = *budget;
	if (known.seconds > 0)
		return fail(STATUS_USAGE, "--replay: a budget is N or P%%, not seconds");
	if (!known.evaluations && !(known.percent > 0))
		known.percent = DEFAULT_PERCENT;
	TRY(landscape_open(path, &landscape));
	int evaluations = budget_evaluations(&known, landscape.points.n);
	printf("strategy,seed,evaluations,best_us,optimum_us,best_over_optimum\n");
	for (int i = 0; i < n_seeds; i++)
		TRY(replay_seed(&landscape, strategy, evaluations, first_seed + (unsigned)i));
done:
	landscape_close(&landscape);
	return status;
}
