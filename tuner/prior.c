#include "tuner/prior.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_of(const char *const *cell, const struct task *task)
{
	return !strcmp(cell[JOURNAL_kernel], task->kernel->name) &&
	       !strcmp(cell[JOURNAL_case], task->case_text) &&
	       !strcmp(cell[JOURNAL_shape], task->shape_text);
}

const struct journal_row *latest_verdict(const struct journal *journal, const struct task *task,
                                         const char *method)
{
	for (int i = journal->n_rows; i-- > 0;) {
		const char *const *cell = journal->rows[i].cell;
		if (!cell[JOURNAL_round][0] && strcmp(cell[JOURNAL_status], "key") &&
		    is_of(cell, task) && !strcmp(cell[JOURNAL_method], method))
			return &journal->rows[i];
	}
	return NULL;
}

/* The candidate that a cell names; -1: none. */
static int find_candidate(const struct measuring *m, const char *text)
{
	const struct kernel *kernel = m->task->kernel;
	struct config config = {0};
	if (!text[0] || params_parse(kernel->params, kernel->n_params, text, config.value))
		return -1;
	return candidates_find(m->candidates, &config);
}

static void add_finalist(struct prior *prior, int which)
{
	for (int i = 0; i < prior->n_finalists; i++)
		if (prior->finalist[i] == which)
			return;
	if (which > 0 && prior->n_finalists < MAX_RACERS)
		prior->finalist[prior->n_finalists++] = which;
}

/* The round that a row of the task's races is of, SCREENING included; -1: it is none of them. */
static int round_of(const struct measuring *m, const char *const *cell)
{
	const int round = atoi(cell[JOURNAL_round]);
	const bool races = cell[JOURNAL_round][0] && round < FIRST_RANGE_ROUND &&
	                   strcmp(cell[JOURNAL_status], "trial") && is_of(cell, m->task) &&
	                   !strcmp(cell[JOURNAL_key], m->provenance->key);
	return races ? round : -1;
}

/* What was measured before the verdict: how much, by whom the last round. */
static void read_measurements(const struct measuring *m, struct prior *prior)
{
	struct outcome *o = &prior->outcome;
	int screened = 0;
	for (int i = 0; i < prior->row; i++) {
		const char *const *cell = m->journal->rows[i].cell;
		const int round = round_of(m, cell);
		screened += round == SCREENING;
		o->failed += round >= 0 && strcmp(cell[JOURNAL_status], "ok");
		prior->last_round = round > prior->last_round ? round : prior->last_round;
	}
	for (int i = 0; i < prior->row && prior->last_round; i++) {
		const char *const *cell = m->journal->rows[i].cell;
		if (round_of(m, cell) == prior->last_round && !strcmp(cell[JOURNAL_status], "ok"))
			add_finalist(prior, find_candidate(m, cell[JOURNAL_config]));
	}
	if (!o->tried) /* the verdict does not say it */
		o->tried = screened;
}

bool prior_find(const struct measuring *m, const char *method, int sweeps, struct prior *prior)
{
	static const char *const verdicts[] = {"win", "tie", "default"};
	const struct journal_row *row = latest_verdict(m->journal, m->task, method);
	struct outcome *o = &prior->outcome;
	*prior = (struct prior){.outcome.recalled = true};
	if (!row || strcmp(row->cell[JOURNAL_key], m->provenance->key) != 0)
		return false;
	for (int i = 0; i < 3; i++)
		if (!strcmp(row->cell[JOURNAL_status], verdicts[i]))
			o->verdict = verdicts[i];
	o->winner = find_candidate(m, row->cell[JOURNAL_config]);
	o->runner_up = find_candidate(m, row->cell[JOURNAL_runner_up]);
	o->us = journal_number(row, JOURNAL_us);
	o->default_us = journal_number(row, JOURNAL_default_us);
	o->runner_up_us = journal_number(row, JOURNAL_runner_up_us);
	o->rounds = atoi(row->cell[JOURNAL_samples]) / sweeps;
	o->tried = atoi(row->cell[JOURNAL_tried]);
	snprintf(o->reason, sizeof o->reason, "%s", row->cell[JOURNAL_reason]);
	prior->seconds = journal_number(row, JOURNAL_seconds);
	prior->row = (int)(row - m->journal->rows);
	read_measurements(m, prior);
	add_finalist(prior, o->winner);
	add_finalist(prior, o->runner_up);
	return o->verdict && o->winner >= 0;
}

int prior_screened(const struct measuring *m, const struct prior *prior, int *which)
{
	int n = 0;
	for (int i = 0; i < prior->row; i++) {
		const char *const *cell = m->journal->rows[i].cell;
		if (round_of(m, cell) != SCREENING)
			continue;
		const int candidate = find_candidate(m, cell[JOURNAL_config]);
		if (candidate > 0)
			which[n++] = candidate;
	}
	return n;
}
