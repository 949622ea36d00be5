#include "bench/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cublas.h"
#include "bench/problem.h"
#include "core/table.h"
#include "kernels/stream.h"

const char *const cache_state_names[N_CACHE_STATES] = {
        [STATE_COLD] = "cold",
        [STATE_HOT] = "hot",
        [STATE_STREAM] = "stream",
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
	const struct kernel *kernel;
	const struct variant *variant;
	void *memory, *sum;
	int n_slices, next;
};

struct peer {
	struct cublas *cublas;
	char text[256];
	void *x, *y; /* of the task: k elements of the weights' dtype, m of f32 */
	int form;
};

struct meter {
	struct device *device;
	struct timer timer;
	struct ceilings ceilings;
	struct reader reader;
	struct peer peer;
	/* of the task that is set up */
	const struct task *task;
	struct problem *problem;
	int copies, n_instances;
	size_t footprint_bytes;
	struct instance instance[2]; /* the default is the last */
};

/* What a workload's functions are called with. */
struct launch {
	struct meter *meter;
	const struct variant *variant;
};

static enum status run(void *user, int iteration)
{
	struct launch *l = user;
	return problem_launch(l->meter->problem, l->variant->entry, l->variant->config.value,
	                      iteration);
}

static enum status read_between(void *user, int iteration)
{
	struct meter *meter = ((struct launch *)user)->meter;
	struct reader *r = &meter->reader;
	const struct stream_args args = {
	        .x = (const char *)r->memory + (size_t)r->next * READ_BETWEEN_BYTES,
	        .sum = r->sum,
	        .n = READ_BETWEEN_BYTES / STREAM_WORD_BYTES,
	};
	const struct shape shape = {.m = (int)(READ_BETWEEN_BYTES / STREAM_SHAPE_BYTES)};
	(void)iteration;
	r->next = (r->next + 1) % r->n_slices;
	return device_launch(meter->device, r->variant->entry,
	                     r->kernel->grid(&shape, r->variant->kase.value,
	                                     r->variant->config.value, device_info(meter->device)),
	                     &args, sizeof args, (struct launch_options){0});
}

/* The instance of `stream` that reached the read ceiling. */
static enum status reader_open(struct meter *meter)
{
	enum status status;
	struct reader *r = &meter->reader;
	const struct variant *variants;
	r->kernel = kernel_find("stream");
	int n = kernel_variants(r->kernel, device_info(meter->device), &variants);
	for (int i = 0; i < n; i++) {
		struct stream_case kase;
		char config[CONFIG_TEXT];
		memcpy(&kase, variants[i].kase.value, sizeof kase);
		params_format(r->kernel->params, r->kernel->n_params, variants[i].config.value,
		              config);
		if (!kase.copy && !strcmp(config, meter->ceilings.read.config))
			r->variant = &variants[i];
	}
	if (!r->variant)
		return fail(STATUS_UNSUPPORTED, "this program has no 'stream' with %s",
		            meter->ceilings.read.config);
	size_t bytes = 3 * device_info(meter->device)->l2_bytes;
	r->n_slices = (int)(bytes / READ_BETWEEN_BYTES) + 1;
	bytes = (size_t)r->n_slices * READ_BETWEEN_BYTES;
	TRY(device_alloc(meter->device, sizeof(unsigned), &r->sum));
	TRY(device_alloc(meter->device, bytes, &r->memory));
	TRY(device_fill(meter->device, r->memory, 0x5a, bytes));
done:
	return status;
}

static void open_peers(struct meter *meter)
{
	if (cublas_open(meter->device, &meter->peer.cublas) == STATUS_OK)
		snprintf(meter->peer.text, sizeof meter->peer.text, "cuBLAS %s",
		         cublas_version(meter->peer.cublas));
	else
		snprintf(meter->peer.text, sizeof meter->peer.text, "no cuBLAS: %.200s",
		         fail_message());
}

