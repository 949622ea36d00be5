/* Google Benchmark for C: it registers, filters and reports; what a body measures is its own
 * affair. */
#ifndef BENCH_GBENCH_H
#define BENCH_GBENCH_H

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One run of a benchmark; sets the seconds to report. A failure is reported with its message, and
 * the rest go on. */
typedef enum status gbench_body(void *user, double *seconds);

/* Called after each run; `error` is NULL when it succeeded. */
typedef void gbench_report(void *user, double seconds, const char *error);

/* The name is copied; `user` is passed to body and report. */
void gbench_register(const char *name, gbench_body *body, void *user);

/* Runs, once each and in order, what was registered with a name that matches the regular
 * expression. */
MUST_CHECK enum status gbench_run(const char *filter, gbench_report *report, int *n_run);

#ifdef __cplusplus
}
#endif
#endif
