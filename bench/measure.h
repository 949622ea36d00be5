/* Figures: a task's instances, checked and timed in a cache state, with the ceiling and the peer
 * that they are held to. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "bench/ceiling.h"
#include "bench/timer.h"
#include "tuner/tasks.h"

/* Where a launch finds its weights: in no cache, in all that they fit into, in none and other
 * weights are read between launches, as in a decode step. `chain`: cold, and each launch takes what
 * the last one wrote and may start before that has ended (programmatic dependent launch). */
enum cache_state { STATE_COLD, STATE_HOT, STATE_STREAM, STATE_CHAIN, N_CACHE_STATES };
extern const char *const cache_state_names[N_CACHE_STATES];

/* `suspect`: faster than memory allows, so that something was in a cache; its times are left out.
 */
enum figure_status { FIGURE_OK, FIGURE_WRONG, FIGURE_FAILED, FIGURE_SUSPECT };
extern const char *const figure_status_names[];

/* One row of bench.csv. */
struct figure {
	const struct variant *variant;
	bool tuned; /* a row of results/tuned.h, else the default */
	enum figure_status status;
	char reason[512];
	struct timing timing;
	double bytes, gbps, percent; /* of the ceiling */
	const char *ceiling;         /* "read" or "copy" */
	double ceiling_gbps;
	bool compared; /* measured in turns with the default */
	struct comparison comparison;
	/* Launches in a graph whose weights are not in caches: what reading as many bytes costs.
	 * NaN elsewhere. */
	double read_us, read_percent;
	double empty_us; /* a launch that does nothing, likewise in a graph, dependent, or single */
	/* The fastest way of all peers, measured in turns with the first figure, in a graph, cold
	 * and hot; NULL: none. */
	const char *peer;
	char peer_version[40]; /* "13.0.2 way 3" */
	double peer_us;
	struct comparison peer_comparison; /* of ours with the peer */
};

/* What is measured together: at most the tuned instance and the default. */
struct measurement {
	const struct task *task;
	enum cache_state state;
	bool graph; /* in a captured graph, else by single launches */
	int n;
	struct figure figure[2];
};

struct meter;

struct meter_options {
	bool peers;           /* beside gemv on a GPU: cuBLAS and cuBLASLt */
	double limit_seconds; /* for one measurement; 0: what suits the device */
};

/* The ceilings are those of this run; a row that beats them has them measured again, and the better
 * count from then on. */
MUST_CHECK enum status meter_open(struct device *device, const struct ceilings *ceilings,
                                  const struct meter_options *options, struct meter **meter);
void meter_close(struct meter **meter);
const struct ceilings *meter_ceilings(const struct meter *meter);
/* "cublas 13.0.2; cublaslt 13.1.0", or why there is none; "" when not asked for. */
const char *meter_peers(const struct meter *meter);
/* Whether a task can be measured in a state: not every kernel's launches can form a chain. */
bool meter_allows(const struct device *device, const struct task *task, enum cache_state state);

/* Fills in the figures of m->task, m->state, m->graph. What goes wrong with an instance is in its
 * figure; a failure of the function is one to set the task up or to measure what it is held to. */
MUST_CHECK enum status meter_measure(struct meter *meter, struct measurement *m);

/* The latest task's default against itself, from cold caches, twice unless they are the same at
 * once: faster or slower both times in 1 of 400 runs at most, unless the machine is too noisy to
 * trust. */
MUST_CHECK enum status meter_self_test(struct meter *meter, struct comparison *comparison);

#endif