enum status meter_open(struct device *device, const struct ceilings *ceilings, bool peers,
                       struct meter **meter)
{
	enum status status;
	struct timer_options options = timer_defaults;
	struct meter *m = *meter = calloc(1, sizeof *m);
	if (!m)
		return fail(STATUS_NO_MEMORY, "no memory for a meter");
	if (!device_info(device)->target.sm) {
		options.limit_seconds = HOST_LIMIT_SECONDS;
		options.warmup_seconds = HOST_WARMUP_SECONDS;
	}
	m->device = device;
	m->ceilings = *ceilings;
	TRY(timer_open(&m->timer, device, &options));
	TRY(reader_open(m));
	if (peers)
		open_peers(m);
done:
	if (status != STATUS_OK)
		meter_close(meter);
	return status;
}

static void close_task(struct meter *meter)
{
	problem_close(&meter->problem);
	device_free(meter->device, meter->peer.x);
	device_free(meter->device, meter->peer.y);
	meter->peer.x = meter->peer.y = NULL;
	meter->task = NULL;
}

void meter_close(struct meter **meter)
{
	struct meter *m = *meter;
	if (!m)
		return;
	close_task(m);
	cublas_close(&m->peer.cublas);
	device_free(m->device, m->reader.memory);
	device_free(m->device, m->reader.sum);
	timer_close(&m->timer);
	free(m);
	*meter = NULL;
}

const char *meter_peers(const struct meter *meter)
{
	return meter->peer.text;
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
	if (tuned && tuned->device)
		add_instance(meter, tuned, true);
	if (!tuned || !tuned->device ||
	    memcmp(&plain->config, &tuned->config, sizeof plain->config))
		add_instance(meter, plain, false);
	return STATUS_OK;
}

/* Operands of the peer in the one dtype that it takes; their values do not matter to its time, as
 * long as they are numbers. */
static enum status open_peer_operands(struct meter *meter)
{
	enum status status = STATUS_OK;
	const struct task *t = meter->task;
	int dtype = t->kase.value[0];
	size_t n = (size_t)t->shape.k;
	if (!meter->peer.cublas || strcmp(t->kernel->name, "gemv") || dtype_block(dtype) != 1)
		return STATUS_OK;
	float *values = malloc(n * sizeof *values);
	void *x = malloc(dtype_bytes(dtype, n));
	if (!values || !x) {
		status = fail(STATUS_NO_MEMORY, "no memory for %zu values", n);
		goto done;
	}
	for (size_t i = 0; i < n; i++)
		values[i] = (float)sin((double)i);
	dtype_from_f32(dtype, values, x, n);
	TRY(device_alloc(meter->device, dtype_bytes(dtype, n), &meter->peer.x));
	TRY(device_alloc(meter->device, (size_t)t->shape.m * sizeof(float), &meter->peer.y));
	TRY(device_write(meter->device, meter->peer.x, x, dtype_bytes(dtype, n)));
done:
	free(values);
	free(x);
	return status;
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
	TRY(open_peer_operands(meter));
done:
	if (status != STATUS_OK)
		close_task(meter);
	return status;
}

