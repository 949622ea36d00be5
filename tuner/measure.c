#define _GNU_SOURCE
#include "tuner/measure.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/progress.h"

/* A candidate that takes SLOWEST times as long as the default is out after one launch; a launch is
 * a hang when it exceeds that by LAUNCHES times and the allowance for everything else. */
static const double SLOWEST = 20, LAUNCHES = 20, ALLOWANCE_SECONDS = 10;
static const double SETUP_SECONDS = 600, DEFAULT_SECONDS = 120, COMPILE_SECONDS = 300;
static const double CEILING_SECONDS = 180;
/* A set-up that takes longer takes long. */
static const double CHEAP_SECONDS = 0.03;
/* Set-ups of one task that may fail in a row before it is given up; and times that a worker may be
 * killed from outside on the same candidates before that is their fault (an out-of-memory killer's
 * doing, say). */
enum { SETUP_ATTEMPTS = 2, KILLS = 3 };

static void identify(const struct measuring *m, int round, int which, char config[CONFIG_TEXT],
                     char number[16], const char *identity[N_JOURNAL_IDENTITY])
{
	const struct task *task = m->task;
	params_format(task->kernel->params, task->kernel->n_params,
	              m->candidates->config[which].value, config);
	snprintf(number, 16, "%d", round);
	identity[JOURNAL_key] = m->provenance->key;
	identity[JOURNAL_kernel] = task->kernel->name;
	identity[JOURNAL_case] = task->case_text;
	identity[JOURNAL_shape] = task->shape_text;
	identity[JOURNAL_config] = config;
	identity[JOURNAL_round] = number;
}

const struct journal_row *measure_row(const struct measuring *m, int round, int which)
{
	char config[CONFIG_TEXT], number[16];
	const char *identity[N_JOURNAL_IDENTITY];
	identify(m, round, which, config, number, identity);
	return journal_find(m->journal, identity);
}

int measure_known(const struct measuring *m, int round, const int *which, int n)
{
	int known = 0;
	for (int i = 0; i < n; i++)
		known += measure_row(m, round, which[i]) != NULL;
	return known;
}

static void now_text(char text[32])
{
	time_t now = time(NULL);
	struct tm tm;
	strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
}

static enum status record(struct measuring *m, int round, int which, const struct answer *answer,
                          double seconds)
{
	char config[CONFIG_TEXT], number[16], us[32] = "", samples[16] = "", took[32], date[32];
	const char *cell[N_JOURNAL_COLUMNS] = {0};
	bool ok = !strcmp(answer->status, "ok");
	identify(m, round, which, config, number, cell);
	if (ok) {
		snprintf(us, sizeof us, "%.6g", answer->value);
		snprintf(samples, sizeof samples, "%d", answer->samples);
	}
	snprintf(took, sizeof took, "%.4f", seconds);
	now_text(date);
	cell[JOURNAL_us] = us;
	cell[JOURNAL_status] = answer->status;
	cell[JOURNAL_reason] = answer->reason;
	cell[JOURNAL_samples] = samples;
	cell[JOURNAL_seconds] = took;
	cell[JOURNAL_date] = date;
	return journal_append(m->journal, cell);
}

/* A worker set up for the task. */
static enum status ready(struct measuring *m)
{
	enum status status = STATUS_OK;
	char request[1024];
	struct answer answer = {.status = "hang", .reason = "no time left"};
	const struct task *task = m->task;
	const bool is_new = m->worker->task != task;
	double started = seconds_now();
	for (int attempt = 0, kills = 0; attempt < SETUP_ATTEMPTS && kills < KILLS &&
	                                 m->worker->task != task && !worker_late(m->worker);) {
		if (!worker_alive(m->worker))
			TRY(worker_start(m->worker, m->worker->device));
		snprintf(request, sizeof request, "task\t%s\t%s\t%s\n", task->kernel->name,
		         task->case_text, task->shape_text);
		worker_ask(m->worker, request);
		worker_answer(m->worker, SETUP_SECONDS, 0, &answer);
		if (!strcmp(answer.status, "ok"))
			m->worker->task = task;
		bool killed = !strcmp(answer.status, "killed");
		kills += killed;
		attempt += !killed;
	}
	const double seconds = seconds_now() - started;
	m->setup_seconds += seconds;
	if (is_new) {
		m->draw_setup_seconds = seconds;
		m->draw_seconds = 0;
	}
	if (m->worker->task != task)
		status = fail(STATUS_UNSUPPORTED, "%s %s %s: cannot be set up: %s: %s",
		              task->kernel->name, task->case_text, task->shape_text, answer.status,
		              answer.reason);
done:
	return status;
}

