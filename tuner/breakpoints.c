#include "tuner/breakpoints.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/statistics.h"

enum { MAX_FINALISTS = 32, ROUNDS = 8 };
_Static_assert(MAX_FINALISTS <= MAX_RACERS, "they race each other");
/* Slower than the fastest by more than this: not timed again. */
static const double SCREENED_OUT = 1.5;
/* Ranges meet between measured lengths no farther apart than this. */
static const double NEAR = 1.25;
/* Lengths that are measured for each that is planned, expected. */
static const double LENGTHS_EACH = 1.5;
/* Of what a launch takes whatever it is, what a length does: fewer rounds of fewer racers. */
static const double LENGTH_SHARE = 0.6;

static bool is_prime(int n)
{
	for (int d = 2; d * d <= n; d++)
		if (n % d == 0)
			return false;
	return n > 1;
}

int length_between(int shorter, int longer)
{
	int length = length_boundary(shorter, longer);
	while (length > shorter && !is_prime(length))
		length--;
	return length;
}

int length_boundary(int shorter, int longer)
{
	return (int)sqrt((double)shorter * longer);
}

/* The configuration with the smallest worst regret over lengths from .. to; *worst is INFINITY when
 * none can run. */
static int best_over(const double *regret, int n_configs, int from, int to, double *worst)
{
	int best = 0;
	*worst = INFINITY;
	for (int c = 0; c < n_configs; c++) {
		double own = 0;
		for (int l = from; l <= to; l++)
			own = fmax(own, regret[l * n_configs + c]);
		if (own < *worst) {
			*worst = own;
			best = c;
		}
	}
	return best;
}

/* The best division of lengths 0 .. l into a number of ranges. */
struct division {
	double sum;     /* of the ranges' worst regrets; INFINITY: there is none */
	int from, best; /* the last range and its configuration */
};

/* Continues every division into one range fewer by a range from .. to. */
static struct division divide(const struct division *fewer, const double *regret, int n_configs,
                              double limit, int to)
{
	struct division division = {.sum = INFINITY};
	for (int from = to; from >= 0; from--) {
		const double before = !fewer ? (from ? INFINITY : 0)
		                      : from ? fewer[from - 1].sum
		                             : INFINITY;
		double worst;
		const int best = best_over(regret, n_configs, from, to, &worst);
		if (worst >= limit)
			break;
		if (before + worst < division.sum)
			division = (struct division){before + worst, from, best};
	}
	return division;
}

int ranges_choose(const double *regret, int n_lengths, int n_configs, double limit, int *choice)
{
	struct division by[MAX_LENGTHS][MAX_LENGTHS]; /* ranges less 1, last length */
	int n = 0;
	do
		for (int to = 0; to < n_lengths; to++)
			by[n][to] = divide(n ? by[n - 1] : NULL, regret, n_configs, limit, to);
	while (!isfinite(by[n++][n_lengths - 1].sum) && n < n_lengths);
	for (int to = n_lengths - 1, left = n; left-- > 0;) {
		const struct division *division = &by[left][to];
		for (; to >= division->from; to--)
			choice[to] = division->best;
	}
	return n;
}

/* What was found at a length, by finalist. */
struct finding {
	enum { WANTED, UNDER_WAY, FOUND, NOT_FOUND } state;
	int length, rounds;
	double us[MAX_FINALISTS]; /* medians */
	double regret[MAX_FINALISTS];
	bool beats_default[MAX_FINALISTS];
};

/* Tasks that differ in their length alone, and what is timed at all lengths. */
struct group {
	struct tune *tune;
	int task[MAX_LENGTHS]; /* indices */
	int n_tasks;
	struct finding at[MAX_LENGTHS]; /* lengths of the tasks and between them, ascending */
	int n_lengths;
	struct config finalist[MAX_FINALISTS]; /* the default first */
	int n_finalists;
	struct progress *progress;
	int n_done; /* lengths, of all groups */
};

static bool same_heads(const struct task *a, const struct task *b)
{
	return a->kernel == b->kernel && !strcmp(a->case_text, b->case_text) &&
	       a->shape.m == b->shape.m && a->shape.k == b->shape.k &&
	       a->shape.head_dim == b->shape.head_dim;
}

