#include "model/profile.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/ceiling.h"
#include "bench/csv.h"
#include "bench/statistics.h"
#include "core/progress.h"
#include "core/table.h"
#include "device/jit.h"
#include "device/stamp.h"

enum { STEPS = 16, ROUNDS = 24, WARMUP_ROUNDS = 2 };
static const double LIMIT_S = 10; /* of the profile, and of the stamps' cost */
static const double CONFIDENCE = 0.99;

/* Sums over steps, in us. */
struct times {
	double begin, ready, end; /* from when the launch before had stored all to when the first
	                             block began, the first was past the wait, the last had stored
	                             all */
};

/* An instance that stamps itself, in place of one of the plan's. */
struct twin {
	const struct variant *original;
	struct variant variant;
	struct jit_module module;
};

/* The launches of one operation, and what a stamp costs one of them. */
struct kind {
	int n;                  /* launches of a step */
	struct graph *graph;    /* of a step in which they alone stamp */
	double over_us[ROUNDS]; /* what that takes longer than the plain one */
	struct interval cost;   /* us of one launch; NaN without a round */
	bool taken;             /* off its launches' times */
};

struct profile {
	struct decoder *decoder;
	const struct plan *plan;
	int length;
	struct twin *twins;
	int n_twins;
	struct stamp *stamps, *seen; /* (STEPS, blocks) on the device and here */
	size_t blocks;               /* of a step */
	struct graph *stamped[STEPS], *plain;
	struct launch *launches; /* scratch: the plan's, of which some stamp */
	struct kind kinds[N_OPS];
	int n_kinds;
	struct event *from, *to;
	struct times *times;         /* (launches) */
	int n_steps;                 /* that they are sums of */
	double plain_us, stamped_us; /* sums over rounds, of a step */
	int n_rounds, n_cost_rounds;
	struct ceilings ceilings;
};

int profile_capacity(int length)
{
	return length - 1 + STEPS;
}

/* The twin needs a few registers more. Where the instance's count is the last that lets so many
 * blocks share a multiprocessor, they would make a third of a step's blocks wait for room: the
 * compiler must make do with what the instance has. */
static enum status compile_twin(const struct profile *p, const struct launch *l, struct twin *twin)
{
	enum status status;
	struct device *device = p->decoder->device;
	struct entry_resources has;
	const struct jit_request request = {.kernel = l->kernel->name,
	                                    .n = 1,
	                                    .kases = &l->variant->kase,
	                                    .configs = &l->variant->config,
	                                    .n_fields = l->kernel->n_fields,
	                                    .n_params = l->kernel->n_params,
	                                    .sm = device_info(device)->target.sm};
	TRY(device_resources(device, l->variant->entry, l->grid, &has));
	TRY(jit_stamped(&request, l->grid.threads, has.blocks_per_sm, &twin->module));
	if (!twin->module.instances[0].symbol)
		return fail(STATUS_FAILED, "compiling %s with stamps: %s", l->kernel->name,
		            twin->module.instances[0].reason);
	TRY(jit_load(device, &twin->module));
	twin->variant.entry = twin->module.instances[0].entry;
done:
	return status;
}

/* Gives a launch its twin. The host stamps by itself: there the twin is the instance. */
static enum status find_twin(struct profile *p, struct launch *l)
{
	enum status status = STATUS_OK;
	int i = 0;
	while (i < p->n_twins && p->twins[i].original != l->variant)
		i++;
	struct twin *twin = &p->twins[i];
	if (i == p->n_twins) {
		p->n_twins++;
		*twin = (struct twin){.original = l->variant, .variant = *l->variant};
		if (device_info(p->decoder->device)->target.sm)
			TRY(compile_twin(p, l, twin));
	}
	l->variant = &twin->variant;
done:
	return status;
}

static size_t blocks_of(const struct launch *l)
{
	return (size_t)l->grid.x * l->grid.y;
}

/* A graph of the plan in which the launches of one operation stamp, or with N_OPS all. `at` has
 * room for a step. */
static enum status capture_stamped(struct profile *p, enum op op, struct stamp *at,
                                   struct graph **graph)
{
	enum status status = STATUS_OK;
	struct plan plan = *p->plan;
	plan.launches = p->launches;
	memcpy(p->launches, p->plan->launches, (size_t)plan.n * sizeof *plan.launches);
	for (int i = 0; i < plan.n; i++) {
		struct launch *l = &p->launches[i];
		if (op == N_OPS || l->op == op) {
			TRY(find_twin(p, l));
			l->stamps = at;
		}
		at += blocks_of(l);
	}
	TRY(decoder_capture(p->decoder, &plan, graph));
done:
	return status;
}

