#include "bench/timer.h"

#include "core/progress.h"

#include <math.h>
#include <stdio.h>

static const double CONFIDENCE = 0.95;
/* Caches to leave behind when the device does not tell its own. */
static const size_t UNKNOWN_CACHE_BYTES = 64 << 20;
/* Reading clocks and power takes far longer than a short sample. */
static const double HEALTH_SECONDS = 0.01;
/* The host shares its cores with other programs: a long sample is sure to be interrupted. */
static const double HOST_SAMPLE_SECONDS = 0.002;
/* A sample at a clock this much below the best seen was throttled. */
static const double CLOCK_DROP = 0.02;
/* Resolution of device clocks. */
static const double LEAST_US = 0.001;
enum { COLD_CACHES = 3, SETTLE_SAMPLES = 5 };

const struct timer_options timer_defaults = {
        .min_samples = 15,
        .max_samples = 301,
        .half_width = 0.005,
        .limit_seconds = 3,
        .warmup_seconds = 0.3,
        .sample_seconds = 0.05,
        .launches = 20,
        .noise = 0.01,
        .error = 0.05,
};

const char *timer_stop_name(enum timer_stop stop)
{
	static const char *const names[] = {
	        [TIMER_PRECISION] = "precision",
	        [TIMER_SAMPLES] = "samples",
	        [TIMER_TIME] = "time",
	};
	return names[stop];
}

static size_t cold_bytes(const struct device_info *info)
{
	return COLD_CACHES * (info->l2_bytes ? info->l2_bytes : UNKNOWN_CACHE_BYTES);
}

int timer_cold_copies(const struct device_info *info, size_t bytes, int max)
{
	size_t copies = cold_bytes(info) / (bytes ? bytes : 1) + 1;
	if (copies < 2)
		copies = 2;
	return copies < (size_t)max ? (int)copies : max;
}

static double now(const struct timer *timer)
{
	return timer->source.seconds ? timer->source.seconds(timer->source.user) : seconds_now();
}

enum status timer_open(struct timer *timer, struct device *device,
                       const struct timer_options *options)
{
	enum status status;
	*timer = (struct timer){.device = device,
	                        .options = *options,
	                        .mhz = NAN,
	                        .best_mhz = NAN,
	                        .health = {.sm_mhz = NAN, .watt = NAN, .celsius = NAN}};
	TRY(event_open(device, &timer->from));
	TRY(event_open(device, &timer->to));
done:
	if (status != STATUS_OK)
		timer_close(timer);
	return status;
}

void timer_close(struct timer *timer)
{
	event_close(&timer->from);
	event_close(&timer->to);
	if (timer->device)
		device_free(timer->device, timer->flush);
	*timer = (struct timer){0};
}

/* Overwrites three times the last-level cache. */
static enum status flush_caches(struct timer *timer)
{
	enum status status = STATUS_OK;
	if (!timer->flush) {
		size_t bytes = cold_bytes(device_info(timer->device));
		TRY(device_alloc(timer->device, bytes, &timer->flush));
		timer->flush_bytes = bytes;
	}
	TRY(device_fill(timer->device, timer->flush, 0x5a, timer->flush_bytes));
done:
	return status;
}

static enum status call(const struct prepared *p, int iteration, bool between, bool run)
{
	enum status status = STATUS_OK;
	const struct workload *w = &p->workload;
	iteration %= w->copies;
	if (between && w->between)
		TRY(w->between(w->user, iteration));
	if (run)
		TRY(w->run(w->user, iteration));
done:
	return status;
}

static enum status capture(struct prepared *p, int first, bool run, struct graph **graph)
{
	enum status status, ended;
	TRY(device_capture_begin(p->timer->device));
	for (int i = 0; i < p->launches && status == STATUS_OK; i++)
		status = call(p, first + i, true, run);
	ended = device_capture_end(p->timer->device, graph);
	if (status == STATUS_OK)
		status = ended;
done:
	return status;
}

static enum status begin_sample(struct timer *timer)
{
	enum status status = STATUS_OK;
	if (timer->marks.begin)
		TRY(timer->marks.begin(timer->marks.user));
	TRY(event_record(timer->from));
done:
	return status;
}