static bool starts_group(const struct tasks *tasks, int i)
{
	bool first = tasks->task[i].shape.len > 0;
	for (int j = 0; first && j < i; j++)
		first = !same_heads(&tasks->task[j], &tasks->task[i]);
	return first;
}

static void insert_length(int *length, int *n, int value)
{
	int at = *n;
	for (; at > 0 && length[at - 1] > value; at--)
		length[at] = length[at - 1];
	length[at] = value;
	++*n;
}

/* The group that task `first` starts; false when it has too few lengths for ranges. */
static bool open_group(const struct tune *t, int first, struct group *g)
{
	int grid[MAX_LENGTHS], n = 0;
	*g = (struct group){.tune = (struct tune *)t};
	for (int i = first; i < t->tasks.n; i++) {
		const struct task *task = &t->tasks.task[i];
		if (!same_heads(&t->tasks.task[first], task) || 2 * n > MAX_LENGTHS - 2)
			continue;
		insert_length(grid, &n, task->shape.len);
		g->task[g->n_tasks++] = i;
	}
	for (int i = 0; i < n; i++) {
		const int between = i + 1 < n ? length_between(grid[i], grid[i + 1]) : 0;
		g->at[g->n_lengths++].length = grid[i];
		if (between > grid[i])
			g->at[g->n_lengths++].length = between;
	}
	return n > 1 && !t->options->request.quick;
}

static void add_finalist(struct group *g, const struct config *config)
{
	for (int i = 0; i < g->n_finalists; i++)
		if (!memcmp(&g->finalist[i], config, sizeof *config))
			return;
	if (g->n_finalists < MAX_FINALISTS)
		g->finalist[g->n_finalists++] = *config;
}

/* A search of that length has tried the suggestions. */
static bool is_searched(const struct group *g, int length)
{
	for (int i = 0; i < g->n_tasks; i++)
		if (g->tune->tasks.task[g->task[i]].shape.len == length)
			return true;
	return false;
}

/* What the kernel suggests for a length between those that were searched. */
static void add_suggestions(struct group *g, int length)
{
	struct config config[MAX_SUGGESTIONS];
	struct task task = g->tune->tasks.task[g->task[0]];
	task.shape.len = length;
	const int n = task_suggestions(&task, &g->tune->worker.info, config);
	for (int i = 0; i < n; i++)
		if (candidates_find(&g->tune->job[g->task[0]].candidates, &config[i]) >= 0)
			add_finalist(g, &config[i]);
}

/* The default, the winners, the runners-up of all lengths, then suggestions for those between,
 * short ones first: there configurations differ most. */
static void list_finalists(struct group *g)
{
	const struct tune *t = g->tune;
	add_finalist(g, &t->job[g->task[0]].candidates.config[0]);
	for (int second = 0; second < 2; second++)
		for (int i = 0; i < g->n_tasks; i++) {
			const struct job *job = &t->job[g->task[i]];
			const struct outcome *o = &job->outcome;
			const int which = second ? o->runner_up : o->winner;
			if (o->verdict && which >= 0)
				add_finalist(g, &job->candidates.config[which]);
		}
	for (int l = 0; l < g->n_lengths; l++)
		if (!is_searched(g, g->at[l].length))
			add_suggestions(g, g->at[l].length);
}

/* One length being measured. */
struct spot {
	struct task task;
	struct candidates candidates;
	struct provenance provenance;
	struct measuring m;
	int which[MAX_FINALISTS]; /* candidates that run */
	int place[MAX_FINALISTS]; /* their finalists */
	double us[MAX_FINALISTS]; /* screened */
	double round_us[MAX_FINALISTS][ROUNDS];
	int n, n_rounds;
};

static enum status open_spot(struct group *g, int length, struct worker *worker, struct spot *s)
{
	enum status status;
	struct tune *t = g->tune;
	*s = (struct spot){.task = t->tasks.task[g->task[0]]};
	s->task.shape.len = length;
	kernel_write_shape(s->task.kernel, &s->task.shape, s->task.shape_text);
	TRY(candidates_open(&s->task, &t->worker.info, &s->candidates));
	provenance_of(s->task.kernel, &t->worker.info, &s->provenance);
	s->m = (struct measuring){.journal = &t->journal,
	                          .worker = worker,
	                          .task = &s->task,
	                          .candidates = &s->candidates,
	                          .provenance = &s->provenance,
	                          .interrupted = t->options->interrupted,
	                          .default_us = NAN};
	worker->task = NULL; /* another may have had this address */
done:
	return status;
}

