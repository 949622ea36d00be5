/* The host engine for those who launch: blocks of a grid spread over worker threads, each
 * running the threads of a block, or of the blocks of a cluster, as fibers. One thread of the
 * program uses it at a time; fork() before engine_open(). */
#ifndef DEVICE_ENGINE_H
#define DEVICE_ENGINE_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ENGINE_MAX_THREADS 1024                 /* of a block */
#define ENGINE_SMEM_BYTES  (size_t)(227 * 1024) /* dynamic, of a block; as on an H100 */
#define ENGINE_MAX_CLUSTER 8                    /* blocks; what every GPU with clusters takes */

/* Lanes of the warps that kernels of this program were compiled for: 1 or 32. */
int engine_lanes(void);

/* What engine and kernels were compiled for, beyond the baseline; a mask of CPU_* on x86-64. */
enum cpu_feature { CPU_AVX2 = 1, CPU_FMA = 2, CPU_BMI2 = 4, CPU_AVX512F = 8 };
extern const unsigned engine_needs;

/* Counts: the worker threads go when the last opener has closed. workers: 0 keeps what is set
 * (host_check.h), at first one. */
MUST_CHECK enum status engine_open(int workers);
void engine_close(void);
int engine_workers(void);

/* Runs a grid to its end. STATUS_USAGE for impossible geometry; STATUS_VIOLATION for what
 * checked mode finds and STATUS_FAILED for a fault, with block, lanes and places in the message. */
MUST_CHECK enum status engine_run(host_entry *entry, struct grid grid, const void *args,
                                  struct launch_options options);

/* Everything launched so far is complete before whatever comes next, dependent launches
 * included. */
void engine_boundary(void);

#ifdef __cplusplus
}
#endif
#endif