static enum status end_sample(struct timer *timer, double *us)
{
	enum status status = STATUS_OK;
	TRY(event_record(timer->to));
	if (timer->marks.end)
		TRY(timer->marks.end(timer->marks.user));
	TRY(event_elapsed_us(timer->from, timer->to, us));
	if (timer->marks.mhz)
		TRY(timer->marks.mhz(timer->marks.user, &timer->mhz));
done:
	return status;
}

static enum status time_graph(struct timer *timer, struct graph *graph, double *us)
{
	enum status status;
	TRY(begin_sample(timer));
	TRY(graph_launch(graph));
	TRY(end_sample(timer, us));
done:
	return status;
}

/* One launch of copy `next`, between() before it outside the measured time. */
static enum status time_launch(struct prepared *p, double *us)
{
	enum status status;
	struct timer *timer = p->timer;
	TRY(call(p, p->next, true, false));
	TRY(begin_sample(timer));
	TRY(call(p, p->next, false, true));
	TRY(end_sample(timer, us));
	p->next = (p->next + 1) % p->workload.copies;
done:
	return status;
}

/* All launches of the next graph, less what between() takes alone. */
static enum status time_launches(struct prepared *p, double *us)
{
	enum status status;
	double between_us = 0;
	if (p->between[p->next])
		TRY(time_graph(p->timer, p->between[p->next], &between_us));
	TRY(time_graph(p->timer, p->graph[p->next], us)); /* last, so that the clock is its own */
	/* Noise can make the rest negative; a ratio needs it positive. */
	*us = fmax(*us - between_us, LEAST_US) / p->launches;
	p->next = (p->next + 1) % p->n_graphs;
done:
	return status;
}

enum status prepared_sample(struct prepared *p, double *us)
{
	enum status status = STATUS_OK;
	struct timer *timer = p->timer;
	if (timer->source.sample) {
		TRY(timer->source.sample(timer->source.user, p->workload.user, us));
	} else {
		if (p->flush)
			TRY(flush_caches(timer));
		TRY(p->n_graphs ? time_launches(p, us) : time_launch(p, us));
	}
	timer->best_mhz = fmax(timer->best_mhz, timer->mhz);
done:
	return status;
}

/* Whether rotating through all copies leaves caches warm, so that they are flushed before every
 * sample. */
static bool fits_caches(const struct prepared *p, size_t bytes)
{
	return p->workload.cold && bytes < cold_bytes(device_info(p->timer->device));
}

/* So many launches that a sample stays below its time and uses no flushed copy twice, and so many
 * graphs that all copies have their turn. */
static enum status capture_graphs(struct prepared *p)
{
	enum status status = STATUS_OK;
	double first_us, us, most_us = 1e6 * p->timer->options.sample_seconds;
	TRY(time_launch(p, &first_us)); /* loads code, touches memory */
	TRY(time_launch(p, &us));
	p->next = 0;
	if (!device_info(p->timer->device)->target.sm)
		most_us = fmin(most_us, 1e6 * HOST_SAMPLE_SECONDS);
	p->launches = p->timer->options.launches;
	if (us * p->launches < p->timer->options.least_us)
		p->launches = (int)fmin(p->timer->options.least_us / us, TIMER_MAX_LAUNCHES);
	if (p->workload.max_launches && p->launches > p->workload.max_launches)
		p->launches = p->workload.max_launches;
	if (us * p->launches > most_us)
		p->launches = (int)(most_us / us);
	if (fits_caches(p, p->workload.footprint_bytes) && p->launches > p->workload.copies)
		p->launches = p->workload.copies;
	if (p->launches < 2) {
		p->launches = 1;
		goto done;
	}
	int graphs = (p->workload.copies + p->launches - 1) / p->launches;
	if (graphs > TIMER_MAX_GRAPHS)
		graphs = TIMER_MAX_GRAPHS;
	for (int g = 0; g < graphs; g++) {
		TRY(capture(p, g * p->launches, true, &p->graph[g]));
		if (p->workload.between)
			TRY(capture(p, g * p->launches, false, &p->between[g]));
	}
	p->n_graphs = graphs;
done:
	return status;
}