/* For each of STEPS steps in a row a graph in which all launches stamp, and one for each kind of
 * launch, whose stamps nobody reads. */
static enum status capture(struct profile *p)
{
	enum status status;
	TRY(decoder_capture(p->decoder, p->plan, &p->plain));
	for (int step = 0; step < STEPS; step++)
		TRY(capture_stamped(p, N_OPS, p->stamps + (size_t)step * p->blocks,
		                    &p->stamped[step]));
	for (int i = 0; i < p->plan->n; i++)
		p->n_kinds += !p->kinds[p->plan->launches[i].op].n++;
	for (enum op op = 0; op < N_OPS; op++)
		if (p->kinds[op].n)
			TRY(capture_stamped(p, op, p->stamps, &p->kinds[op].graph));
done:
	return status;
}

static enum status open(struct profile *p)
{
	enum status status;
	struct device *device = p->decoder->device;
	for (int i = 0; i < p->plan->n; i++)
		p->blocks += blocks_of(&p->plan->launches[i]);
	const size_t bytes = STEPS * p->blocks * sizeof *p->stamps;
	p->twins = calloc((size_t)p->plan->n, sizeof *p->twins);
	p->times = calloc((size_t)p->plan->n, sizeof *p->times);
	p->launches = malloc((size_t)p->plan->n * sizeof *p->launches);
	p->seen = malloc(bytes);
	if (!p->twins || !p->times || !p->launches || !p->seen)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	TRY(device_alloc(device, bytes, (void **)&p->stamps));
	TRY(device_fill(device, p->stamps, 0, bytes));
	TRY(event_open(device, &p->from));
	TRY(event_open(device, &p->to));
	TRY(capture(p));
done:
	return status;
}

static void close(struct profile *p)
{
	graph_close(&p->plain);
	for (int i = 0; i < STEPS; i++)
		graph_close(&p->stamped[i]);
	for (enum op op = 0; op < N_OPS; op++)
		graph_close(&p->kinds[op].graph);
	event_close(&p->from);
	event_close(&p->to);
	for (int i = 0; i < p->n_twins; i++)
		jit_close(&p->twins[i].module);
	device_free(p->decoder->device, p->stamps);
	free(p->twins);
	free(p->times);
	free(p->launches);
	free(p->seen);
}

/* First begin, first ready, last end of a launch's blocks; ns. */
static struct stamp span(const struct stamp *blocks, size_t n)
{
	struct stamp s = blocks[0];
	for (size_t i = 1; i < n; i++) {
		s.begin = blocks[i].begin < s.begin ? blocks[i].begin : s.begin;
		s.ready = blocks[i].ready < s.ready ? blocks[i].ready : s.ready;
		s.end = blocks[i].end > s.end ? blocks[i].end : s.end;
	}
	return s;
}

/* Adds what the stamps say of all steps that another one was before. */
static enum status add_times(struct profile *p)
{
	const struct stamp *at = p->seen;
	unsigned long long before = 0;
	for (int step = 0; step < STEPS; step++)
		for (int i = 0; i < p->plan->n; i++) {
			const size_t n = blocks_of(&p->plan->launches[i]);
			const struct stamp s = span(at, n);
			if (!s.begin || s.begin > s.ready || s.ready > s.end || s.end < before)
				return fail(STATUS_FAILED,
				            "launch %d of the step, %s, was not stamped", i,
				            op_name(p->plan->launches[i].op));
			if (step) {
				struct times *t = &p->times[i];
				t->begin += 1e-3 * ((double)s.begin - (double)before);
				t->ready += 1e-3 * ((double)s.ready - (double)before);
				t->end += 1e-3 * ((double)s.end - (double)before);
			}
			before = s.end;
			at += n;
		}
	p->n_steps += STEPS - 1;
	return STATUS_OK;
}

/* So many tokens, each the one that the step before chose, by `n` graphs in turn; us of one. */
static enum status replay(struct profile *p, struct graph *const *graphs, int n, int steps,
                          double *us)
{
	enum status status;
	TRY(decoder_seek(p->decoder, p->length - 1));
	TRY(device_sync(p->decoder->device));
	TRY(event_record(p->from));
	for (int i = 0; i < steps; i++)
		TRY(graph_launch(graphs[i % n]));
	TRY(event_record(p->to));
	TRY(event_elapsed_us(p->from, p->to, us));
	*us /= steps;
done:
	return status;
}