static void close_spot(struct spot *s)
{
	if (s->m.worker)
		s->m.worker->task = NULL;
	candidates_close(&s->candidates);
}

/* Leaves out those that do not stay. */
static void keep(struct spot *s, const bool *stays)
{
	int n = 0;
	for (int i = 0; i < s->n; i++) {
		if (!stays[i])
			continue;
		s->which[n] = s->which[i];
		s->place[n] = s->place[i];
		s->us[n] = s->us[i];
		memcpy(s->round_us[n], s->round_us[i], sizeof s->round_us[n]);
		n++;
	}
	s->n = n;
}

/* First samples of every finalist; those that fail or are far behind are out, the default never. */
static enum status screen(const struct group *g, struct finding *found, struct spot *s)
{
	enum status status;
	bool stays[MAX_FINALISTS];
	double best = INFINITY;
	for (int f = 0; f < g->n_finalists; f++) {
		const int which = candidates_find(&s->candidates, &g->finalist[f]);
		if (which < 0) /* cannot run at this length */
			continue;
		s->which[s->n] = which;
		s->place[s->n++] = f;
	}
	TRY(measure_screening(&s->m, s->which, 1, s->us)); /* the default alone */
	TRY(measure_screening(&s->m, s->which + 1, s->n - 1, s->us + 1));
	if (!isfinite(s->us[0])) {
		status = fail(STATUS_UNSUPPORTED, "%s %s %s: the default fails",
		              s->task.kernel->name, s->task.case_text, s->task.shape_text);
		goto done;
	}
	for (int i = 0; i < s->n; i++)
		best = fmin(best, s->us[i]);
	for (int i = 0; i < s->n; i++) {
		stays[i] = i == 0 || s->us[i] <= SCREENED_OUT * best;
		found->us[s->place[i]] = s->us[i];
		found->regret[s->place[i]] = s->us[i] / best - 1;
	}
	keep(s, stays);
done:
	return status;
}

/* Who fails in a round cannot serve this length. */
static enum status run_rounds(struct finding *found, struct spot *s)
{
	enum status status = STATUS_OK;
	bool stays[MAX_FINALISTS];
	double us[MAX_FINALISTS];
	const int sweeps = race_full.sweeps;
	for (int round = FIRST_RANGE_ROUND; s->n_rounds < ROUNDS && s->n > 1; round++) {
		const int known = measure_known(&s->m, round, s->which, s->n);
		if (known && known < s->n)
			continue; /* cut short, so that it is no round of anything */
		TRY(measure_round(&s->m, round, sweeps, s->which, s->n, us));
		for (int i = 0; i < s->n; i++) {
			s->round_us[i][s->n_rounds] = us[i];
			stays[i] = i == 0 || isfinite(us[i]);
			if (!stays[i])
				found->regret[s->place[i]] = INFINITY;
		}
		s->n_rounds += isfinite(us[0]);
		if (!isfinite(us[0])) {
			status = fail(STATUS_UNSUPPORTED, "%s %s %s: the default fails",
			              s->task.kernel->name, s->task.case_text, s->task.shape_text);
			goto done;
		}
		keep(s, stays);
	}
done:
	return status;
}

/* Regrets from the medians of times by the field's median of their round. */
static void judge(struct finding *found, const struct spot *s)
{
	double score[MAX_FINALISTS], best = INFINITY;
	for (int i = 0; i < s->n; i++) {
		double ratio[ROUNDS];
		for (int r = 0; r < s->n_rounds; r++) {
			double field[MAX_FINALISTS];
			for (int j = 0; j < s->n; j++)
				field[j] = s->round_us[j][r];
			ratio[r] = s->round_us[i][r] / median(field, s->n);
		}
		score[i] = median(ratio, s->n_rounds);
		best = fmin(best, score[i]);
	}
	for (int i = 0; i < s->n; i++) {
		const int f = s->place[i];
		found->us[f] = median(s->round_us[i], s->n_rounds);
		found->regret[f] = score[i] / best - 1;
		found->beats_default[f] = compare_paired(s->round_us[0], s->round_us[i],
		                                         s->n_rounds, 1 - RACE_ERROR, RACE_NOISE)
		                                  .verdict == VERDICT_FASTER;
	}
	found->rounds = s->n_rounds;
}

