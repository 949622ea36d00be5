/* All libraries that can do what a task of gemv does, each with every way that it offers. */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "bench/peer.h"
#include "bench/problem.h"
#include "tuner/tasks.h"

struct peers;

/* Libraries that are missing are named absent. */
MUST_CHECK enum status peers_open(struct device *device, struct peers **peers);
void peers_close(struct peers **peers);
/* "cublas 13.0.2; no cublaslt: not found (libcublasLt.so.13 or .12)" */
const char *peers_text(const struct peers *peers);

/* Sets up the product of a task on the weights of its problem. Activations have the type of the
 * weights, the one that these libraries take; the result has that of the task's. Returns the number
 * of ways, 0 when no library can. */
int peers_use(struct peers *peers, const struct task *task, struct problem *problem);

/* A way, 0 .. n - 1: whose it is, and its number there. */
const struct peer *peers_way(const struct peers *peers, int way, int *plan);
/* Queues a way on a copy of the problem's weights. */
MUST_CHECK enum status peers_run(struct peers *peers, int way, int copy);
/* Runs it once and compares some rows with their double-precision products. */
MUST_CHECK enum status peers_check(struct peers *peers, int way);

#endif
