#include "bench/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/clock.h"
#include "bench/peers.h"
#include "bench/problem.h"
#include "bench/read_reference.h"
#include "bench/stream_way.h"
#include "core/table.h"
#include "kernels/mark.h"

const char *const cache_state_names[N_CACHE_STATES] = {
        [STATE_COLD] = "cold",
        [STATE_HOT] = "hot",
        [STATE_STREAM] = "stream",
        [STATE_CHAIN] = "chain",
};

const char *const figure_status_names[] = {
        [FIGURE_OK] = "ok",
        [FIGURE_WRONG] = "wrong",
        [FIGURE_FAILED] = "failed",
        [FIGURE_SUSPECT] = "suspect",
};

/* Sets of buffers; more launches than this in flight say nothing new. */
enum { MAX_COPIES = 512, SEED = 1 };
static const size_t READ_BETWEEN_BYTES = 16 << 20;
/* A graph on a GPU: so long that what it costs to start is nothing. */
static const double GPU_LEAST_US = 1000;
/* Values may grow from link to link, so that after so many a chain begins anew; and a graph has two
 * chains. */
enum { CHAIN_LINKS = 32 };
/* Launches of fewer bytes are not bound by reading. */
static const double LEAST_READ_BYTES = 65536;
/* Faster or slower than a peer by less does not matter. */
static const double PEER_NOISE = 0.005;
/* Finds the fastest way of all peers. */
static const struct timer_options PEER_SCREEN = {
        .min_samples = 5,
        .max_samples = 5,
        .limit_seconds = 0.2,
        .sample_seconds = 0.02,
        .launches = 20,
};
/* Rows take longer on the host, and there are no clocks to wait for. */
static const double HOST_LIMIT_SECONDS = 0.7, HOST_WARMUP_SECONDS = 0.1;

struct instance {
	const struct variant *variant;
	bool tuned;
	enum status checked;
	char reason[512];
};

/* Memory that is read between launches, slice after slice. */
struct reader {
	struct stream_way way;
	void *memory;
	unsigned *sums;
	int n_slices, next;
};

/* How a launch that does nothing is made; its time is measured when first asked for. */
enum empty_kind { EMPTY_GRAPH, EMPTY_SINGLE, EMPTY_DEPENDENT, N_EMPTY_KINDS };

struct meter {
	struct device *device;
	struct timer timer;
	struct clock_marks *marks;
	struct ceilings ceilings;
	struct reader reader;
	struct read_references *references;
	struct peers *peers;            /* NULL: not asked for */
	double empty_us[N_EMPTY_KINDS]; /* NaN: not yet known */
	/* of the task that is set up */
	const struct task *task;
	struct problem *problem;
	int copies, n_instances, n_ways;
	size_t footprint_bytes;
	struct instance instance[2]; /* the default is the last */
};

/* What a workload's functions are called with. */
struct launch {
	struct meter *meter;
	const struct variant *variant;
	int way; /* of the peers */
};

static enum status run(void *user, int iteration)
{
	struct launch *l = user;
	return problem_launch(l->meter->problem, l->variant->entry, l->variant->config.value,
	                      iteration);
}

static enum status run_chained(void *user, int iteration)
{
	struct launch *l = user;
	return problem_launch_chained(l->meter->problem, l->variant->entry,
	                              l->variant->config.value, iteration,
	                              iteration % CHAIN_LINKS ? iteration - 1 : -1);
}

static enum status run_peer(void *user, int iteration)
{
	struct launch *l = user;
	return peers_run(l->meter->peers, l->way, iteration);
}

static enum status read_between(void *user, int iteration)
{
	struct meter *meter = ((struct launch *)user)->meter;
	struct reader *r = &meter->reader;
	const char *slice = (const char *)r->memory + (size_t)r->next * READ_BETWEEN_BYTES;
	(void)iteration;
	r->next = (r->next + 1) % r->n_slices;
	return stream_launch(meter->device, &r->way, slice, NULL, r->sums, READ_BETWEEN_BYTES);
}