static enum status measure_length(struct group *g, struct worker *worker, struct finding *found)
{
	enum status status;
	struct spot *s = calloc(1, sizeof *s);
	if (!s)
		return fail(STATUS_NO_MEMORY, "no memory for ranges of lengths");
	*found = (struct finding){.state = UNDER_WAY, .length = found->length};
	for (int f = 0; f < MAX_FINALISTS; f++)
		found->regret[f] = INFINITY;
	TRY(open_spot(g, found->length, worker, s));
	TRY(screen(g, found, s));
	TRY(run_rounds(found, s));
	if (s->n_rounds)
		judge(found, s);
done:
	close_spot(s);
	free(s);
	return status;
}

static struct finding *find_state(struct group *g, int state)
{
	for (int l = 0; l < g->n_lengths; l++)
		if ((int)g->at[l].state == state)
			return &g->at[l];
	return NULL;
}

/* One length, whole, since who is compared must be on one device. One that cannot be measured has
 * no say, and that of a rank which is lost is measured by another. */
static void run_length(struct group *g, struct worker *worker, struct finding *found)
{
	const enum status status = measure_length(g, worker, found);
	if (status == STATUS_OK) {
		found->state = FOUND;
	} else if (worker->lost) {
		found->state = WANTED;
	} else {
		found->state = NOT_FOUND;
		if (status == STATUS_UNSUPPORTED)
			fprintf(stderr, "warning: %s\n", fail_message());
		else
			crew_fail(&g->tune->crew, status);
	}
	if (found->state != WANTED)
		progress_update(g->progress, ++g->n_done, NULL);
	crew_changed(&g->tune->crew);
}

/* What a worker does while lengths are wanted, or may be again. */
static void work(void *user, struct worker *worker)
{
	struct group *g = user;
	struct crew *crew = &g->tune->crew;
	while (crew->status == STATUS_OK && !worker->lost) {
		struct finding *found = find_state(g, WANTED);
		if (found)
			run_length(g, worker, found);
		else if (find_state(g, UNDER_WAY))
			crew_wait(crew);
		else
			break;
	}
}

/* Those that are wanted; who cannot be measured is left out. */
static enum status measure_lengths(struct group *g)
{
	enum status status;
	int n = 0;
	TRY(tune_together(g->tune, work, g));
	for (int l = 0; l < g->n_lengths; l++)
		if (g->at[l].state == FOUND)
			g->at[n++] = g->at[l];
	g->n_lengths = n;
done:
	return status;
}

static int choose(const struct group *g, int choice[MAX_LENGTHS])
{
	double regret[MAX_LENGTHS * MAX_FINALISTS];
	for (int l = 0; l < g->n_lengths; l++)
		memcpy(regret + l * g->n_finalists, g->at[l].regret,
		       (size_t)g->n_finalists * sizeof *regret);
	return ranges_choose(regret, g->n_lengths, g->n_finalists, REGRET_LIMIT, choice);
}

/* The length to be measured behind length l, where its range meets the next one too far away; 0
 * where not. */
static int length_in_gap(const struct group *g, const int *choice, int l)
{
	const int shorter = g->at[l].length, longer = g->at[l + 1].length;
	const int between = length_between(shorter, longer);
	return choice[l] != choice[l + 1] && longer > NEAR * shorter && between > shorter ? between
	                                                                                  : 0;
}

