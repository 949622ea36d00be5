/* Two runs of the bench side by side. */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include "bench/statistics.h"
#include "core/status.h"

/* Prints a CSV on stdout: for each measurement of either folder's bench.csv, the newest row of its
 * kind, whether b is faster, slower, the same or not to be told from a. STATUS_VIOLATION when a row
 * is slower in b, or was measured in a and failed in b. Differences up to `noise` do not count. */
MUST_CHECK enum status compare_folders(const char *a, const char *b, double noise);

#endif
