#define _GNU_SOURCE
#include "tuner/verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/timer.h"
#include "tuner/breakpoints.h"
#include "tuner/instances.h"
#include "tuner/retime.h"
#include "tuner/verdicts.h"

/* Of all rows together; what is left of two minutes is for the worker to end. */
static const double ALL_SECONDS = 110;
/* One row that cannot be set up, or hangs, takes this much of what is left, or its share if that is
 * more. */
static const double MOST_OF_REST = 0.25;
static const double ANNOUNCE_SECONDS = 10;

/* A row may be behind the verdict of other journals by this much. */
static const double RIVAL_LIMIT = 0.03;

/* What the times say of a row. */
enum holds { HOLDS, BROKEN, UNSURE, UNTIMED, N_HOLDS };
static const char *const holds_names[] = {"yes", "no", "unsure", "untimed"};

struct verification {
	const struct tune_options *options;
	struct worker worker;
	struct progress progress;
	double started, seconds, confidence;
	const struct tuned_row **row; /* n */
	struct verdicts other;        /* of the folder of rivals, if there is one */
	bool has_other;
	int n_rivals;
	double worst_rival; /* the least of their times, by the row's */
	int n, done, count[N_HOLDS];
	int announced; /* rows whose configurations this worker was told of: */
	pid_t pid;
};

bool verdict_wanted(const struct tuned_row *v, const struct device_info *info,
                    const struct tune_options *options)
{
	char alone[64];
	return !strcmp(v->provenance.info.slug, info->slug) &&
	       name_listed(options->request.kernels, v->kernel->name) &&
	       (name_listed(options->request.shapes, v->shape_text) ||
	        name_listed(options->request.shapes, shape_alone(v->shape_text, alone)));
}

/* The configurations to time, the row's own first; 0 where there is none. */
struct rivals {
	struct config config[4];
	int n, is_default, is_runner_up, is_other; /* their places; is_other -1: none */
};

static int add_rival(struct rivals *r, const struct config *config)
{
	for (int i = 0; i < r->n; i++)
		if (!memcmp(&r->config[i], config, sizeof *config))
			return i;
	r->config[r->n] = *config;
	return r->n++;
}

/* The other folder's verdict on a row's launch, beside the same weights or alone; NULL when there
 * is none. */
static const struct tuned_row *find_other(const struct verification *v, const struct tuned_row *row)
{
	const struct tuned_row *found = NULL;
	for (int i = 0; i < v->other.n; i++) {
		const struct tuned_row *other = &v->other.row[i];
		const int beside = other->shape.beside;
		if (!verdict_compare_groups(other, row) && other->shape.len == row->shape.len &&
		    (beside == BESIDE_NONE || beside == row->shape.beside) && other->fresh &&
		    !other->problem[0])
			found = other; /* the one alone comes first */
	}
	return found;
}

static struct rivals rivals_of(const struct verification *verification, const struct tuned_row *v)
{
	struct rivals r = {.is_other = -1};
	const struct tuned_row *other = find_other(verification, v);
	struct config plain = config_default(v->kernel);
	add_rival(&r, &v->config);
	r.is_default = add_rival(&r, &plain);
	if (v->has_runner_up)
		r.is_runner_up = add_rival(&r, &v->runner_up);
	if (other)
		r.is_other = add_rival(&r, &other->config);
	return r;
}

/* The row whose rivals are timed. */
struct trial {
	const struct tuned_row *row;
	struct rivals rivals;
};

static const char *rival_name(const struct rivals *rivals, int i)
{
	return !i                          ? "the row"
	       : i == rivals->is_default   ? "the default"
	       : i != rivals->is_other     ? "the runner-up"
	       : i == rivals->is_runner_up ? "the runner-up"
	                                   : "the rival";
}

/* Whether it is in the race for the other folder alone. */
static bool is_other_alone(const struct rivals *r, int i)
{
	return i == r->is_other && i != r->is_default && i != r->is_runner_up;
}

/* The row's own failure refutes it, that of another takes away what it could be compared with. */
static enum holds judge_failure(const struct trial *trial, const struct retiming *r,
                                char reason[320])
{
	snprintf(reason, 320, "%s fails: %s: %s", rival_name(&trial->rivals, r->failed),
	         r->failure.status, r->failure.reason);
	return r->failed == 0 && strcmp(r->failure.status, "memory") ? BROKEN : UNSURE;
}

/* A row holds when it is shown that no rival is faster by more than what matters, or, at a length
 * of a range, by what ranges allow; it does not when the opposite is shown. One that the decode
 * loop chose may be slower alone by any amount. */