static struct workload make_workload(const struct meter *meter, enum cache_state state,
                                     struct launch *launch)
{
	struct workload w = {
	        .run = run,
	        .user = launch,
	        .copies = state == STATE_HOT ? 1 : meter->copies,
	        .cold = state == STATE_COLD,
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

/* Bandwidth and what it is held to. The whole interval above the read ceiling cannot have come from
 * memory. */
static void rate(const struct meter *meter, enum cache_state state, struct figure *f)
{
	const struct task *t = meter->task;
	bool copy = written_share(meter) > 0.25;
	f->ceiling = copy ? "copy" : "read";
	f->ceiling_gbps = copy ? meter->ceilings.copy.gbps : meter->ceilings.read.gbps;
	f->bytes = t->kernel->bytes(&t->shape, t->kase.value);
	f->gbps = f->bytes / f->timing.us / 1e3;
	f->percent = 100 * f->gbps / f->ceiling_gbps;
	if (state == STATE_COLD && f->bytes / f->timing.us_hi / 1e3 > meter->ceilings.read.gbps) {
		f->status = FIGURE_SUSPECT;
		snprintf(f->reason, sizeof f->reason,
		         "%.4g GB/s from cold caches is above the read ceiling of %.4g GB/s",
		         f->gbps, meter->ceilings.read.gbps);
	}
}

static void note_failure(struct figure *f, enum status status)
{
	f->status = status == STATUS_VIOLATION ? FIGURE_WRONG : FIGURE_FAILED;
	snprintf(f->reason, sizeof f->reason, "%s", fail_message());
}

static enum status run_peer(void *user, int iteration)
{
	struct meter *meter = ((struct launch *)user)->meter;
	const struct task *t = meter->task;
	return cublas_gemv(meter->peer.cublas, meter->peer.form, t->shape.m, t->shape.k,
	                   t->kase.value[0], problem_memory(meter->problem, "w", iteration),
	                   meter->peer.x, DTYPE_F32, meter->peer.y);
}

/* The faster of the peer's forms, in the same state as the figure. A peer that fails is absent. */
static void time_peer(struct meter *meter, enum cache_state state, struct figure *f)
{
	struct timing timing;
	struct launch launch = {.meter = meter};
	if (!meter->peer.x)
		return;
	for (int form = 0; form < CUBLAS_FORMS; form++) {
		struct workload w = make_workload(meter, state, &launch);
		w.run = run_peer;
		meter->peer.form = form;
		if (timer_measure(&meter->timer, &w, &timing) != STATUS_OK ||
		    (f->peer && f->peer_us <= timing.us))
			continue;
		f->peer = "cublas";
		f->peer_us = timing.us;
	}
}

static void time_one(struct meter *meter, const struct measurement *m, struct figure *f)
{
	struct launch launch = {meter, f->variant};
	struct workload w = make_workload(meter, m->state, &launch);
	enum status status = timer_measure(&meter->timer, &w, &f->timing);
	if (status != STATUS_OK)
		note_failure(f, status);
}

/* The tuned instance and the default by turns. */
static void time_both(struct meter *meter, const struct measurement *m, struct figure *tuned,
                      struct figure *plain)
{
	struct launch a = {meter, plain->variant}, b = {meter, tuned->variant};
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
		*f = (struct figure){.variant = instance->variant, .tuned = instance->tuned};
		f->status = instance->checked == STATUS_OK          ? FIGURE_OK
		            : instance->checked == STATUS_VIOLATION ? FIGURE_WRONG
		                                                    : FIGURE_FAILED;
		memcpy(f->reason, instance->reason, sizeof f->reason);
		healthy += f->status == FIGURE_OK;
	}
	if (healthy == 2)
		time_both(meter, m, &m->figure[0], &m->figure[1]);
	for (int i = 0; i < m->n; i++) {
		struct figure *f = &m->figure[i];
		if (f->status == FIGURE_OK && healthy < 2)
			time_one(meter, m, f);
		if (f->status != FIGURE_OK)
			continue;
		rate(meter, m->state, f);
		if (i == 0)
			time_peer(meter, m->state, f);
	}
done:
	return status;
}

enum status meter_self_test(struct meter *meter, struct comparison *comparison)
{
	enum status status;
	struct paired_timing timing;
	if (!meter->task)
		return fail(STATUS_FAILED,
		            "nothing was measured that could be compared with itself");
	const struct instance *plain = &meter->instance[meter->n_instances - 1];
	struct launch launch = {meter, plain->variant};
	struct workload w = make_workload(meter, STATE_COLD, &launch);
	meter->timer.options.launches = timer_defaults.launches;
	TRY(timer_pair(&meter->timer, &w, &w, &timing));
	*comparison = timing.comparison;
done:
	return status;
}
