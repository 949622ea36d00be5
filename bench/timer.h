/* How long launches take on a device, and which of two is faster. Bench, tuner and runner measure
 * with nothing else. */
#ifndef BENCH_TIMER_H
#define BENCH_TIMER_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/statistics.h"
#include "device/device.h"

struct timer_options {
	int min_samples, max_samples;
	double half_width;     /* stop when the median's 95 % interval is relatively this narrow */
	double limit_seconds;  /* stop after this time, warm-up not counted */
	double warmup_seconds; /* longest warm-up; it ends earlier when times have settled */
	double sample_seconds; /* a sample that would take longer has fewer launches; 2 ms on the
	                          host */
	int launches;    /* in a sample, as one captured graph; 1: single launches, no graph */
	double least_us; /* more launches in a graph, up to TIMER_MAX_LAUNCHES, until a sample
	                    takes this long */
	double health_seconds; /* the device is asked whether it throttles no more often than this,
	                          nor than every 10 ms */
	/* Of timer_pair(): */
	double noise;      /* relative difference that does not matter */
	double error;      /* chance of calling equal workloads faster or slower, over all looks */
	bool seeks_faster; /* b is given up as soon as it is not ahead after 1, 2, 4 ... rounds;
	                      makes the chance of calling it faster smaller, never greater */
};

/* 15 to 301 samples, 0.5 %, 20 launches to a graph, noise 1 %, error 5 %. */
extern const struct timer_options timer_defaults;

/* What is timed. run() queues one launch; `iteration` in 0 .. copies - 1 says which copy of the
 * buffers it uses. between() (may be NULL) queues what other kernels do before each launch; its
 * time is taken off. */
struct workload {
	enum status (*run)(void *user, int iteration);
	enum status (*between)(void *user, int iteration);
	void *user;
	int copies;             /* at least 1 */
	size_t footprint_bytes; /* of all copies together */
	bool cold; /* nothing of a copy may be left in the last-level cache when it is used */
	int max_launches; /* in a graph; 0: as many as the options say */
};

enum timer_stop { TIMER_PRECISION, TIMER_SAMPLES, TIMER_TIME };
const char *timer_stop_name(enum timer_stop stop);

struct timing {
	double us, us_lo, us_hi; /* of one launch: median and its 95 % interval */
	int samples, launches;   /* launches in a sample */
	int repeated;            /* samples measured again because the device throttled */
	enum timer_stop stop;
	/* the last reading; its clock is the true one, the median over the samples, where marks
	 * tell it */
	struct device_health health;
};

struct paired_timing {
	struct timing a, b;
	struct comparison comparison; /* of b with a */
};

/* Takes the place of device and clock, for tests: planted noise, known times. */
struct timer_source {
	enum status (*sample)(void *source_user, void *workload_user, double *us);
	double (*seconds)(void *source_user);
	void *user;
};

/* What surrounds the work of a sample on the device, outside the measured time: begin() holds the
 * device up until the sample is queued behind it; mhz(), after the sample, says at what clock the
 * device ran in between, NaN when that is unknown. */
struct timer_marks {
	enum status (*begin)(void *user);
	enum status (*end)(void *user);
	enum status (*mhz)(void *user, double *mhz);
	void *user;
};

struct timer {
	struct device *device;
	struct timer_options options;
	struct timer_source source; /* all zero: the device */
	struct timer_marks marks;   /* all zero: none */
	double mhz, best_mhz;       /* of the last sample; the highest of any; NaN: unknown */
	struct event *from, *to;
	void *flush; /* flush_bytes on the device, allocated when first needed */
	size_t flush_bytes;
	struct device_health health; /* the last reading */
	double health_read;          /* when, in seconds */
};

MUST_CHECK enum status timer_open(struct timer *timer, struct device *device,
                                  const struct timer_options *options);
void timer_close(struct timer *timer);

/* Copies of a buffer set of `bytes` that a cold measurement rotates through: together three times
 * the last-level cache, at least 2, at most `max`. */
int timer_cold_copies(const struct device_info *info, size_t bytes, int max);

MUST_CHECK enum status timer_measure(struct timer *timer, const struct workload *workload,
                                     struct timing *timing);

/* Rounds a b b a and b a a b by turns, for twice the time, until the verdict is other than unsure.
 * It is looked at after min_samples rounds and whenever their number has doubled, each time at a
 * confidence that keeps the chance of error over all looks at what the options say. */
MUST_CHECK enum status timer_pair(struct timer *timer, const struct workload *a,
                                  const struct workload *b, struct paired_timing *timing);

/* A workload that has been captured and warmed up, for callers that interleave more than two. */
#define TIMER_MAX_GRAPHS   512
#define TIMER_MAX_LAUNCHES 512
struct prepared {
	struct timer *timer;
	struct workload workload;
	int launches, n_graphs, next;
	bool flush;
	struct graph *graph[TIMER_MAX_GRAPHS];
	struct graph *between[TIMER_MAX_GRAPHS]; /* the launches of between() alone */
};
MUST_CHECK enum status prepared_open(struct timer *timer, const struct workload *workload,
                                     struct prepared *prepared);
/* One sample: microseconds of one launch. */
MUST_CHECK enum status prepared_sample(struct prepared *prepared, double *us);
void prepared_close(struct prepared *prepared);

#endif