/* Replays with and without stamps by turns, so that drift meets both. */
static enum status measure(struct profile *p, bool quiet)
{
	enum status status = STATUS_OK;
	struct progress progress;
	const double start = seconds_now();
	double plain, stamped;
	progress_start(&progress, "profile", LIMIT_S, quiet);
	for (int round = -WARMUP_ROUNDS; round < ROUNDS; round++) {
		TRY(replay(p, &p->plain, 1, STEPS, &plain));
		TRY(replay(p, p->stamped, STEPS, STEPS, &stamped));
		if (round < 0)
			continue;
		TRY(device_read(p->decoder->device, p->seen, p->stamps,
		                STEPS * p->blocks * sizeof *p->seen));
		TRY(add_times(p));
		p->plain_us += plain;
		p->stamped_us += stamped;
		p->n_rounds++;
		progress_update(&progress, seconds_now() - start, NULL);
		if (seconds_now() - start > LIMIT_S)
			break;
	}
	progress_finish(&progress, NULL);
	p->plain_us /= p->n_rounds;
	p->stamped_us /= p->n_rounds;
	for (int i = 0; i < p->plan->n; i++) {
		p->times[i].begin /= p->n_steps;
		p->times[i].ready /= p->n_steps;
		p->times[i].end /= p->n_steps;
	}
done:
	return status;
}

/* One step of each kind between two plain ones, so that drift meets all. `over` is by operation. */
static enum status cost_round(struct profile *p, int steps, double over[N_OPS])
{
	enum status status;
	double before, us, after;
	TRY(replay(p, &p->plain, 1, steps, &before));
	for (enum op op = 0; op < N_OPS; op++) {
		if (!p->kinds[op].n)
			continue;
		TRY(replay(p, &p->kinds[op].graph, 1, steps, &us));
		TRY(replay(p, &p->plain, 1, steps, &after));
		over[op] = us - (before + after) / 2;
		before = after;
	}
done:
	return status;
}

static double raw_us(const struct profile *p, int i)
{
	return p->times[i].end;
}

/* A cost that cannot be told from none is not taken off; nor is one that is no less than a launch
 * of its kind, since it was not that launch's. */
static void conclude_cost(struct profile *p, enum op op)
{
	struct kind *k = &p->kinds[op];
	const int n = p->n_cost_rounds;
	k->cost = n ? median_interval(k->over_us, n, CONFIDENCE) : (struct interval){NAN, NAN, NAN};
	k->cost.median /= k->n;
	k->cost.lo /= k->n;
	k->cost.hi /= k->n;
	k->taken = interval_rank(n, CONFIDENCE) && (k->cost.lo > 0 || k->cost.hi < 0);
	for (int i = 0; i < p->plan->n; i++)
		if (p->plan->launches[i].op == op && fabs(k->cost.median) >= raw_us(p, i))
			k->taken = false;
}

/* Apart from measure(), whose table is to add up to the plain step without having been made to.
 * As many steps in a row as fit the limit; a slow step may end the rounds early. */
static enum status measure_costs(struct profile *p, bool quiet)
{
	enum status status = STATUS_OK;
	struct progress progress;
	const double start = seconds_now(), replays = (ROUNDS + 1) * (2 * p->n_kinds + 1),
	             fit = 1e6 * LIMIT_S / replays / p->plain_us;
	const int steps = (int)fmax(1, fmin(STEPS, fit));
	double over[N_OPS] = {0};
	progress_start(&progress, "stamps", LIMIT_S, quiet);
	for (int round = -1; round < ROUNDS; round++) { /* the first warms up */
		TRY(cost_round(p, steps, over));
		for (enum op op = 0; round >= 0 && op < N_OPS; op++)
			p->kinds[op].over_us[round] = over[op];
		p->n_cost_rounds = round + 1;
		progress_update(&progress, seconds_now() - start, NULL);
		if (seconds_now() - start > LIMIT_S)
			break;
	}
	progress_finish(&progress, NULL);
	for (enum op op = 0; op < N_OPS; op++)
		if (p->kinds[op].n)
			conclude_cost(p, op);
done:
	return status;
}

static const struct kind *kind_of(const struct profile *p, int i)
{
	return &p->kinds[p->plan->launches[i].op];
}

