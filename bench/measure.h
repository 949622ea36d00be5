/* Figures: a task's instances, checked and timed in a cache state, with the ceiling and the peer
 * that they are held to. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "bench/ceiling.h"
#include "bench/timer.h"
#include "tuner/tasks.h"

/* Where a launch finds its buffers: in no cache, in all that they fit into, or as in a decode step:
 * what it reads is in no cache and other weights are read between launches. */
enum cache_state { STATE_COLD, STATE_HOT, STATE_STREAM, N_CACHE_STATES };
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
	const char *peer; /* "cublas"; NULL: none */
	double peer_us;
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

/* The ceilings are those of this run. `peers`: beside gemv on a GPU, cuBLAS. */
MUST_CHECK enum status meter_open(struct device *device, const struct ceilings *ceilings,
                                  bool peers, struct meter **meter);
void meter_close(struct meter **meter);
/* "cuBLAS 13.0.2", or why there is none; "" when not asked for. */
const char *meter_peers(const struct meter *meter);

/* Fills in the figures of m->task, m->state, m->graph. What goes wrong with an instance is in its
 * figure; a failure of the function is one to set the task up. */
MUST_CHECK enum status meter_measure(struct meter *meter, struct measurement *m);

/* The latest task's default against itself, from cold caches: faster or slower in 5 % of all runs
 * at most, unless the machine is too noisy to trust. */
MUST_CHECK enum status meter_self_test(struct meter *meter, struct comparison *comparison);

#endif
