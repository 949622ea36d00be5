/* The timer against a machine whose drift, jitter and true times are known. */
#include "bench/timer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { TRIALS = 400 };

/* A simulated machine: one clock that samples advance. */
struct machine {
	uint64_t random;
	double seconds, drift_per_second, jitter, spikes;
	int samples, fail_at;
	/* The clock of all samples but each `slow_every`-th, which takes as much longer as its
	   clock is lower; all: 1. 0: no clock is known. */
	struct timer *timer;
	double mhz, slow_mhz;
	int slow_every;
};

static struct device *device;

static int open_device(void **state)
{
	(void)state;
	return device_open("auto", true, &device);
}

static int close_device(void **state)
{
	(void)state;
	device_close(&device);
	return 0;
}

/* SplitMix64 */
static double uniform(struct machine *m)
{
	uint64_t z = m->random += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static double normal(struct machine *m)
{
	return sqrt(-2 * log(uniform(m))) * cos(2 * acos(-1) * uniform(m));
}

/* The workload is its true time in microseconds. */
static enum status machine_sample(void *source_user, void *workload_user, double *us)
{
	struct machine *m = source_user;
	if (m->fail_at && ++m->samples >= m->fail_at)
		return (fail)(STATUS_FAILED, "planted failure"); /* cmocka has a macro fail() */
	*us = *(const double *)workload_user * (1 + m->drift_per_second * m->seconds) *
	      exp(m->jitter * normal(m)) * (uniform(m) < m->spikes ? 4 : 1);
	if (m->mhz > 0) {
		bool slow = ++m->samples > 1 && m->samples % m->slow_every == 0;
		m->timer->mhz = slow ? m->slow_mhz : m->mhz;
		*us *= m->mhz / m->timer->mhz;
	}
	m->seconds += 1e-6 * *us;
	return STATUS_OK;
}

static double machine_seconds(void *source_user)
{
	return ((struct machine *)source_user)->seconds;
}

static void open_simulated(struct timer *timer, struct machine *m)
{
	assert_int_equal(timer_open(timer, device, &timer_defaults), STATUS_OK);
	timer->source = (struct timer_source){machine_sample, machine_seconds, m};
}

static struct timing measure(struct machine m, double us)
{
	struct timer timer;
	struct timing timing;
	const struct workload workload = {.user = &us, .copies = 1};
	open_simulated(&timer, &m);
	m.timer = &timer;
	assert_int_equal(timer_measure(&timer, &workload, &timing), STATUS_OK);
	timer_close(&timer);
	timer_close(&timer);
	return timing;
}

static void stops_for_the_reason_it_names(void **state)
{
	(void)state;
	struct timing quiet = measure((struct machine){.random = 1, .jitter = 0.001}, 100);
	assert_int_equal(quiet.stop, TIMER_PRECISION);
	assert_int_equal(quiet.samples, timer_defaults.min_samples);
	assert_true(fabs(quiet.us - 100) < 0.5 && quiet.us_lo <= quiet.us &&
	            quiet.us <= quiet.us_hi);

	struct timing some = measure((struct machine){.random = 1, .jitter = 0.02}, 100);
	assert_int_equal(some.stop, TIMER_PRECISION);
	assert_in_range(some.samples, 30, 200);
	assert_true(some.us_hi - some.us_lo <= 2 * timer_defaults.half_width * some.us);

	struct timing noisy = measure((struct machine){.random = 1, .jitter = 0.5}, 100);
	assert_int_equal(noisy.stop, TIMER_SAMPLES);
	assert_int_equal(noisy.samples, timer_defaults.max_samples);

	struct timing slow = measure((struct machine){.random = 1, .jitter = 0.5}, 1e6);
	assert_int_equal(slow.stop, TIMER_TIME);
	assert_in_range(slow.samples, 2, 8);
	assert_string_equal(timer_stop_name(slow.stop), "time");
}

/* A third of the samples at a lower clock: none of them is left. */
static void slow_samples_are_measured_again(void **state)
{
	(void)state;
	struct timing t = measure((struct machine){.random = 5,
	                                           .jitter = 0.001,
	                                           .mhz = 1980,
	                                           .slow_mhz = 1500,
	                                           .slow_every = 3},
	                          100);
	assert_in_range(t.repeated, 5, 10);
	assert_int_equal(t.samples, timer_defaults.min_samples);
	assert_true(t.us_hi < 101);
	assert_float_equal(t.health.sm_mhz, 1980, 0);
	assert_string_equal(t.health.throttle, "");
}

/* Slow but for the first sample: measured as it is, in the end, and the row says so. */
static void a_slow_device_is_measured_as_it_is(void **state)
{
	(void)state;
	struct timing t = measure((struct machine){.random = 5,
	                                           .jitter = 0.001,
	                                           .mhz = 1980,
	                                           .slow_mhz = 1500,
	                                           .slow_every = 1},
	                          100);
	assert_int_equal(t.repeated, timer_defaults.max_samples / 2);
	assert_true(fabs(t.us - 132) < 1);
	assert_float_equal(t.health.sm_mhz, 1500, 0);
	assert_string_equal(t.health.throttle, "slow_clock");
	/* 1 % below the best is nothing, and where no clock is known nothing is dropped */
	t = measure((struct machine){.random = 5,
	                             .jitter = 0.001,
	                             .mhz = 1980,
	                             .slow_mhz = 1965,
	                             .slow_every = 2},
	            100);
	assert_int_equal(t.repeated, 0);
	t = measure((struct machine){.random = 5, .jitter = 0.001}, 100);
	assert_int_equal(t.repeated, 0);
}

static void slow_rounds_are_measured_again(void **state)
{
	(void)state;
	struct timer timer;
	struct paired_timing t;
	double a_us = 100, b_us = 110;
	const struct workload a = {.user = &a_us, .copies = 1}, b = {.user = &b_us, .copies = 1};
	struct machine m = {
	        .random = 5, .jitter = 0.001, .mhz = 1980, .slow_mhz = 1000, .slow_every = 9};
	open_simulated(&timer, &m);
	m.timer = &timer;
	assert_int_equal(timer_pair(&timer, &a, &b, &t), STATUS_OK);
	assert_int_equal(t.comparison.verdict, VERDICT_SLOWER);
	assert_true(t.a.repeated > 0);
	assert_true(t.a.us_hi < 101 && t.b.us_hi < 111.5 && t.comparison.ratio.hi < 1.11);
	assert_float_equal(t.b.health.sm_mhz, 1980, 0);
	timer_close(&timer);
}

static void spikes_do_not_move_the_median(void **state)
{
	(void)state;
	struct timing t = measure((struct machine){.random = 3, .jitter = 0.01, .spikes = 0.2}, 50);
	assert_true(fabs(t.us - 50) < 0.01 * 50);
}

/* Returns the rounds of all trials. */
static int count_verdicts(double ratio, double noise, bool seeks_faster, int counts[4])
{
	int rounds = 0;
	for (int v = 0; v < 4; v++)
		counts[v] = 0;
	for (int trial = 0; trial < TRIALS; trial++) {
		struct machine m = {.random = (uint64_t)trial << 32,
		                    .jitter = 0.03,
		                    .drift_per_second = 3,
		                    .spikes = 0.05};
		struct timer timer;
		struct paired_timing timing;
		double a_us = 100, b_us = 100 * ratio;
		const struct workload a = {.user = &a_us, .copies = 1},
		                      b = {.user = &b_us, .copies = 1};
		open_simulated(&timer, &m);
		timer.options.noise = noise;
		timer.options.warmup_seconds = 0;
		timer.options.seeks_faster = seeks_faster;
		assert_int_equal(timer_pair(&timer, &a, &b, &timing), STATUS_OK);
		assert_int_equal(timing.comparison.rounds, timing.a.samples);
		counts[timing.comparison.verdict]++;
		rounds += timing.comparison.rounds;
		timer_close(&timer);
	}
	return rounds;
}

/* The clock slows by a third over the longest run; early stopping looks up to six times. Without a
 * noise floor. */
static void equal_workloads_are_rarely_told_apart(void **state)
{
	(void)state;
	int counts[4];
	count_verdicts(1, 0, false, counts);
	assert_true(counts[VERDICT_FASTER] + counts[VERDICT_SLOWER] <
	            TRIALS * 0.05 + 3 * sqrt(TRIALS * 0.05 * 0.95));
}

static void equal_workloads_are_called_same(void **state)
{
	(void)state;
	int counts[4];
	count_verdicts(1, 0.02, false, counts);
	assert_true(counts[VERDICT_SAME] > TRIALS * 90 / 100);
}

static void a_difference_of_three_percent_is_found(void **state)
{
	(void)state;
	int counts[4];
	count_verdicts(1.03, 0.01, false, counts);
	assert_true(counts[VERDICT_SLOWER] > TRIALS * 95 / 100);
	count_verdicts(1 / 1.03, 0.01, false, counts);
	assert_true(counts[VERDICT_FASTER] > TRIALS * 95 / 100);
}

/* Who seeks what is faster pays little for what is not, and is told of no more that is not. */
static void what_is_not_ahead_is_given_up(void **state)
{
	(void)state;
	int counts[4];
	assert_true(count_verdicts(1.2, 0.01, true, counts) < 3 * TRIALS / 2);
	assert_int_equal(counts[VERDICT_FASTER], 0);
	assert_true(count_verdicts(1, 0, true, counts) < count_verdicts(1, 0, false, counts) / 4);
	count_verdicts(1, 0, true, counts);
	assert_true(counts[VERDICT_FASTER] < TRIALS * 0.05 + 3 * sqrt(TRIALS * 0.05 * 0.95));
	count_verdicts(1 / 1.1, 0.01, true, counts); /* a spike in the first round is the end */
	assert_true(counts[VERDICT_FASTER] > TRIALS * 80 / 100);
}

/* The chance of error is what the options say. */
static void fewer_errors_take_more_rounds(void **state)
{
	(void)state;
	struct timer timer;
	struct paired_timing timing;
	int rounds[2];
	double a_us = 100, b_us = 103;
	const struct workload a = {.user = &a_us, .copies = 1}, b = {.user = &b_us, .copies = 1};
	for (int strict = 0; strict < 2; strict++) {
		struct machine m = {.random = 7, .jitter = 0.001};
		open_simulated(&timer, &m);
		timer.options.min_samples = 2;
		timer.options.error = strict ? 1e-6 : 0.05;
		assert_int_equal(timer_pair(&timer, &a, &b, &timing), STATUS_OK);
		assert_int_equal(timing.comparison.verdict, VERDICT_SLOWER);
		rounds[strict] = timing.comparison.rounds;
		timer_close(&timer);
	}
	assert_true(rounds[0] == 8 || rounds[0] == 16);
	assert_true(rounds[1] == 32);
}

static void failures_come_through(void **state)
{
	(void)state;
	struct timer timer;
	struct paired_timing pair;
	double us = 1;
	const struct workload workload = {.user = &us, .copies = 1};
	struct machine m = {.random = 1, .jitter = 0.1, .fail_at = 12};
	open_simulated(&timer, &m);
	assert_int_equal(timer_measure(&timer, &workload, &pair.a), STATUS_FAILED);
	m.samples = 0;
	assert_int_equal(timer_pair(&timer, &workload, &workload, &pair), STATUS_FAILED);
	assert_string_equal(fail_message(), "planted failure");
	timer_close(&timer);
}

static void cold_copies_exceed_the_cache(void **state)
{
	(void)state;
	const struct device_info info = {.l2_bytes = 50 << 20};
	assert_int_equal(timer_cold_copies(&info, 1 << 20, 1000), 151);
	assert_int_equal(timer_cold_copies(&info, 1 << 20, 64), 64);
	assert_int_equal(timer_cold_copies(&info, (size_t)1 << 30, 64), 2);
	assert_int_equal(timer_cold_copies(&info, 0, 64), 64);
}

/* Calls of a workload's functions on the device, while its graphs are captured and when launched
 * singly. */
struct calls {
	int run, between, largest;
};

static enum status count_run(void *user, int iteration)
{
	struct calls *c = user;
	c->run++;
	if (iteration > c->largest)
		c->largest = iteration;
	return STATUS_OK;
}

static enum status count_between(void *user, int iteration)
{
	(void)iteration;
	((struct calls *)user)->between++;
	return STATUS_OK;
}

/* Graphs take all copies in turn; between() is captured with each launch and once more alone. */
static void graphs_use_every_copy(void **state)
{
	(void)state;
	struct timer timer;
	struct prepared p;
	struct calls calls = {0};
	const struct workload w = {count_run, count_between, &calls, 50, 0, false};
	assert_int_equal(timer_open(&timer, device, &timer_defaults), STATUS_OK);
	assert_int_equal(prepared_open(&timer, &w, &p), STATUS_OK);
	assert_int_equal(p.launches, timer_defaults.launches);
	assert_int_equal(p.n_graphs, 3);
	assert_int_equal(calls.largest, 49);
	assert_int_equal(calls.run, 2 + 3 * timer_defaults.launches); /* two to estimate the time */
	assert_int_equal(calls.between, 2 + 2 * 3 * timer_defaults.launches);
	double us;
	int next = (p.next + 1) % 3;
	assert_int_equal(prepared_sample(&p, &us), STATUS_OK);
	assert_int_equal(p.next, next);
	assert_true(us > 0);
	assert_int_equal(calls.run, 2 + 3 * timer_defaults.launches);
	prepared_close(&p);
	prepared_close(&p);
	timer_close(&timer);
}

/* Until a sample takes long enough, but never more than a workload can chain. */
static void short_launches_have_long_graphs(void **state)
{
	(void)state;
	struct timer timer;
	struct prepared p;
	struct calls calls = {0};
	struct timer_options options = timer_defaults;
	struct workload w = {.run = count_run, .user = &calls, .copies = 2};
	options.least_us = 1e9;
	assert_int_equal(timer_open(&timer, device, &options), STATUS_OK);
	assert_int_equal(prepared_open(&timer, &w, &p), STATUS_OK);
	assert_int_equal(p.launches, TIMER_MAX_LAUNCHES);
	prepared_close(&p);
	w.max_launches = 64;
	assert_int_equal(prepared_open(&timer, &w, &p), STATUS_OK);
	assert_int_equal(p.launches, 64);
	prepared_close(&p);
	timer_close(&timer);
}

/* Marks surround each sample in order, and what they say is its clock. */
struct marked {
	int begun, ended, run_between;
	struct calls calls;
};

static enum status mark_begin(void *user)
{
	struct marked *m = user;
	assert_int_equal(m->begun, m->ended);
	m->begun++;
	m->run_between = m->calls.run;
	return STATUS_OK;
}

static enum status mark_end(void *user)
{
	struct marked *m = user;
	m->ended++;
	assert_int_equal(m->begun, m->ended);
	m->run_between = m->calls.run - m->run_between;
	return STATUS_OK;
}

static enum status mark_mhz(void *user, double *mhz)
{
	*mhz = 1000 + ((struct marked *)user)->run_between;
	return STATUS_OK;
}

static void marks_surround_a_sample(void **state)
{
	(void)state;
	struct timer timer;
	struct timing timing;
	struct marked marked = {0};
	struct timer_options options = timer_defaults;
	const struct workload w = {.run = count_run, .user = &marked.calls, .copies = 1};
	options.launches = 1;
	assert_int_equal(timer_open(&timer, device, &options), STATUS_OK);
	timer.marks = (struct timer_marks){mark_begin, mark_end, mark_mhz, &marked};
	assert_int_equal(timer_measure(&timer, &w, &timing), STATUS_OK);
	assert_true(marked.begun >= timing.samples);
	assert_float_equal(timing.health.sm_mhz, 1001, 0);
	timer_close(&timer);
}

/* Few small copies: caches are flushed before each sample, and no copy comes twice in it. */
static void small_cold_copies_are_flushed(void **state)
{
	(void)state;
	struct timer timer;
	struct prepared p;
	struct calls calls = {0};
	struct workload w = {count_run, NULL, &calls, 8, 8 * 4096, true};
	assert_int_equal(timer_open(&timer, device, &timer_defaults), STATUS_OK);
	assert_int_equal(prepared_open(&timer, &w, &p), STATUS_OK);
	assert_true(p.flush);
	assert_int_equal(p.launches, 8);
	assert_true(timer.flush_bytes >= 3 * device_info(device)->l2_bytes);
	prepared_close(&p);
	w.footprint_bytes = (size_t)1 << 40; /* far beyond any cache: rotation is enough */
	assert_int_equal(prepared_open(&timer, &w, &p), STATUS_OK);
	assert_false(p.flush);
	assert_int_equal(p.launches, timer_defaults.launches);
	prepared_close(&p);
	timer_close(&timer);
}

static void single_launches_have_no_graph(void **state)
{
	(void)state;
	struct timer timer;
	struct timing timing;
	struct calls calls = {0};
	struct timer_options options = timer_defaults;
	options.launches = 1;
	options.max_samples = 20;
	const struct workload w = {count_run, count_between, &calls, 3, 0, false};
	assert_int_equal(timer_open(&timer, device, &options), STATUS_OK);
	assert_int_equal(timer_measure(&timer, &w, &timing), STATUS_OK);
	assert_int_equal(timing.launches, 1);
	assert_int_equal(calls.largest, 2);
	assert_true(calls.run >= timing.samples && calls.between == calls.run);
	timer_close(&timer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(stops_for_the_reason_it_names),
	        cmocka_unit_test(slow_samples_are_measured_again),
	        cmocka_unit_test(a_slow_device_is_measured_as_it_is),
	        cmocka_unit_test(slow_rounds_are_measured_again),
	        cmocka_unit_test(spikes_do_not_move_the_median),
	        cmocka_unit_test(equal_workloads_are_rarely_told_apart),
	        cmocka_unit_test(equal_workloads_are_called_same),
	        cmocka_unit_test(a_difference_of_three_percent_is_found),
	        cmocka_unit_test(what_is_not_ahead_is_given_up),
	        cmocka_unit_test(fewer_errors_take_more_rounds),
	        cmocka_unit_test(failures_come_through),
	        cmocka_unit_test(cold_copies_exceed_the_cache),
	        cmocka_unit_test(graphs_use_every_copy),
	        cmocka_unit_test(short_launches_have_long_graphs),
	        cmocka_unit_test(marks_surround_a_sample),
	        cmocka_unit_test(small_cold_copies_are_flushed),
	        cmocka_unit_test(single_launches_have_no_graph),
	};
	return cmocka_run_group_tests(tests, open_device, close_device);
}