/* What a launch takes where nobody stamps. */
static double launch_us(const struct profile *p, int i)
{
	const struct kind *k = kind_of(p, i);
	return raw_us(p, i) - (k->taken ? k->cost.median : 0);
}

static double early_us(const struct times *t)
{
	return fmax(-t->begin, 0);
}

static double percent_of_ceiling(const struct profile *p, double bytes, double us)
{
	return 100 * bytes / us / 1e3 / p->ceilings.read.gbps;
}

/* All launches of one operation, or of all. */
struct total {
	int n;
	double us, raw, early, gap, bytes;
};

static void add_launch(const struct profile *p, int i, struct total *total)
{
	const struct times *t = &p->times[i];
	total->n++;
	total->us += launch_us(p, i);
	total->raw += raw_us(p, i);
	total->early += early_us(t);
	total->gap += fmax(t->ready, 0);
	total->bytes += launch_bytes(&p->plan->launches[i], p->length);
}

static void add_all(const struct profile *p, struct total *total)
{
	for (int i = 0; i < p->plan->n; i++)
		add_launch(p, i, total);
}

/* "0.181 (0.177 0.185)"; "" of none. */
static const char *format_cost(const struct kind *k, char text[64])
{
	text[0] = 0;
	if (k && isfinite(k->cost.median))
		snprintf(text, 64, "%.3f (%.3f %.3f)%s", k->cost.median, k->cost.lo, k->cost.hi,
		         k->taken ? "" : " unsure");
	return text;
}

/* `kind`: NULL for all launches. */
static void print_total(const struct profile *p, const char *name, const struct total *t,
                        const struct kind *kind, double step_us, FILE *to)
{
	char cost[64];
	fprintf(to,
	        "%-11s %8d %10.2f %6.1f %% %9.2f %9.2f %9.2f %10.3f %8.1f %6.1f %% %10.2f  %s\n",
	        name, t->n, t->us, 100 * t->us / step_us, t->us / t->n, t->early / t->n,
	        t->gap / t->n, t->bytes / 1e6, t->bytes / t->us / 1e3,
	        percent_of_ceiling(p, t->bytes, t->us), t->raw, format_cost(kind, cost));
}

static void print_operations(const struct profile *p, const struct total *all, FILE *to)
{
	fprintf(to, "%-11s %8s %10s %8s %9s %9s %9s %10s %8s %8s %10s  %s\n", "operation",
	        "launches", "us", "step", "us each", "early us", "gap us", "MB", "GB/s", "ceiling",
	        "stamped us", "a stamp us");
	for (enum op op = 0; op < N_OPS; op++) {
		struct total total = {0};
		for (int i = 0; i < p->plan->n; i++)
			if (p->plan->launches[i].op == op)
				add_launch(p, i, &total);
		if (total.n)
			print_total(p, op_name(op), &total, &p->kinds[op], all->us, to);
	}
	print_total(p, "all", all, NULL, all->us, to);
}

static void print_table(const struct profile *p, const struct total *all, FILE *to)
{
	print_operations(p, all, to);
	fprintf(to,
	        "%s %s, cache %s, context %d on %s: %.2f us per token; the launches above add up "
	        "to %.2f (%+.1f %%).\n"
	        "With stamps %.2f us (%+.1f %%), of which the launches have %.2f as stamped; %d "
	        "tokens\n"
	        "A launch has the time from when the one before had stored its results to when it "
	        "has, less what its stamp costs; early: how long before that it began, gap: how "
	        "long after it was let past the wait, both as stamped.\n"
	        "A stamp's cost: what the step takes longer when launches of that operation alone "
	        "stamp, for each; median and %.0f %% interval of %d rounds, by turns with the "
	        "plain step. Unsure: not told from none, or no less than a launch; not taken "
	        "off.\n",
	        p->decoder->model->hparams.name, p->decoder->model->types,
	        dtype_name(p->decoder->state.kv), p->length, device_info(p->decoder->device)->name,
	        p->plain_us, all->us, 100 * (all->us / p->plain_us - 1), p->stamped_us,
	        100 * (p->stamped_us / p->plain_us - 1), all->raw, p->n_steps, 100 * CONFIDENCE,
	        p->n_cost_rounds);
}