/* Until the medians of two successive batches agree within 1 %, or time is up. */
static enum status warm_up(struct prepared *p)
{
	enum status status = STATUS_OK;
	double start = now(p->timer), before = 0, us[SETTLE_SAMPLES];
	while (now(p->timer) - start < p->timer->options.warmup_seconds) {
		for (int i = 0; i < SETTLE_SAMPLES; i++) {
			TRY(prepared_sample(p, &us[i]));
			if (now(p->timer) - start > p->timer->options.warmup_seconds)
				goto done;
		}
		double after = median(us, SETTLE_SAMPLES);
		if (fabs(after - before) < 0.01 * after)
			break;
		before = after;
	}
done:
	return status;
}

enum status prepared_open(struct timer *timer, const struct workload *workload, struct prepared *p)
{
	enum status status = STATUS_OK;
	*p = (struct prepared){.timer = timer, .workload = *workload, .launches = 1};
	if (!timer->source.sample) {
		if (timer->options.launches > 1)
			TRY(capture_graphs(p));
		int used = workload->copies; /* those beyond the last graph are not */
		if (p->n_graphs && p->n_graphs * p->launches < used)
			used = p->n_graphs * p->launches;
		p->flush = fits_caches(p, workload->footprint_bytes / (size_t)workload->copies *
		                                  (size_t)used);
	}
	TRY(warm_up(p));
done:
	if (status != STATUS_OK)
		prepared_close(p);
	return status;
}

void prepared_close(struct prepared *p)
{
	for (int g = 0; g < TIMER_MAX_GRAPHS; g++) {
		graph_close(&p->graph[g]);
		graph_close(&p->between[g]);
	}
	*p = (struct prepared){0};
}

/* Samples that are not to be trusted are dropped, as long as no more than half of all have been
 * measured again: a device that always throttles is measured as it is, and its row says so. */
static bool drop(const struct timer *timer, int n, int *n_kept, struct timing *timing)
{
	if (timing->repeated + n > timer->options.max_samples / 2)
		return false;
	timing->repeated += n;
	*n_kept -= n;
	return true;
}

/* Drops what was measured since the last reading when the device throttles. */
static void check_health(struct timer *timer, int *n, int *n_healthy, struct timing *timing)
{
	double t = now(timer);
	if (timer->source.sample ||
	    t - timer->health_read < fmax(HEALTH_SECONDS, timer->options.health_seconds))
		return;
	timer->health_read = t;
	device_read_health(timer->device, &timer->health);
	if (timer->health.throttle[0])
		drop(timer, *n - *n_healthy, n, timing);
	*n_healthy = *n;
}

static bool slow_clock(const struct timer *timer, double mhz)
{
	return mhz < (1 - CLOCK_DROP) * timer->best_mhz;
}

/* The reading of a measurement, from samples at these clocks. */
static struct device_health conclude_health(const struct timer *timer, const double *mhz, int n)
{
	struct device_health health = timer->health;
	double known[MAX_SAMPLES];
	int n_known = 0;
	for (int i = 0; i < n; i++)
		if (isfinite(mhz[i]))
			known[n_known++] = mhz[i];
	if (!n_known)
		return health;
	health.sm_mhz = median(known, n_known);
	if (!health.throttle[0] && slow_clock(timer, health.sm_mhz))
		snprintf(health.throttle, sizeof health.throttle, "slow_clock");
	return health;
}

static void summarise(const double *us, int n, struct timing *timing)
{
	struct interval i = median_interval(us, n, CONFIDENCE);
	timing->us = i.median;
	timing->us_lo = i.lo;
	timing->us_hi = i.hi;
	timing->samples = n;
}

static bool precise(const struct timing *timing, double half_width)
{
	struct interval i = {timing->us, timing->us_lo, timing->us_hi};
	return interval_half_width(&i) <= half_width;
}

static int most_samples(const struct timer_options *o)
{
	return o->max_samples < MAX_SAMPLES ? o->max_samples : MAX_SAMPLES;
}