/* After a failed launch the device's state is unknown. */
static void distrust(struct measuring *m, const struct answer *answer)
{
	if (!strcmp(answer->status, "launch"))
		worker_stop(m->worker);
}

/* Whether to ask again. */
static bool was_killed(struct answer *answer, int *kills)
{
	if (strcmp(answer->status, "killed") != 0)
		return false;
	if (++*kills < KILLS)
		return true;
	strcpy(answer->status, "crash");
	return false;
}

static char *append_config(const struct measuring *m, int which, char *at)
{
	*at++ = '\t';
	params_format(m->task->kernel->params, m->task->kernel->n_params,
	              m->candidates->config[which].value, at);
	return at + strlen(at);
}

static enum status screen(struct measuring *m, int which)
{
	enum status status;
	char request[CONFIG_TEXT + 64];
	struct answer answer;
	double started, limit_us = which ? SLOWEST * m->default_us : 0;
	int kills = 0;
	char *end = request + sprintf(request, "screen\t%.6g", limit_us);
	strcpy(append_config(m, which, end), "\n");
	do {
		TRY(ready(m));
		started = seconds_now();
		worker_ask(m->worker, request);
		worker_answer(m->worker, COMPILE_SECONDS,
		              which ? ALLOWANCE_SECONDS + LAUNCHES * 1e-6 * limit_us
		                    : DEFAULT_SECONDS,
		              &answer);
	} while (was_killed(&answer, &kills));
	distrust(m, &answer);
	TRY(record(m, SCREENING, which, &answer, seconds_now() - started));
done:
	return status;
}

enum status measure_prepare(struct measuring *m, const int *which, int n)
{
	enum status status = STATUS_OK;
	char request[WORKER_LINE];
	char *end = request + sprintf(request, "prepare");
	struct answer answer;
	int missing = 0;
	if (!m->worker->info.target.sm)
		return STATUS_OK;
	for (int i = 0; i < n && end < request + WORKER_LINE - CONFIG_TEXT - 4; i++) {
		if (m->journal && measure_row(m, SCREENING, which[i]))
			continue;
		end = append_config(m, which[i], end);
		missing++;
	}
	strcpy(end, "\n");
	if (!missing)
		return STATUS_OK;
	TRY(ready(m));
	worker_ask(m->worker, request);
	worker_answer(m->worker, COMPILE_SECONDS, 0, &answer);
done:
	return status;
}

static enum status stop_if_interrupted(const struct measuring *m)
{
	if (*m->interrupted)
		return fail(STATUS_FAILED, "interrupted; the same command goes on from here, "
		                           "nothing is measured twice");
	return m->crew ? crew_status(m->crew) : STATUS_OK;
}

/* What the journal has of a round, all of it by now. */
static void collect(struct measuring *m, int round, const int *which, int n, double *us)
{
	for (int i = 0; i < n; i++) {
		const struct journal_row *row = measure_row(m, round, which[i]);
		double value = row ? journal_number(row, JOURNAL_us) : NAN;
		double seconds = row ? journal_number(row, JOURNAL_seconds) : NAN;
		us[i] = row && !strcmp(row->cell[JOURNAL_status], "ok") && value > 0 ? value
		                                                                     : INFINITY;
		m->seconds += seconds > 0 ? seconds : 0;
		if (which[i] == 0 && round == SCREENING)
			m->default_us = us[i];
	}
}