static enum status open_log(const char *folder, const struct device_info *info, struct csv_log *log)
{
	return csv_log_open_for(
	        folder, info->slug, "profile.csv",
	        "device,model,dtype,kv,context,rows,plain_us,stamped_us,launch,layer,"
	        "operation,kernel,case,shape,config,blocks,threads,at_us,begin_us,"
	        "ready_us,us,early_us,bytes,flops,ceiling_gbps,percent,source_hash,"
	        "raw_us,stamp_us,stamp_lo_us,stamp_hi_us,sum_us",
	        log);
}

#define MAX_COLUMNS 32

/* Fields of a row of the log, in its order. */
struct row {
	int n;
	char text[MAX_COLUMNS][CONFIG_TEXT];
};

static void put_text(struct row *row, const char *text)
{
	snprintf(row->text[row->n++], CONFIG_TEXT, "%s", text);
}

static void put_number(struct row *row, double value)
{
	snprintf(row->text[row->n++], CONFIG_TEXT, isfinite(value) ? "%.10g" : "", value);
}

static void put_launch(struct row *row, const struct launch *l, const struct shape *shape)
{
	char text[CONFIG_TEXT];
	put_number(row, l->layer);
	put_text(row, op_name(l->op));
	put_text(row, l->kernel->name);
	put_text(row, params_format(l->kernel->fields, l->kernel->n_fields, l->variant->kase.value,
	                            text));
	l->kernel->format_shape(shape, text);
	put_text(row, text);
	put_text(row, params_format(l->kernel->params, l->kernel->n_params,
	                            l->variant->config.value, text));
	put_number(row, (double)blocks_of(l));
	put_number(row, l->grid.threads);
}

/* begin_us and ready_us count from at_us, when the launch before had stored its results; sum_us is
 * all launches' us, beside plain_us. */
static enum status write_row(const struct profile *p, int i, double at, double sum,
                             struct csv_log *log)
{
	const struct launch *l = &p->plan->launches[i];
	const struct times *t = &p->times[i];
	const struct kind *k = kind_of(p, i);
	const struct decoder *d = p->decoder;
	const double bytes = launch_bytes(l, p->length);
	struct row row = {0};
	struct shape shape = l->shape;
	const char *fields[MAX_COLUMNS];
	char hash[17], way[DECODER_WAY];
	if (shape.len)
		shape.len = p->length;
	put_text(&row, device_info(d->device)->name);
	put_text(&row, d->model->hparams.name);
	put_text(&row, d->model->types);
	put_text(&row, dtype_name(d->state.kv));
	put_number(&row, p->length);
	put_text(&row, decoder_way(d, way));
	put_number(&row, p->plain_us);
	put_number(&row, p->stamped_us);
	put_number(&row, i);
	put_launch(&row, l, &shape);
	put_number(&row, at);
	put_number(&row, t->begin);
	put_number(&row, t->ready);
	put_number(&row, launch_us(p, i));
	put_number(&row, early_us(t));
	put_number(&row, bytes);
	put_number(&row, l->kernel->flops(&shape, l->kase.value));
	put_number(&row, p->ceilings.read.gbps);
	put_number(&row, percent_of_ceiling(p, bytes, launch_us(p, i)));
	table_source_hash(hash);
	put_text(&row, hash);
	put_number(&row, raw_us(p, i));
	put_number(&row, k->cost.median);
	put_number(&row, k->cost.lo);
	put_number(&row, k->cost.hi);
	put_number(&row, sum);
	for (int n = 0; n < row.n; n++)
		fields[n] = row.text[n];
	assert(row.n == log->n_columns);
	return csv_log_row(log, fields);
}

enum status profile(struct decoder *d, int length, bool quiet, const char *csv, FILE *to)
{
	enum status status;
	struct csv_log log = {.file = -1};
	struct profile p = {.decoder = d, .plan = decoder_plan(d, length - 1), .length = length};
	struct total all = {0};
	double at = 0;
	if (csv)
		TRY(open_log(csv, device_info(d->device), &log));
	TRY(decoder_fill_cache(d, d->state.capacity, NULL, NULL));
	TRY(open(&p));
	TRY(measure(&p, quiet));
	TRY(measure_costs(&p, quiet));
	TRY(ceilings_measure(d->device, quiet, &p.ceilings));
	add_all(&p, &all);
	print_table(&p, &all, to);
	for (int i = 0; csv && i < p.plan->n; i++) {
		TRY(write_row(&p, i, at, all.us, &log));
		at += launch_us(&p, i);
	}
done:
	csv_log_close(&log);
	close(&p);
	return status;
}