/* The way that reached the read ceiling. */
static enum status reader_open(struct meter *meter)
{
	enum status status;
	struct reader *r = &meter->reader;
	struct stream_way ways[MAX_STREAM_WAYS];
	char config[CONFIG_TEXT];
	int n = stream_ways(device_info(meter->device), false, ways), i = 0;
	while (i < n && strcmp(stream_way_text(&ways[i], config), meter->ceilings.read.config))
		i++;
	if (i == n)
		return fail(STATUS_UNSUPPORTED, "this program has no 'stream' with %s",
		            meter->ceilings.read.config);
	r->way = ways[i];
	size_t bytes = 3 * device_info(meter->device)->l2_bytes;
	r->n_slices = (int)(bytes / READ_BETWEEN_BYTES) + 1;
	bytes = (size_t)r->n_slices * READ_BETWEEN_BYTES;
	TRY(stream_sums_alloc(meter->device, &r->sums));
	TRY(device_alloc(meter->device, bytes, &r->memory));
	TRY(device_fill(meter->device, r->memory, 0x5a, bytes));
done:
	return status;
}

static struct timer_options make_options(const struct device_info *info, double limit_seconds)
{
	struct timer_options options = timer_defaults;
	if (info->target.sm) {
		options.least_us = GPU_LEAST_US;
	} else {
		options.limit_seconds = HOST_LIMIT_SECONDS;
		options.warmup_seconds = HOST_WARMUP_SECONDS;
	}
	if (limit_seconds > 0)
		options.limit_seconds = limit_seconds;
	return options;
}

enum status meter_open(struct device *device, const struct ceilings *ceilings,
                       const struct meter_options *options, struct meter **meter)
{
	enum status status;
	struct timer_options timing = make_options(device_info(device), options->limit_seconds);
	struct meter *m = *meter = calloc(1, sizeof *m);
	if (!m)
		return fail(STATUS_NO_MEMORY, "no memory for a meter");
	m->device = device;
	m->ceilings = *ceilings;
	for (int i = 0; i < N_EMPTY_KINDS; i++)
		m->empty_us[i] = NAN;
	TRY(timer_open(&m->timer, device, &timing));
	TRY(clock_open(device, &m->marks));
	m->timer.marks = clock_timer_marks(m->marks);
	TRY(reader_open(m));
	TRY(read_references_open(device, &m->timer, ceilings->read.config, &m->references));
	if (options->peers)
		TRY(peers_open(device, &m->peers));
done:
	if (status != STATUS_OK)
		meter_close(meter);
	return status;
}

static void close_task(struct meter *meter)
{
	problem_close(&meter->problem);
	meter->task = NULL;
}

void meter_close(struct meter **meter)
{
	struct meter *m = *meter;
	if (!m)
		return;
	peers_close(&m->peers);
	close_task(m);
	read_references_close(&m->references);
	device_free(m->device, m->reader.memory);
	device_free(m->device, m->reader.sums);
	clock_close(&m->marks);
	timer_close(&m->timer);
	free(m);
	*meter = NULL;
}

const char *meter_peers(const struct meter *meter)
{
	return meter->peers ? peers_text(meter->peers) : "";
}

bool meter_allows(const struct device *device, const struct task *task, enum cache_state state)
{
	return state != STATE_CHAIN ||
	       problem_can_chain(task->kernel, task->kase.value, &task->shape, device_info(device));
}

/* Checks an instance against the reference; an instance that fails is never timed. */
static void add_instance(struct meter *meter, const struct variant *variant, bool tuned)
{
	struct instance *i = &meter->instance[meter->n_instances++];
	*i = (struct instance){.variant = variant, .tuned = tuned};
	i->checked = problem_check(meter->problem, variant->entry, variant->config.value);
	if (i->checked != STATUS_OK)
		snprintf(i->reason, sizeof i->reason, "%s", fail_message());
}

static enum status find_instances(struct meter *meter)
{
	const struct task *t = meter->task;
	const struct device_info *info = device_info(meter->device);
	const struct variant *plain =
	        table_lookup(t->kernel, info, t->kase.value, &t->shape, false);
	const struct variant *tuned = table_lookup(t->kernel, info, t->kase.value, &t->shape, true);
	meter->n_instances = 0;
	if (!plain)
		return fail(STATUS_UNSUPPORTED, "%s %s: this program has no instance of the case",
		            t->kernel->name, t->case_text);
	const bool has_row = tuned && tuned->device && !table_is_lent(tuned, &t->shape);
	if (has_row)
		add_instance(meter, tuned, true);
	if (!has_row || memcmp(&plain->config, &tuned->config, sizeof plain->config))
		add_instance(meter, plain, false);
	return STATUS_OK;
}