static int count_state(const struct batch *batch, int state)
{
	int n = 0;
	for (int i = 0; i < batch->n; i++)
		n += (int)batch->state[i] == state;
	return n;
}

/* Its place in the batch; -1: none. */
static int find_begun(const struct batch *batch, int which)
{
	for (int i = 0; i < batch->n; i++)
		if (batch->which[i] == which)
			return i;
	return -1;
}

/* Puts those of the candidates that are in one state into another; `which` NULL: of all. Writes
 * them to `moved`, at most `most`, and returns their number. */
static int move(struct batch *batch, const int *which, int n, int from, int to, int most,
                int moved[MAX_BATCH])
{
	int n_moved = 0;
	for (int i = 0; i < (which ? n : batch->n) && n_moved < most; i++) {
		const int at = which ? find_begun(batch, which[i]) : i;
		if (at < 0 || (int)batch->state[at] != from)
			continue;
		batch->state[at] = to;
		moved[n_moved++] = batch->which[at];
	}
	return n_moved;
}

static int count_helpers(const struct measuring *m)
{
	return m->crew ? m->crew->n_idle + m->crew->n_helping : 0;
}

/* Before the default's time is known the others have no limit. */
int measure_free(const struct measuring *m)
{
	return isfinite(m->default_us) ? count_state(&m->batch, FREE) : 0;
}

/* Of n free candidates: on a GPU, where they are compiled together, all but what helpers could
 * take; else one. */
static int share_of(const struct measuring *m, int n)
{
	const int helpers = count_helpers(m);
	return m->worker->info.target.sm ? (n + helpers) / (1 + helpers) : 1;
}

/* Has the worker compile candidates, before it is set up. One that ends is started again when
 * something is measured. */
static enum status prepare_ahead(struct measuring *m, const int *which, int n)
{
	enum status status = STATUS_OK;
	char request[WORKER_LINE];
	struct answer answer;
	char *end = request +
	            sprintf(request, "ahead\t%s\t%s", m->task->kernel->name, m->task->case_text);
	if (!n)
		return STATUS_OK;
	for (int i = 0; i < n && end < request + WORKER_LINE - CONFIG_TEXT - 4; i++)
		end = append_config(m, which[i], end);
	strcpy(end, "\n");
	if (!worker_alive(m->worker))
		TRY(worker_start(m->worker, m->worker->device));
	worker_ask(m->worker, request);
	worker_answer(m->worker, COMPILE_SECONDS, 0, &answer);
done:
	return status;
}

enum status measure_begin(struct measuring *m, const int *which, int n)
{
	enum status status = STATUS_OK;
	struct batch *batch = &m->batch;
	int begun[MAX_BATCH], n_begun = 0, own[MAX_BATCH];
	for (int i = 0; i < n; i++) {
		if (find_begun(batch, which[i]) >= 0 || measure_row(m, SCREENING, which[i]))
			continue;
		assert(batch->n < MAX_BATCH);
		batch->state[batch->n] = FREE;
		batch->which[batch->n++] = begun[n_begun++] = which[i];
	}
	if (m->worker->info.target.sm) {
		const int n_own =
		        move(batch, begun, n_begun, FREE, MINE, share_of(m, n_begun), own);
		TRY(prepare_ahead(m, own, n_own));
	}
	if (m->crew && measure_free(m) > 1)
		crew_changed(m->crew);
done:
	return status;
}

/* Those of the candidates that the worker of their task screens next: what it compiles, else a
 * share of what is free. */
static int take_own(struct measuring *m, const int *which, int n, int taken[MAX_BATCH])
{
	const int n_own = move(&m->batch, which, n, MINE, TAKEN, n, taken);
	if (n_own)
		return n_own;
	int n_free = 0;
	for (int i = 0; i < n; i++) {
		const int at = find_begun(&m->batch, which[i]);
		n_free += at >= 0 && m->batch.state[at] == FREE;
	}
	return move(&m->batch, which, n, FREE, TAKEN, share_of(m, n_free), taken);
}

