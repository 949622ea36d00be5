/* The process that owns the device. The tuner never touches a device itself: it asks a worker, a
 * second process of the same program, through a pair of pipes, one line per request and answer.
 * What a candidate does to its worker, crash or hang, costs that candidate and a restart. */
#ifndef TUNER_WORKER_H
#define TUNER_WORKER_H

#include <stdio.h>
#include <sys/types.h>

#include "tuner/tasks.h"

/* Requests, fields separated by tabs:
 *	task KERNEL CASE SHAPE          sets up buffers and reference
 *	prepare CONFIG ...              compiles candidates ahead of their measurement
 *	screen LIMIT_US CONFIG          first launch, check against the reference, a few samples;
 *one launch alone is the sample when it takes longer than LIMIT_US (0: no limit) round SWEEPS
 *CONFIG ...         SWEEPS samples of each, interleaved; one answer per CONFIG ceiling read
 *bandwidth Answers: info HEX                        on start: struct device_info at INDEX which
 *candidate is compiled and about to run; followed by more ok US SAMPLES                   of screen
 *and round; of ceiling: ok GBPS 0; of task and prepare: ok 0 0 STATUS REASON anything else */
#define WORKER_LINE 32768

struct worker {
	const char *device; /* as --device */
	pid_t pid;          /* 0 when there is none */
	int to, from;       /* pipes */
	char buffer[WORKER_LINE];
	size_t used;
	struct device_info info;
	const struct task *task; /* that it is set up for */
};

/* How a request ended. */
struct answer {
	/* "ok", "crash", "hang" or what the worker said; "killed" when someone else ended it, which
	 * is no fault of the candidate */
	char status[16];
	char reason[256]; /* unless ok */
	double value;     /* us or GB/s */
	int samples;
	int at; /* last "at"; -1 when there was none */
};

/* Starts a worker process and takes its device's properties. */
MUST_CHECK enum status worker_start(struct worker *worker, const char *device);
void worker_stop(struct worker *worker);

/* Sends one line; the answer that follows comes from worker_answer(). A worker that died meanwhile
 * shows there. */
void worker_ask(struct worker *worker, const char *request);
/* Waits at most `first_seconds`, and from each "at" on at most `seconds`. After "crash",
 * "killed" and "hang" there is no worker process any more. */
void worker_answer(struct worker *worker, double first_seconds, double seconds,
                   struct answer *answer);
bool worker_alive(const struct worker *worker);

/* The worker's side: `program --worker DEVICE`. Returns the exit code. */
int worker_main(const char *device);
/* Its first line, on `out`. */
void worker_print_info(FILE *out, const struct device_info *info);

#endif