/* Sets a task up, unless it is the one that is. */
static enum status use_task(struct meter *meter, const struct task *t)
{
	enum status status = STATUS_OK;
	const struct device_info *info = device_info(meter->device);
	if (meter->task == t)
		return STATUS_OK;
	close_task(meter);
	size_t bytes = problem_bytes(t->kernel, t->kase.value, &t->shape, info);
	meter->copies = timer_cold_copies(info, bytes, MAX_COPIES);
	while (meter->copies > 1 && info->memory_bytes &&
	       (size_t)meter->copies * bytes > info->memory_bytes / 4)
		meter->copies--;
	meter->footprint_bytes = (size_t)meter->copies * bytes;
	TRY(problem_open(meter->device, t->kernel, t->kase.value, &t->shape, SEED, meter->copies,
	                 &meter->problem));
	meter->task = t;
	TRY(find_instances(meter));
	meter->n_ways = meter->peers ? peers_use(meter->peers, t, meter->problem) : 0;
done:
	if (status != STATUS_OK)
		close_task(meter);
	return status;
}

static struct workload make_workload(const struct meter *meter, enum cache_state state,
                                     struct launch *launch)
{
	const bool chain = state == STATE_CHAIN;
	struct workload w = {
	        .run = chain ? run_chained : run,
	        .user = launch,
	        .copies = state == STATE_HOT ? 1 : meter->copies,
	        .max_launches = chain ? 2 * CHAIN_LINKS : 0,
	        .cold = state == STATE_COLD || chain,
	        .between = state == STATE_STREAM ? read_between : NULL,
	};
	w.footprint_bytes = meter->footprint_bytes / (size_t)meter->copies * (size_t)w.copies;
	return w;
}

/* Share of a launch's traffic that is written. */
static double written_share(const struct meter *meter)
{
	const struct task *t = meter->task;
	struct buffer buffers[MAX_BUFFERS];
	double written = 0;
	int n = t->kernel->buffers(&t->shape, t->kase.value,
	                           meter->instance[0].variant->config.value,
	                           device_info(meter->device), buffers);
	for (int b = 0; b < n; b++)
		if (buffers[b].role == BUFFER_OUTPUT || buffers[b].role == BUFFER_INOUT)
			written += (double)dtype_bytes(buffers[b].dtype, buffers[b].count);
	return written / t->kernel->bytes(&t->shape, t->kase.value);
}

/* A ceiling is measured too: on an H200 it was between 4597 and 4619 GB/s within an hour. */
#define CEILING_ERROR 0.01

/* Bandwidth and what it is held to. */
static void rate(const struct meter *meter, struct figure *f)
{
	const struct task *t = meter->task;
	bool copy = written_share(meter) > 0.25;
	f->ceiling = copy ? "copy" : "read";
	f->ceiling_gbps = copy ? meter->ceilings.copy.gbps : meter->ceilings.read.gbps;
	f->bytes = t->kernel->bytes(&t->shape, t->kase.value);
	f->gbps = f->bytes / f->timing.us / 1e3;
	f->percent = 100 * f->gbps / f->ceiling_gbps;
}

/* The whole interval above the read ceiling cannot have come from memory. */
static bool beats_memory(const struct meter *meter, enum cache_state state, const struct figure *f)
{
	return state == STATE_COLD &&
	       f->bytes / f->timing.us_hi / 1e3 > (1 + CEILING_ERROR) * meter->ceilings.read.gbps;
}

/* Memory that was hot when the run began may be faster by now. */
static void raise_ceilings(struct meter *meter)
{
	struct ceilings now, *best = &meter->ceilings;
	if (ceilings_measure_over(meter->device, (size_t)best->read.bytes, true, &now) != STATUS_OK)
		return;
	if (now.read.gbps > best->read.gbps)
		best->read = now.read;
	if (now.copy.gbps > best->copy.gbps)
		best->copy = now.copy;
}

/* The figures that were timed; when one beats the ceiling all are held to one that is measured
 * anew. */