/* What another worker screens next. */
static int take_free(struct measuring *owner, int taken[MAX_BATCH])
{
	const int n_free = measure_free(owner);
	return n_free ? move(&owner->batch, NULL, 0, FREE, TAKEN, share_of(owner, n_free), taken)
	              : 0;
}

/* By a worker that was started anew and has compiled nothing. */
static enum status prepare_mine(struct measuring *m)
{
	int mine[MAX_BATCH];
	const int n = move(&m->batch, NULL, 0, MINE, MINE, MAX_BATCH, mine);
	return m->worker->info.target.sm ? prepare_ahead(m, mine, n) : STATUS_OK;
}

/* Screens what was taken; what is not screened then is free again. `m` is the owner's or a
 * helper's. */
static enum status screen_taken(struct measuring *owner, struct measuring *m, const int *taken,
                                int n)
{
	enum status status = STATUS_OK;
	bool prepared = false;
	int moved[MAX_BATCH];
	for (int i = 0; i < n; i++) {
		TRY(stop_if_interrupted(m));
		const bool is_new = m->worker->task != m->task;
		if (!prepared || is_new)
			TRY(measure_prepare(m, taken + i, n - i));
		if (is_new && m == owner)
			TRY(prepare_mine(m));
		prepared = true;
		TRY(screen(m, taken[i]));
		move(&owner->batch, taken + i, 1, TAKEN, DONE, 1, moved);
	}
done:
	move(&owner->batch, taken, n, TAKEN, FREE, n, moved);
	if (m->crew)
		crew_changed(m->crew);
	return status;
}

enum status measure_help(struct measuring *owner, struct worker *worker)
{
	enum status status;
	struct measuring m = *owner;
	int taken[MAX_BATCH], n;
	m.worker = worker;
	m.crew->n_helping++;
	TRY(ready(&m));
	while ((n = take_free(owner, taken)) > 0)
		TRY(screen_taken(owner, &m, taken, n));
done:
	m.crew->n_helping--;
	return status;
}

/* Whether the candidates are all done; waits for those that others have taken. */
static bool all_done(struct measuring *m, const int *which, int n)
{
	bool done = true;
	for (int i = 0; i < n; i++) {
		int at;
		while ((at = find_begun(&m->batch, which[i])) >= 0 && m->batch.state[at] == TAKEN)
			crew_wait(m->crew);
		done &= at < 0 || m->batch.state[at] == DONE;
	}
	return done;
}

static void forget_done(struct batch *batch)
{
	int kept = 0;
	for (int i = 0; i < batch->n; i++) {
		if (batch->state[i] == DONE)
			continue;
		batch->which[kept] = batch->which[i];
		batch->state[kept++] = batch->state[i];
	}
	batch->n = kept;
}

enum status measure_screening(struct measuring *m, const int *which, int n, double *us)
{
	enum status status;
	int taken[MAX_BATCH], n_taken;
	TRY(measure_begin(m, which, n));
	do {
		while ((n_taken = take_own(m, which, n, taken)) > 0)
			TRY(screen_taken(m, m, taken, n_taken));
	} while (!all_done(m, which, n));
	forget_done(&m->batch);
	collect(m, SCREENING, which, n, us);
	if (m->crew && measure_free(m))
		crew_changed(m->crew);
done:
	return status;
}

void measure_abandon(struct measuring *m)
{
	struct batch *batch = &m->batch;
	struct answer answer;
	int moved[MAX_BATCH], n_dropped = move(batch, NULL, 0, MINE, DONE, MAX_BATCH, moved);
	do {
		n_dropped += move(batch, NULL, 0, FREE, DONE, MAX_BATCH, moved);
	} while (!all_done(m, batch->which, batch->n));
	batch->n = 0;
	if (!n_dropped || !m->worker->info.target.sm || !worker_alive(m->worker))
		return;
	worker_ask(m->worker, "drop\n");
	worker_answer(m->worker, COMPILE_SECONDS, 0, &answer);
}