/* Wants lengths in all such gaps, up to `most` lengths in all. Returns how many. */
static int fill_gaps(struct group *g, const int *choice, int most)
{
	struct finding at[MAX_LENGTHS];
	int n = 0, left = most - g->n_lengths;
	for (int l = 0; l < g->n_lengths; l++) {
		const int length = l + 1 < g->n_lengths && left ? length_in_gap(g, choice, l) : 0;
		at[n++] = g->at[l];
		if (length) {
			at[n++] = (struct finding){.length = length};
			left--;
		}
	}
	const int added = n - g->n_lengths;
	memcpy(g->at, at, (size_t)n * sizeof *at);
	g->n_lengths = n;
	return added;
}

/* Measures between the lengths where ranges meet, until they are near each other, their number has
 * doubled, or one cannot be measured. */
static enum status refine(struct group *g, int *choice)
{
	enum status status = STATUS_OK;
	const int most = 2 * g->n_lengths < MAX_LENGTHS ? 2 * g->n_lengths : MAX_LENGTHS;
	for (int wanted = g->n_lengths, added = 1; added && g->n_lengths == wanted;) {
		choose(g, choice);
		added = fill_gaps(g, choice, most);
		wanted = g->n_lengths;
		g->progress->total += added;
		TRY(measure_lengths(g));
	}
	choose(g, choice);
done:
	return status;
}

/* Lengths from .. to are a range. */
struct range {
	int from, to, finalist, shortest, longest;
	double worst;
};

static struct range range_at(const struct group *g, const int *choice, int from)
{
	struct range r = {.from = from, .to = from, .finalist = choice[from], .shortest = 1};
	while (r.to + 1 < g->n_lengths && choice[r.to + 1] == r.finalist)
		r.to++;
	if (from > 0)
		r.shortest = length_boundary(g->at[from - 1].length, g->at[from].length) + 1;
	if (r.to + 1 < g->n_lengths)
		r.longest = length_boundary(g->at[r.to].length, g->at[r.to + 1].length);
	for (int l = from; l <= r.to; l++)
		r.worst = fmax(r.worst, g->at[l].regret[r.finalist]);
	return r;
}

static void print_range(const struct group *g, const struct range *r)
{
	char config[CONFIG_TEXT];
	FILE *out = g->tune->options->out;
	const struct kernel *kernel = g->tune->tasks.task[g->task[0]].kernel;
	fprintf(out, "  from %d", r->shortest);
	if (r->longest)
		fprintf(out, " to %d", r->longest);
	fprintf(out, ": at most %.2f %% over the fastest at %d lengths: %s\n", 100 * r->worst,
	        r->to - r->from + 1,
	        params_format(kernel->params, kernel->n_params, g->finalist[r->finalist].value,
	                      config));
}

/* "win" where it is the fastest and beats the default, "tie" where it is nearly so. */
static enum status record_length(struct group *g, const struct range *r, int l)
{
	enum status status;
	struct spot s;
	const struct finding *found = &g->at[l];
	const double regret = found->regret[r->finalist];
	const bool fastest = regret == 0 && found->beats_default[r->finalist];
	struct outcome o = {.verdict = r->finalist == 0 ? "default"
	                               : fastest        ? "win"
	                                                : "tie",
	                    .runner_up = -1,
	                    .us = found->us[r->finalist],
	                    .default_us = found->us[0],
	                    .runner_up_us = NAN,
	                    .rounds = found->rounds};
	TRY(open_spot(g, found->length, &g->tune->worker, &s));
	TRY(journal_key(&g->tune->journal, s.task.kernel, &s.provenance));
	o.winner = candidates_find(&s.candidates, &g->finalist[r->finalist]);
	snprintf(o.reason, sizeof o.reason,
	         "at most %.2f %% over the fastest of %d finalists at %d lengths from %d to %d",
	         100 * r->worst, g->n_finalists, r->to - r->from + 1, g->at[r->from].length,
	         g->at[r->to].length);
	TRY(tune_record(g->tune, &s.m, &o, " + ranges", 100 * regret));
done:
	close_spot(&s);
	return status;
}

static enum status conclude(struct group *g, const int *choice)
{
	enum status status = STATUS_OK;
	const struct task *task = &g->tune->tasks.task[g->task[0]];
	int n = 1;
	for (int l = 1; l < g->n_lengths; l++)
		n += choice[l] != choice[l - 1];
	fprintf(g->tune->options->out, "%s %.*s %s: %d range%s of lengths\n", task->kernel->name,
	        (int)strcspn(task->shape_text, "@"), task->shape_text, task->case_text, n,
	        n == 1 ? "" : "s");
	for (int l = 0; l < g->n_lengths;) {
		const struct range range = range_at(g, choice, l);
		print_range(g, &range);
		for (; l <= range.to; l++)
			TRY(record_length(g, &range, l));
	}
	fflush(g->tune->options->out);
done:
	return status;
}