static void hold_to_ceilings(struct meter *meter, struct measurement *m)
{
	bool beaten = false;
	for (int i = 0; i < m->n; i++)
		if (m->figure[i].status == FIGURE_OK) {
			rate(meter, &m->figure[i]);
			beaten |= beats_memory(meter, m->state, &m->figure[i]);
		}
	if (!beaten)
		return;
	raise_ceilings(meter);
	for (int i = 0; i < m->n; i++) {
		struct figure *f = &m->figure[i];
		if (f->status != FIGURE_OK)
			continue;
		rate(meter, f);
		if (!beats_memory(meter, m->state, f))
			continue;
		f->status = FIGURE_SUSPECT;
		snprintf(f->reason, sizeof f->reason,
		         "%.4g GB/s from cold caches is above the read ceiling of %.4g GB/s",
		         f->gbps, meter->ceilings.read.gbps);
	}
}

/* What a read of as many bytes costs, where that is what bounds the launch. */
static enum status hold_to_read(struct meter *meter, const struct measurement *m, struct figure *f)
{
	enum status status = STATUS_OK;
	const struct read_reference *reference;
	if (!m->graph || m->state == STATE_HOT || m->state == STATE_CHAIN ||
	    strcmp(f->ceiling, "read") || f->bytes < LEAST_READ_BYTES)
		return STATUS_OK;
	TRY(read_reference_find(meter->references, f->bytes, &reference));
	f->read_us = reference->us;
	f->read_percent = 100 * reference->us / f->timing.us;
done:
	return status;
}

struct empty_launch {
	struct device *device;
	const struct variant *variant;
	struct grid grid;
	struct launch_options options;
};

static enum status run_empty(void *user, int iteration)
{
	const struct empty_launch *e = user;
	const struct mark_args nothing = {0};
	(void)iteration;
	return device_launch(e->device, e->variant->entry, e->grid, &nothing, sizeof nothing,
	                     e->options);
}

/* The time of a launch that does nothing, made like those of a measurement. */
static enum status find_empty(struct meter *meter, const struct measurement *m, double *us)
{
	enum status status;
	const enum empty_kind kind = !m->graph                 ? EMPTY_SINGLE
	                             : m->state == STATE_CHAIN ? EMPTY_DEPENDENT
	                                                       : EMPTY_GRAPH;
	const struct kernel *kernel = kernel_find("mark");
	const struct device_info *info = device_info(meter->device);
	struct empty_launch empty = {.device = meter->device,
	                             .options = {.dependent = kind == EMPTY_DEPENDENT}};
	const struct workload workload = {.run = run_empty, .user = &empty, .copies = 1};
	struct timing timing;
	if (isnan(meter->empty_us[kind])) {
		if (!kernel_variants(kernel, info, &empty.variant))
			return fail(STATUS_UNSUPPORTED, "this program has no 'mark' for %s",
			            info->name);
		empty.grid = kernel->grid(&(struct shape){.m = 1}, empty.variant->kase.value,
		                          empty.variant->config.value, info);
		TRY(timer_measure(&meter->timer, &workload, &timing));
		meter->empty_us[kind] = timing.us;
	}
	*us = meter->empty_us[kind];
	status = STATUS_OK;
done:
	return status;
}

static void note_failure(struct figure *f, enum status status)
{
	f->status = status == STATUS_VIOLATION ? FIGURE_WRONG : FIGURE_FAILED;
	snprintf(f->reason, sizeof f->reason, "%s", fail_message());
}

/* The fastest of the peers' ways that are right; -1: there is none. */
static int choose_way(struct meter *meter, enum cache_state state)
{
	const struct timer_options kept = meter->timer.options;
	double best_us = INFINITY;
	int best = -1;
	meter->timer.options = PEER_SCREEN;
	meter->timer.options.least_us = kept.least_us;
	for (int way = 0; way < meter->n_ways; way++) {
		struct timing timing;
		struct launch launch = {.meter = meter, .way = way};
		struct workload w = make_workload(meter, state, &launch);
		w.run = run_peer;
		if (peers_check(meter->peers, way) != STATUS_OK ||
		    timer_measure(&meter->timer, &w, &timing) != STATUS_OK || timing.us >= best_us)
			continue;
		best_us = timing.us;
		best = way;
	}
	meter->timer.options = kept;
	return best;
}

