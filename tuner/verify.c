#define _GNU_SOURCE
#include "tuner/verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/breakpoints.h"
#include "tuner/retime.h"
#include "tuner/verdicts.h"

static const double ALL_SECONDS = 100; /* of timing; what is left of two minutes is set-up */

bool verdict_wanted(const struct tuned_row *v, const struct device_info *info,
                    const struct tune_options *options)
{
	return !strcmp(v->provenance.info.slug, info->slug) &&
	       name_listed(options->request.kernels, v->kernel->name) &&
	       name_listed(options->request.shapes, v->shape_text);
}

/* The configurations to time, the row's own first; 0 where there is none. */
struct rivals {
	struct config config[3];
	int n, is_default, is_runner_up; /* their places */
};

static int add_rival(struct rivals *r, const struct config *config)
{
	for (int i = 0; i < r->n; i++)
		if (!memcmp(&r->config[i], config, sizeof *config))
			return i;
	r->config[r->n] = *config;
	return r->n++;
}

static struct rivals rivals_of(const struct tuned_row *v)
{
	struct rivals r = {0};
	struct config plain = config_default(v->kernel);
	add_rival(&r, &v->config);
	r.is_default = add_rival(&r, &plain);
	if (v->has_runner_up)
		r.is_runner_up = add_rival(&r, &v->runner_up);
	return r;
}

/* Why the row no longer holds; "" when it does. That of a range may be slower at a length by what
 * ranges allow; one that the decode loop chose may be slower alone by any amount. */
static void judge(const struct tuned_row *v, const struct rivals *rivals, const struct retiming *r,
                  double confidence, char reason[320])
{
	const double allowed = isfinite(v->regret_percent) ? REGRET_LIMIT : 0;
	static const char *const names[] = {"the row", "the default", "the runner-up"};
	reason[0] = 0;
	if (r->failed >= 0) {
		const char *name = names[r->failed == 0                    ? 0
		                         : r->failed == rivals->is_default ? 1
		                                                           : 2];
		snprintf(reason, 320, "%s fails: %s: %s", name, r->failure.status,
		         r->failure.reason);
		return;
	}
	if (!strcmp(v->method, DECODE_METHOD))
		return;
	for (int i = 1; i < rivals->n; i++) {
		struct comparison c = retiming_compare(r, 0, i, confidence);
		if (c.verdict == VERDICT_FASTER && c.ratio.median < 1 / (1 + allowed)) {
			snprintf(reason, 320, "%s takes %+.1f %%",
			         names[i == rivals->is_default ? 1 : 2],
			         100 * (c.ratio.median - 1));
			return;
		}
	}
}

static void print_ratio(const struct retiming *r, int which, double confidence)
{
	if (which && r->failed < 0 && r->n_rounds)
		printf("%.4f,", retiming_compare(r, 0, which, confidence).ratio.median);
	else
		printf(which ? "," : "1,");
}

/* One row, its cells free of commas and quotes but for the last. */
static void print_row(const struct tuned_row *v, const struct rivals *rivals,
                      const struct retiming *r, double confidence, const char *reason)
{
	char config[CONFIG_TEXT];
	params_format(v->kernel->params, v->kernel->n_params, v->config.value, config);
	printf("%s,%s,%s,%s,%s,%s,", v->kernel->name, v->case_text, v->shape_text, config,
	       v->status, reason[0] ? "no" : "yes");
	if (r->n_rounds && r->failed < 0)
		printf("%.6g", median(r->us[0], r->n_rounds));
	printf(",");
	print_ratio(r, rivals->is_default, confidence);
	if (v->has_runner_up)
		print_ratio(r, rivals->is_runner_up, confidence);
	else
		printf(",");
	printf("%d,\"", r->n_rounds);
	for (const char *c = reason; *c; c++)
		printf(*c == '"' ? "\"\"" : "%c", *c);
	printf("\"\n");
	fflush(stdout);
}

static enum status verify_row(struct worker *worker, const struct tuned_row *v, double confidence,
                              double seconds, const struct tune_options *options, bool *holds)
{
	enum status status = STATUS_OK;
	char reason[320] = "";
	struct task task = {.kernel = v->kernel, .kase = v->kase, .shape = v->shape};
	struct rivals rivals = rivals_of(v);
	struct retiming *r = calloc(1, sizeof *r);
	if (!r)
		return fail(STATUS_NO_MEMORY, "no memory for a retiming");
	strcpy(task.case_text, v->case_text);
	strcpy(task.shape_text, v->shape_text);
	r->failed = -1;
	if (v->problem[0]) {
		snprintf(reason, sizeof reason, "no configuration of the kernel any more: %s",
		         v->problem);
	} else {
		status = retime(worker, &task, rivals.config, rivals.n, v->default_us, confidence,
		                seconds, options->interrupted, r);
		if (status == STATUS_UNSUPPORTED) {
			snprintf(reason, sizeof reason, "%s", fail_message());
			status = STATUS_OK;
		}
		TRY(status);
		if (!reason[0])
			judge(v, &rivals, r, confidence, reason);
	}
	*holds = !reason[0];
	print_row(v, &rivals, r, confidence, reason);
done:
	worker->task = NULL;
	free(r);
	return status;
}

enum status verify(const char *folder, const struct tune_options *options)
{
	enum status status;
	struct verdicts verdicts = {0};
	struct worker worker = {0};
	struct progress progress;
	int n = 0, done = 0, broken = 0;
	bool holds = false;
	TRY(verdicts_open(folder, &verdicts));
	TRY(worker_start(&worker, options->device));
	for (int i = 0; i < verdicts.n; i++)
		n += verdict_wanted(&verdicts.row[i], &worker.info, options);
	if (!n) {
		status = fail(STATUS_FAILED, "%s: no tuned rows of %s", folder, worker.info.name);
		goto done;
	}
	double confidence = 1 - RACE_ERROR / (2 * n), started = seconds_now();
	printf("kernel,case,shape,config,verdict,holds,us,default_ratio,runner_up_ratio,rounds,"
	       "reason\n");
	progress_start(&progress, "verify", n, options->quiet);
	for (int i = 0; i < verdicts.n; i++) {
		if (!verdict_wanted(&verdicts.row[i], &worker.info, options))
			continue;
		double left = ALL_SECONDS - (seconds_now() - started);
		TRY(verify_row(&worker, &verdicts.row[i], confidence, fmax(left, 0) / (n - done),
		               options, &holds));
		broken += !holds;
		progress_update(&progress, ++done, NULL);
	}
	progress_finish(&progress, NULL);
	if (broken)
		status = fail(STATUS_VIOLATION, "%d of %d rows no longer hold", broken, n);
done:
	worker_stop(&worker);
	verdicts_close(&verdicts);
	return status;
}
