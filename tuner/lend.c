#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/table.h"
#include "tuner/retime.h"
#include "tuner/verdicts.h"
#include "tuner/verify.h"

static const double ALL_SECONDS = 100, CONFIDENCE = 0.95;
enum { OWN, LENT, DEFAULT, N_RIVALS, MAX_ROWS = 1024 };

/* Relative costs over all rows. */
struct costs {
	double lent[MAX_ROWS], plain[MAX_ROWS];
	int n;
};

/* As table_lookup() would choose if the row were not there. */
static const struct tuned_row *lender_of(const struct verdicts *verdicts, const struct tuned_row *v)
{
	const struct tuned_row *best = NULL;
	for (int i = 0; i < verdicts->n; i++) {
		const struct tuned_row *row = &verdicts->row[i];
		const struct shape *s = &row->shape;
		if (row->kernel != v->kernel || strcmp(row->id, v->id) || row->problem[0] ||
		    memcmp(&row->kase, &v->kase, sizeof v->kase) ||
		    (s->m == v->shape.m && s->k == v->shape.k) ||
		    !v->kernel->valid(&v->shape, v->kase.value, row->config.value,
		                      &v->provenance.info))
			continue;
		if (!best ||
		    table_distance(s->m, s->k, v->shape.m, v->shape.k) <
		            table_distance(best->shape.m, best->shape.k, v->shape.m, v->shape.k))
			best = row;
	}
	return best;
}

/* The rows to time with their lenders; returns their number. */
static int list_rows(const struct verdicts *verdicts, const struct device_info *info,
                     const struct tune_options *options, const struct tuned_row **row,
                     const struct tuned_row **lender)
{
	int n = 0;
	for (int i = 0; i < verdicts->n && n < MAX_ROWS; i++) {
		const struct tuned_row *v = &verdicts->row[i];
		if (!v->kernel->lends_rows || v->problem[0] || !verdict_wanted(v, info, options))
			continue;
		row[n] = v;
		lender[n] = lender_of(verdicts, v);
		n += lender[n] != NULL;
	}
	return n;
}

static enum status time_row(struct worker *worker, const struct tuned_row *v,
                            const struct tuned_row *lender, double seconds,
                            const struct tune_options *options, struct costs *costs)
{
	enum status status;
	const struct config configs[N_RIVALS] = {
	        [OWN] = v->config, [LENT] = lender->config, [DEFAULT] = config_default(v->kernel)};
	struct task task = {.kernel = v->kernel, .kase = v->kase, .shape = v->shape};
	struct retiming *r = calloc(1, sizeof *r);
	char config[CONFIG_TEXT];
	if (!r)
		return fail(STATUS_NO_MEMORY, "no memory for a retiming");
	strcpy(task.case_text, v->case_text);
	strcpy(task.shape_text, v->shape_text);
	TRY(retime(worker, &task, configs, N_RIVALS, v->default_us,
	           &(struct retime_plan){.confidence = CONFIDENCE, .seconds = seconds},
	           options->interrupted, r));
	printf("%s,%s,%s,%s,%s,", v->kernel->name, v->case_text, v->shape_text, lender->shape_text,
	       params_format(v->kernel->params, v->kernel->n_params, lender->config.value, config));
	if (r->failed >= 0) {
		printf(",,,0,%s\n", r->failure.status);
		goto done;
	}
	const double lent = retiming_compare(r, OWN, LENT, CONFIDENCE).ratio.median,
	             plain = retiming_compare(r, OWN, DEFAULT, CONFIDENCE).ratio.median;
	printf("%.6g,%.4f,%.4f,%d,ok\n", median(r->us[OWN], r->n_rounds), lent, plain, r->n_rounds);
	fflush(stdout);
	costs->lent[costs->n] = 100 * (lent - 1);
	costs->plain[costs->n++] = 100 * (plain - 1);
done:
	worker->task = NULL;
	free(r);
	return status;
}

static double greatest(const double *values, int n)
{
	double most = values[0];
	for (int i = 1; i < n; i++)
		most = fmax(most, values[i]);
	return most;
}

static void print_sum(const struct costs *c)
{
	if (c->n)
		fprintf(stderr,
		        "warpsmith-tune: %d rows: with the nearest row %+.1f %% of their time "
		        "(median; at most %+.1f %%), with the default %+.1f %% (at most %+.1f "
		        "%%)\n",
		        c->n, median(c->lent, c->n), greatest(c->lent, c->n),
		        median(c->plain, c->n), greatest(c->plain, c->n));
}

enum status lend(const char *folder, const struct tune_options *options)
{
	enum status status;
	static const struct tuned_row *row[MAX_ROWS], *lender[MAX_ROWS];
	struct verdicts verdicts = {0};
	struct worker worker = {0};
	struct progress progress;
	struct costs costs = {.n = 0};
	TRY(verdicts_open(folder, WHOLE_SPACES, &verdicts));
	TRY(worker_start(&worker, options->device));
	const int n = list_rows(&verdicts, &worker.info, options, row, lender);
	if (!n) {
		status = fail(STATUS_FAILED, "%s: no rows of %s with others of their case", folder,
		              worker.info.name);
		goto done;
	}
	printf("kernel,case,shape,nearest,nearest_config,us,nearest_ratio,default_ratio,rounds,"
	       "status\n");
	progress_start(&progress, "nearest rows", n, options->quiet);
	for (int i = 0; i < n; i++) {
		TRY(time_row(&worker, row[i], lender[i], ALL_SECONDS / n, options, &costs));
		progress_update(&progress, i + 1, NULL);
	}
	progress_finish(&progress, NULL);
	print_sum(&costs);
done:
	worker_stop(&worker);
	verdicts_close(&verdicts);
	return status;
}
