/* The process that owns the device. The tuner never touches a device itself: it asks a worker, a
 * second process of the same program, through a pair of pipes, one line per request and answer.
 * What a candidate does to its worker, crash or hang, costs that candidate and a restart. */
#ifndef TUNER_WORKER_H
#define TUNER_WORKER_H

#include <stdio.h>
#include <sys/types.h>

#include "tuner/lines.h"
#include "tuner/tasks.h"

/* clang-format off */
/* Requests, fields separated by tabs:
 *	task KERNEL CASE SHAPE      sets up buffers and reference
 *	prepare CONFIG ...          compiles candidates ahead of their measurement
 *	ahead KERNEL CASE CONFIG ...  the same for a task that comes later
 *	drop                        takes back what is not being compiled yet
 *	screen LIMIT_US CONFIG      first launch, check against the reference, a few samples; one
 *	                            launch is the sample when it takes longer than LIMIT_US (0: no limit)
 *	round SWEEPS CONFIG ...     SWEEPS samples of each, interleaved; one answer per CONFIG
 *	ceiling                     read bandwidth
 * Answers:
 *	info HEX                    on start: struct device_info
 *	at INDEX                    which candidate is compiled and about to run; more follows
 *	ok US SAMPLES               of screen and round; of ceiling: ok GBPS 0; of others: ok 0 0
 *	STATUS REASON               anything else */
/* clang-format on */
#define WORKER_LINE MAX_LINE
#define MAX_RACERS  32 /* of one round */

struct worker {
	const char *device; /* as --device */
	int rank;           /* whose device; 0 is this process's own */
	bool alive;         /* there is a worker process */
	bool lost;          /* its rank is gone, and this worker for good */
	double until;       /* seconds_now() when no answer is waited for any more; 0: never */
	pid_t pid;          /* of an own process */
	int to;             /* pipe */
	struct lines from;
	bool ended; /* a relay has said so, with: */
	int wait_status;
	struct device_info info;
	const struct task *task; /* that it is set up for */
};

/* How a request ended. */
struct answer {
	/* "ok", "crash", "hang" or what the worker said; "killed" when someone else ended it or its
	 * rank is lost, which is no fault of the candidate */
	char status[16];
	char reason[256]; /* unless ok */
	double value;     /* us or GB/s */
	int samples;
	int at; /* last "at"; -1 when there was none */
};

/* Starts a worker process and takes its device's properties. `rank` and `lock` are to be set. */
MUST_CHECK enum status worker_start(struct worker *worker, const char *device);
/* The two steps of it. */
MUST_CHECK enum status worker_launch(struct worker *worker, const char *device);
MUST_CHECK enum status worker_greet(struct worker *worker);
void worker_stop(struct worker *worker);
/* Waits for the end of the process, which is killed if it takes longer. Returns its wait status. */
int worker_end(struct worker *worker, double seconds);

/* Sends one line; the answer that follows comes from worker_answer(). A worker that died meanwhile
 * shows there. */
void worker_ask(struct worker *worker, const char *request);
/* Waits at most `first_seconds`, and from each "at" on at most `seconds`. After "crash",
 * "killed" and "hang" there is no worker process any more. */
void worker_answer(struct worker *worker, double first_seconds, double seconds,
                   struct answer *answer);
bool worker_alive(const struct worker *worker);
/* Whether that time has come. A "hang" is then no fault of a candidate. */
bool worker_late(const struct worker *worker);
/* As lines_next(); there are no more lines when the process has ended. */
char *worker_line(struct worker *worker, double until, bool *late);

/* The worker's side: `program --worker DEVICE`. Returns the exit code. */
int worker_main(const char *device);
/* Its first line, on `out`. */
void worker_print_info(FILE *out, const struct device_info *info);

#endif
