/* Any kernel with a case and a shape, set up on a device: random inputs, canaries behind every
 * buffer, the double-precision reference computed once, when it is needed, so that tests, bench and
 * tuner check and launch every configuration by the same code. */
#ifndef BENCH_PROBLEM_H
#define BENCH_PROBLEM_H

#include "core/kernel.h"

struct problem;

/* `copies` sets of buffers for cold timing, at least 1; what a launch only reads and the one before
 * it has just written, BUFFER_INPUT, is the same in all. Scratch is sized for the largest
 * configuration of the space. */
MUST_CHECK enum status problem_open(struct device *device, const struct kernel *kernel,
                                    const int *kase, const struct shape *shape,
                                    unsigned long long seed, int copies, struct problem **problem);
void problem_close(struct problem **problem);

/* Bytes of one set of buffers without scratch, known before the problem is set up. */
size_t problem_bytes(const struct kernel *kernel, const int *kase, const struct shape *shape,
                     const struct device_info *info);

/* Queues one launch on the buffers of a copy. */
MUST_CHECK enum status problem_launch(struct problem *problem, const void *entry, const int *config,
                                      int copy);

/* Whether launches can follow each other like those of a decode step, each reading what the last
 * one wrote: the first output is as long as the first input and of its type, or there is none but
 * what is both. */
bool problem_can_chain(const struct kernel *kernel, const int *kase, const struct shape *shape,
                       const struct device_info *info);
/* Queues a launch that may start before the last one has ended, and takes its input from the
 * outputs of copy `from`; -1: its own. */
MUST_CHECK enum status problem_launch_chained(struct problem *problem, const void *entry,
                                              const int *config, int copy, int from);

/* Has the reference computed now, not by the first check: for a large problem it takes seconds. */
void problem_compute_reference(struct problem *problem);
/* Poisons the outputs of copy 0, launches and compares. STATUS_VIOLATION when an element is off by
 * more than its tolerance, was not written, or a canary was; the message names buffer, element,
 * expected and got. Other failures are those of the launch. */
MUST_CHECK enum status problem_check(struct problem *problem, const void *entry, const int *config);

/* Device memory of a copy's buffer, by the kernel's name for it; NULL when it has no such buffer.
 */
void *problem_memory(const struct problem *problem, const char *buffer, int copy);

#endif