enum status timer_measure(struct timer *timer, const struct workload *workload,
                          struct timing *timing)
{
	enum status status;
	const struct timer_options *o = &timer->options;
	double us[MAX_SAMPLES], mhz[MAX_SAMPLES], start;
	int n = 0, n_healthy = 0;
	struct prepared p = {0};
	*timing = (struct timing){.stop = TIMER_SAMPLES};
	TRY(prepared_open(timer, workload, &p));
	timing->launches = p.launches;
	start = now(timer);
	while (n < most_samples(o)) {
		TRY(prepared_sample(&p, &us[n]));
		mhz[n] = timer->mhz;
		n++;
		if (slow_clock(timer, timer->mhz) && drop(timer, 1, &n, timing))
			continue;
		check_health(timer, &n, &n_healthy, timing);
		if (n < 1)
			continue;
		summarise(us, n, timing);
		if (n >= o->min_samples && precise(timing, o->half_width)) {
			timing->stop = TIMER_PRECISION;
			break;
		}
		if (now(timer) - start > o->limit_seconds) {
			timing->stop = TIMER_TIME;
			break;
		}
	}
	timing->health = conclude_health(timer, mhz, n);
done:
	prepared_close(&p);
	return status;
}

/* One round a b b a, or b a a b; geometric means, and the lowest clock. Two of each around one
 * centre cancel a linear drift, the turns what is left of a curved one. */
static enum status measure_round(struct prepared *a, struct prepared *b, bool b_first, double *a_us,
                                 double *b_us, double *mhz)
{
	enum status status = STATUS_OK;
	struct prepared *outer = b_first ? b : a, *inner = b_first ? a : b;
	struct prepared *order[4] = {outer, inner, inner, outer};
	double us[4];
	*mhz = NAN;
	for (int i = 0; i < 4; i++) {
		TRY(prepared_sample(order[i], &us[i]));
		*mhz = fmin(*mhz, a->timer->mhz);
	}
	*(b_first ? b_us : a_us) = sqrt(us[0] * us[3]);
	*(b_first ? a_us : b_us) = sqrt(us[1] * us[2]);
done:
	return status;
}

/* The times at which timer_pair() looks: min_samples, twice that ..., max_samples. */
static int count_looks(const struct timer_options *o)
{
	int looks = 1;
	for (int n = o->min_samples; n < most_samples(o); n *= 2)
		looks++;
	return looks;
}

/* After 1, 2, 4 ... rounds, whether b is to be given up. */
static bool is_early_look(const struct timer_options *o, int n)
{
	return o->seeks_faster && !(n & (n - 1));
}

enum status timer_pair(struct timer *timer, const struct workload *a, const struct workload *b,
                       struct paired_timing *timing)
{
	enum status status;
	const struct timer_options *o = &timer->options;
	double a_us[MAX_SAMPLES], b_us[MAX_SAMPLES], mhz[MAX_SAMPLES], start;
	double confidence = 1 - o->error / count_looks(o);
	int n = 0, n_healthy = 0, look = o->min_samples;
	enum timer_stop stop = TIMER_SAMPLES;
	struct prepared pa = {0}, pb = {0};
	*timing = (struct paired_timing){0};
	TRY(prepared_open(timer, a, &pa));
	TRY(prepared_open(timer, b, &pb));
	start = now(timer);
	while (n < most_samples(o)) {
		TRY(measure_round(&pa, &pb, n % 2, &a_us[n], &b_us[n], &mhz[n]));
		n++;
		if (slow_clock(timer, mhz[n - 1]) && drop(timer, 1, &n, &timing->a))
			continue;
		check_health(timer, &n, &n_healthy, &timing->a);
		bool late = now(timer) - start > 2 * o->limit_seconds;
		/* Running out of time takes the place of the last look. */
		bool due = n >= look || n == most_samples(o) || late;
		if (n < 1 || !(due || is_early_look(o, n)))
			continue;
		timing->comparison = compare_paired(a_us, b_us, n, confidence, o->noise);
		bool lost = is_early_look(o, n) && timing->comparison.ratio.median >= 1;
		if (lost || (due && (timing->comparison.verdict != VERDICT_UNSURE || late))) {
			stop = late ? TIMER_TIME : TIMER_PRECISION;
			break;
		}
		if (due)
			look = 2 * look;
	}
	summarise(a_us, n, &timing->a);
	summarise(b_us, n, &timing->b);
	timing->a.launches = pa.launches;
	timing->b.launches = pb.launches;
	timing->a.health = timing->b.health = conclude_health(timer, mhz, n);
	timing->b.repeated = timing->a.repeated;
	timing->a.stop = timing->b.stop = stop;
done:
	prepared_close(&pa);
	prepared_close(&pb);
	return status;
}