static enum holds judge(const struct trial *trial, const struct retiming *r, double confidence,
                        char reason[320])
{
	const double allowed = isfinite(trial->row->regret_percent) ? REGRET_LIMIT : RACE_MATTERS;
	const bool enough = r->n_rounds >= retime_first_look(confidence);
	const enum timer_stop stop = r->n_rounds < RETIME_ROUNDS ? TIMER_TIME : TIMER_SAMPLES;
	enum holds holds = HOLDS;
	reason[0] = 0;
	if (r->failed >= 0)
		return judge_failure(trial, r, reason);
	if (!r->n_rounds) {
		snprintf(reason, 320, "no round of it ended in time");
		return UNTIMED;
	}
	if (!strcmp(trial->row->method, DECODE_METHOD))
		return HOLDS;
	for (int i = 1; i < trial->rivals.n; i++) {
		const char *name = rival_name(&trial->rivals, i);
		const double least =
		        1 / (1 + (is_other_alone(&trial->rivals, i) ? RIVAL_LIMIT : allowed));
		struct comparison c = retiming_compare(r, 0, i, confidence);
		if (c.verdict == VERDICT_FASTER && c.ratio.median < least) {
			snprintf(reason, 320, "%s takes %+.1f %%", name,
			         100 * (c.ratio.median - 1));
			return BROKEN;
		}
		if (enough && c.ratio.lo >= least)
			continue;
		holds = UNSURE;
		snprintf(reason, 320, "%s takes %+.1f to %+.1f %%; ended by %s", name,
		         100 * (c.ratio.lo - 1), 100 * (c.ratio.hi - 1), timer_stop_name(stop));
	}
	return holds;
}

static bool is_judged(const struct retiming *r, double confidence, const void *user)
{
	char reason[320];
	return judge(user, r, confidence, reason) != UNSURE;
}

static void print_ratio(const struct retiming *r, int which, double confidence, const char *end)
{
	if (which && r->failed < 0 && r->n_rounds)
		printf("%.4f", retiming_compare(r, 0, which, confidence).ratio.median);
	else if (!which)
		printf("1");
	printf("%s", end);
}

/* One row, its cells free of commas and quotes but for the last. */
static void print_row(const struct verification *verification, const struct trial *trial,
                      const struct retiming *r, enum holds holds, const char *reason)
{
	const double confidence = verification->confidence;
	const struct tuned_row *v = trial->row;
	char config[CONFIG_TEXT];
	params_format(v->kernel->params, v->kernel->n_params, v->config.value, config);
	printf("%s,%s,%s,%s,%s,%s,", v->kernel->name, v->case_text, v->shape_text, config,
	       v->status, holds_names[holds]);
	if (r->n_rounds && r->failed < 0)
		printf("%.6g", median(r->us[0], r->n_rounds));
	printf(",");
	print_ratio(r, trial->rivals.is_default, confidence, ",");
	if (v->has_runner_up)
		print_ratio(r, trial->rivals.is_runner_up, confidence, ",");
	else
		printf(",");
	printf("%d,\"", r->n_rounds);
	for (const char *c = reason; *c; c++)
		printf(*c == '"' ? "\"\"" : "%c", *c);
	printf("\"");
	if (verification->has_other) {
		printf(",");
		if (trial->rivals.is_other >= 0)
			print_ratio(r, trial->rivals.is_other, confidence, "");
	}
	printf("\n");
	fflush(stdout);
}

static void announce_row(struct verification *v, const struct tuned_row *row)
{
	char request[WORKER_LINE];
	struct answer answer;
	const struct rivals rivals = rivals_of(v, row);
	char *end = request + sprintf(request, "ahead\t%s\t%s", row->kernel->name, row->case_text);
	for (int i = 0; i < rivals.n; i++) {
		*end++ = '\t';
		params_format(row->kernel->params, row->kernel->n_params, rivals.config[i].value,
		              end);
		end += strlen(end);
	}
	strcpy(end, "\n");
	worker_ask(&v->worker, request);
	worker_answer(&v->worker, ANNOUNCE_SECONDS, 0, &answer); /* a failure shows in its row */
}

/* Has a GPU's worker compile the next rows while it measures: that takes longer than to measure
 * one. */
static void announce(struct verification *v)
{
	const int until = v->done + instances_compilers();
	if (!v->worker.info.target.sm)
		return;
	if (v->pid != v->worker.pid)
		v->announced = v->done;
	v->pid = v->worker.pid;
	for (; v->announced < v->n && v->announced <= until && worker_alive(&v->worker);
	     v->announced++)
		if (!v->row[v->announced]->problem[0])
			announce_row(v, v->row[v->announced]);
}

/* Times one row in its share of what is left, its set-up included. */
static enum status time_row(struct verification *v, const struct trial *trial, double left,
                            struct retiming *r)
{
	const struct tuned_row *row = trial->row;
	const double share = left / (v->n - v->done);
	struct task task = {.kernel = row->kernel, .kase = row->kase, .shape = row->shape};
	const struct retime_plan plan = {.confidence = v->confidence,
	                                 .seconds = share,
	                                 .with_setup = true,
	                                 .least_rounds = retime_first_look(v->confidence),
	                                 .settled = is_judged,
	                                 .user = trial};
	strcpy(task.case_text, row->case_text);
	strcpy(task.shape_text, row->shape_text);
	v->worker.until = seconds_now() + fmax(share, MOST_OF_REST * left);
	announce(v);
	enum status status = retime(&v->worker, &task, trial->rivals.config, trial->rivals.n,
	                            row->default_us, &plan, v->options->interrupted, r);
	v->worker.task = NULL;
	return status;
}