void measure_draw(struct measuring *m)
{
	const bool is_paid = m->draw_seconds >= m->draw_setup_seconds;
	if (m->worker->info.draws_differ && (is_paid || m->draw_setup_seconds < CHEAP_SECONDS))
		worker_stop(m->worker);
}

/* One request of measure_samples(). */
static void ask_samples(struct measuring *m, const char *request, const int *which, int n,
                        struct sampled *sampled, int *n_sampled)
{
	double limit = ALLOWANCE_SECONDS + LAUNCHES * 1e-6 * SLOWEST * m->default_us;
	*n_sampled = 0;
	worker_ask(m->worker, request);
	for (int i = 0; i < n && worker_alive(m->worker); i++) {
		struct sampled *s = &sampled[(*n_sampled)++];
		worker_answer(m->worker, COMPILE_SECONDS, limit, &s->answer);
		bool died = !worker_alive(m->worker);
		/* A worker that died before any answer did so on the candidate it named last. */
		s->which = which[died && s->answer.at >= i && s->answer.at < n ? s->answer.at : i];
		distrust(m, &s->answer);
	}
}

enum status measure_samples(struct measuring *m, int sweeps, const int *which, int n,
                            struct sampled *sampled, int *n_sampled)
{
	enum status status;
	char request[WORKER_LINE];
	int kills = 0;
	char *end = request + sprintf(request, "round\t%d", sweeps);
	for (int i = 0; i < n; i++)
		end = append_config(m, which[i], end);
	strcpy(end, "\n");
	do {
		TRY(ready(m));
		const double started = seconds_now();
		ask_samples(m, request, which, n, sampled, n_sampled);
		m->draw_seconds += seconds_now() - started;
	} while (was_killed(&sampled[*n_sampled - 1].answer, &kills));
done:
	return status;
}

/* One sample set of each, a row for every answer. A candidate that ends the worker gets its row,
 * those after it have none yet. */
static enum status ask_round(struct measuring *m, int round, int sweeps, const int *which, int n)
{
	enum status status;
	struct sampled sampled[MAX_RACERS];
	int n_sampled;
	double started = seconds_now();
	TRY(measure_samples(m, sweeps, which, n, sampled, &n_sampled));
	double seconds = (seconds_now() - started) / n_sampled;
	for (int i = 0; i < n_sampled; i++)
		TRY(record(m, round, sampled[i].which, &sampled[i].answer, seconds));
done:
	return status;
}

enum status measure_round(struct measuring *m, int round, int sweeps, const int *which, int n,
                          double *us)
{
	enum status status = STATUS_OK;
	int missing[MAX_RACERS];
	if (!measure_known(m, round, which, n))
		measure_draw(m);
	for (;;) {
		int n_missing = 0;
		for (int i = 0; i < n; i++)
			if (!measure_row(m, round, which[i]))
				missing[n_missing++] = which[i];
		if (!n_missing)
			break;
		TRY(stop_if_interrupted(m));
		TRY(ask_round(m, round, sweeps, missing, n_missing));
	}
	collect(m, round, which, n, us);
done:
	return status;
}

enum status measure_ceiling(struct worker *worker, double *gbps)
{
	enum status status = STATUS_OK;
	struct answer answer;
	*gbps = NAN;
	if (!worker_alive(worker))
		TRY(worker_start(worker, worker->device));
	worker_ask(worker, "ceiling\n");
	worker_answer(worker, CEILING_SECONDS, 0, &answer);
	if (!strcmp(answer.status, "ok"))
		*gbps = answer.value;
	else
		warn_once("no read ceiling: %s", answer.reason);
	worker->task = NULL; /* measuring it may have set up another */
done:
	return status;
}