/* Ours and the best peer by turns, launch after launch in a graph. A peer that fails is absent. */
static void time_peer(struct meter *meter, const struct measurement *m, struct figure *f)
{
	const double noise = meter->timer.options.noise;
	struct paired_timing timing;
	int plan;
	if (!meter->n_ways || !m->graph || (m->state != STATE_COLD && m->state != STATE_HOT))
		return;
	struct launch ours = {meter, f->variant, 0}, theirs = {.meter = meter};
	theirs.way = choose_way(meter, m->state);
	if (theirs.way < 0)
		return;
	struct workload a = make_workload(meter, m->state, &theirs),
	                b = make_workload(meter, m->state, &ours);
	a.run = run_peer;
	meter->timer.options.noise = PEER_NOISE;
	enum status status = timer_pair(&meter->timer, &a, &b, &timing);
	meter->timer.options.noise = noise;
	if (status != STATUS_OK)
		return;
	const struct peer *peer = peers_way(meter->peers, theirs.way, &plan);
	f->peer = peer->kind->name;
	snprintf(f->peer_version, sizeof f->peer_version, "%s way %d", peer->version, plan);
	f->peer_us = timing.a.us;
	f->peer_comparison = timing.comparison;
}

static void time_one(struct meter *meter, const struct measurement *m, struct figure *f)
{
	struct launch launch = {meter, f->variant, 0};
	struct workload w = make_workload(meter, m->state, &launch);
	enum status status = timer_measure(&meter->timer, &w, &f->timing);
	if (status != STATUS_OK)
		note_failure(f, status);
}

/* The tuned instance and the default by turns. */
static void time_both(struct meter *meter, const struct measurement *m, struct figure *tuned,
                      struct figure *plain)
{
	struct launch a = {meter, plain->variant, 0}, b = {meter, tuned->variant, 0};
	struct workload wa = make_workload(meter, m->state, &a),
	                wb = make_workload(meter, m->state, &b);
	struct paired_timing timing;
	enum status status = timer_pair(&meter->timer, &wa, &wb, &timing);
	if (status != STATUS_OK) {
		note_failure(tuned, status);
		note_failure(plain, status);
		return;
	}
	plain->timing = timing.a;
	tuned->timing = timing.b;
	tuned->comparison = timing.comparison;
	tuned->compared = true;
}

enum status meter_measure(struct meter *meter, struct measurement *m)
{
	enum status status;
	int healthy = 0;
	TRY(use_task(meter, m->task));
	meter->timer.options.launches = m->graph ? timer_defaults.launches : 1;
	m->n = meter->n_instances;
	for (int i = 0; i < m->n; i++) {
		const struct instance *instance = &meter->instance[i];
		struct figure *f = &m->figure[i];
		*f = (struct figure){.variant = instance->variant,
		                     .tuned = instance->tuned,
		                     .read_us = NAN,
		                     .read_percent = NAN,
		                     .empty_us = NAN};
		f->status = instance->checked == STATUS_OK          ? FIGURE_OK
		            : instance->checked == STATUS_VIOLATION ? FIGURE_WRONG
		                                                    : FIGURE_FAILED;
		memcpy(f->reason, instance->reason, sizeof f->reason);
		healthy += f->status == FIGURE_OK;
	}
	if (healthy == 2)
		time_both(meter, m, &m->figure[0], &m->figure[1]);
	for (int i = 0; i < m->n && healthy < 2; i++)
		if (m->figure[i].status == FIGURE_OK)
			time_one(meter, m, &m->figure[i]);
	hold_to_ceilings(meter, m);
	for (int i = 0; i < m->n; i++) {
		struct figure *f = &m->figure[i];
		if (f->status != FIGURE_OK)
			continue;
		TRY(find_empty(meter, m, &f->empty_us));
		TRY(hold_to_read(meter, m, f));
		if (i == 0)
			time_peer(meter, m, f);
	}
done:
	return status;
}

const struct ceilings *meter_ceilings(const struct meter *meter)
{
	return &meter->ceilings;
}

enum status meter_self_test(struct meter *meter, struct comparison *comparison)
{
	enum status status;
	struct paired_timing timing;
	if (!meter->task)
		return fail(STATUS_FAILED,
		            "nothing was measured that could be compared with itself");
	const struct instance *plain = &meter->instance[meter->n_instances - 1];
	struct launch launch = {meter, plain->variant, 0};
	struct workload w = make_workload(meter, STATE_COLD, &launch);
	meter->timer.options.launches = timer_defaults.launches;
	for (int i = 0; i < 2; i++) {
		TRY(timer_pair(&meter->timer, &w, &w, &timing));
		*comparison = timing.comparison;
		if (comparison->verdict == VERDICT_SAME)
			break;
	}
done:
	return status;
}