/* What the decode loop chose may be slower alone. */
static void note_rival(struct verification *v, const struct trial *trial, const struct retiming *r)
{
	const int other = trial->rivals.is_other;
	if (other < 0 || r->failed >= 0 || !r->n_rounds ||
	    !strcmp(trial->row->method, DECODE_METHOD))
		return;
	v->n_rivals++;
	if (other)
		v->worst_rival = fmin(v->worst_rival,
		                      retiming_compare(r, 0, other, v->confidence).ratio.median);
}

static enum status verify_row(struct verification *v, const struct tuned_row *row)
{
	enum status status = STATUS_OK;
	enum holds holds = UNTIMED;
	char reason[320] = "";
	const struct trial trial = {row, rivals_of(v, row)};
	const double left = v->started + v->seconds - seconds_now();
	struct retiming *r = calloc(1, sizeof *r);
	if (!r)
		return fail(STATUS_NO_MEMORY, "no memory for a retiming");
	r->failed = -1;
	if (row->problem[0]) {
		holds = BROKEN;
		snprintf(reason, sizeof reason, "no configuration of the kernel any more: %s",
		         row->problem);
	} else if (left <= 0) {
		snprintf(reason, sizeof reason, "the budget of %g s was over", v->seconds);
	} else {
		status = time_row(v, &trial, left, r);
		if (status == STATUS_OK)
			holds = judge(&trial, r, v->confidence, reason);
		else if (status == STATUS_UNSUPPORTED)
			snprintf(reason, sizeof reason, "%s", fail_message());
		else
			goto done;
		status = STATUS_OK;
	}
	note_rival(v, &trial, r);
	print_row(v, &trial, r, holds, reason);
	v->count[holds]++;
	v->done++;
done:
	free(r);
	return status;
}

/* The time left is what the rows so far took each, or what is left of the budget. */
static void show_progress(struct verification *v)
{
	char note[64];
	const double spent = seconds_now() - v->started;
	const double left = fmax(fmin(spent / v->done * (v->n - v->done), v->seconds - spent), 0);
	snprintf(note, sizeof note, "%d of %d rows", v->done, v->n);
	v->progress.total = spent + left;
	progress_update(&v->progress, spent, note);
}

static enum status conclude(struct verification *v)
{
	const int *count = v->count;
	progress_finish(&v->progress, NULL);
	if (count[UNSURE] || count[UNTIMED])
		fprintf(stderr,
		        "warpsmith-tune: of %d rows %d could not be told and %d not timed in %g "
		        "s\n",
		        v->n, count[UNSURE], count[UNTIMED], v->seconds);
	if (v->has_other)
		fprintf(stderr,
		        "warpsmith-tune: %d of %d rows were timed beside a rival; the worst takes "
		        "%+.1f %%\n",
		        v->n_rivals, v->n, 100 * (1 / v->worst_rival - 1));
	if (count[BROKEN])
		return fail(STATUS_VIOLATION, "%d of %d rows no longer hold", count[BROKEN], v->n);
	return STATUS_OK;
}

enum status verify(const char *folder, const char *rival_folder, const struct tune_options *options,
                   double seconds)
{
	enum status status;
	struct verdicts verdicts = {0};
	struct verification v = {.options = options,
	                         .has_other = rival_folder,
	                         .worst_rival = 1,
	                         .started = seconds_now(),
	                         .seconds = seconds > 0 ? seconds : ALL_SECONDS};
	TRY(verdicts_open(folder, WHOLE_SPACES, &verdicts));
	if (rival_folder)
		TRY(verdicts_open(rival_folder, ALL_SPACES, &v.other));
	TRY(worker_start(&v.worker, options->device));
	v.row = malloc(((size_t)verdicts.n + 1) * sizeof *v.row);
	if (!v.row) {
		status = fail(STATUS_NO_MEMORY, "no memory for %d rows", verdicts.n);
		goto done;
	}
	for (int i = 0; i < verdicts.n; i++)
		if (verdict_wanted(&verdicts.row[i], &v.worker.info, options))
			v.row[v.n++] = &verdicts.row[i];
	if (!v.n) {
		status = fail(STATUS_FAILED, "%s: no tuned rows of %s", folder, v.worker.info.name);
		goto done;
	}
	v.confidence = 1 - RACE_ERROR / ((rival_folder ? 3 : 2) * v.n);
	printf("kernel,case,shape,config,verdict,holds,us,default_ratio,runner_up_ratio,rounds,"
	       "reason%s\n",
	       rival_folder ? ",rival_ratio" : "");
	progress_start(&v.progress, "verify", v.seconds, options->quiet);
	for (int i = 0; i < v.n; i++) {
		TRY(verify_row(&v, v.row[i]));
		show_progress(&v);
	}
	TRY(conclude(&v));
done:
	worker_stop(&v.worker);
	free(v.row);
	verdicts_close(&v.other);
	verdicts_close(&verdicts);
	return status;
}