/* Whether the journal has the verdict of a range on this task. */
static bool is_judged(const struct tune *t, const struct task *task)
{
	struct provenance now;
	provenance_of(task->kernel, &t->worker.info, &now);
	for (int i = t->journal.n_rows; i-- > 0;) {
		const char *const *cell = t->journal.rows[i].cell;
		if (!cell[JOURNAL_round][0] && cell[JOURNAL_regret_percent][0] &&
		    !strcmp(cell[JOURNAL_key], now.key) &&
		    !strcmp(cell[JOURNAL_kernel], task->kernel->name) &&
		    !strcmp(cell[JOURNAL_case], task->case_text) &&
		    !strcmp(cell[JOURNAL_shape], task->shape_text))
			return true;
	}
	return false;
}

/* Screenings, rounds and set-up of the lengths that have no verdict yet, *n of them. */
static double group_seconds(const struct group *g, double *n)
{
	double seconds = 0;
	*n = 0;
	for (int l = 0; l < g->n_lengths; l++) {
		struct task task = g->tune->tasks.task[g->task[0]];
		task.shape.len = g->at[l].length;
		kernel_write_shape(task.kernel, &task.shape, task.shape_text);
		if (is_judged(g->tune, &task))
			continue;
		const double sample = fmin(20 * tune_expected_us(g->tune, &task), 1e4) * 1e-6;
		const int finalists = g->n_tasks + 1;
		seconds += finalists * (0.05 + 6 * sample) +
		           ROUNDS * race_full.sweeps * finalists * sample + 0.5;
		++*n;
	}
	*n *= LENGTHS_EACH * LENGTH_SHARE;
	return LENGTHS_EACH * seconds;
}

double breakpoints_seconds(const struct tune *t, double *lengths)
{
	double seconds = 0, n;
	struct group g;
	*lengths = 0;
	for (int i = 0; i < t->tasks.n; i++)
		if (starts_group(&t->tasks, i) && open_group(t, i, &g)) {
			seconds += group_seconds(&g, &n);
			*lengths += n;
		}
	return seconds;
}

void breakpoints_print_plan(const struct tune *t)
{
	struct group g;
	double n;
	for (int i = 0; i < t->tasks.n; i++) {
		if (!starts_group(&t->tasks, i) || !open_group(t, i, &g))
			continue;
		printf("%s %s: ranges from lengths", t->tasks.task[i].kernel->name,
		       t->tasks.task[i].case_text);
		for (int l = 0; l < g.n_lengths; l++)
			printf(" %d", g.at[l].length);
		printf(", about ");
		print_duration(group_seconds(&g, &n));
		printf("\n");
	}
}

enum status breakpoints_run(struct tune *t)
{
	enum status status = STATUS_OK;
	struct progress progress;
	struct group *g = malloc(sizeof *g);
	int total = 0, n = 0, choice[MAX_LENGTHS];
	if (!g)
		return fail(STATUS_NO_MEMORY, "no memory for ranges of lengths");
	for (int i = 0; i < t->tasks.n; i++)
		total += starts_group(&t->tasks, i) && open_group(t, i, g) ? g->n_lengths : 0;
	if (!total)
		goto done;
	progress_start(&progress, "ranges of lengths", total, t->options->quiet);
	for (int i = 0; i < t->tasks.n; i++) {
		if (!starts_group(&t->tasks, i) || !open_group(t, i, g))
			continue;
		g->progress = &progress;
		g->n_done = n;
		list_finalists(g);
		TRY(measure_lengths(g));
		if (g->n_lengths) {
			TRY(refine(g, choice));
			progress_clear(&progress);
			TRY(conclude(g, choice));
		}
		n = g->n_done;
	}
	progress_finish(&progress, NULL);
done:
	free(g);
	return status;
}
