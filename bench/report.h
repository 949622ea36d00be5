/* Measurements as rows of bench.csv and as a table for people. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/csv.h"
#include "bench/measure.h"

/* The first 25 are read by other people's scripts. Empty cells: not known or not applicable.
 * launch        "graph": in a captured graph, "single": by itself, between two events
 * percent       of ceiling_gbps, the `ceiling` measured in the same run
 * sm_mhz        in between the events, counted by the multiprocessors themselves
 * choice        "tuned": a row of results/tuned.h, or "default"
 * verdict       of a tuned instance measured in turns with the default; ratio is its time over the
 *               default's
 * read_us       the best reader of as many bytes from cold caches in a graph; read_percent: of us
 * peer_verdict  of ours measured in turns with the peer; peer_ratio is our time over the peer's
 * empty_us      a launch that does nothing, made likewise
 * launches      in a sample; repeated: samples measured again because the device throttled */
/* clang-format off */
#define BENCH_COLUMNS(X)                                                                           \
	X(device)                                                                                  \
	X(kernel)                                                                                  \
	X(case)                                                                                    \
	X(shape) X(config) X(state) X(launch) X(us) X(us_lo) X(us_hi) X(samples) X(stop) X(bytes)  \
	        X(gbps) X(ceiling) X(ceiling_gbps) X(percent) X(peer) X(peer_us) X(sm_mhz) X(watt) \
	                X(celsius) X(throttle) X(status) X(reason) X(choice) X(verdict) X(ratio)   \
	                        X(ratio_lo) X(ratio_hi) X(driver) X(toolkit) X(source_hash)        \
	                                X(date) X(read_us) X(read_percent) X(peer_version)         \
	                                        X(peer_verdict) X(peer_ratio) X(peer_ratio_lo)     \
	                                                X(peer_ratio_hi) X(empty_us) X(launches)   \
	                                                        X(repeated)
/* clang-format on */

#define BENCH_COLUMN_ENTRY(name) BENCH_##name,
enum bench_column { BENCH_COLUMNS(BENCH_COLUMN_ENTRY) N_BENCH_COLUMNS };
extern const char *const bench_column_names[N_BENCH_COLUMNS];

/* FOLDER/<slug of the device>/bench.csv, made with its folders. */
MUST_CHECK enum status report_open(const char *folder, const struct device_info *info,
                                   struct csv_log *log);
/* One row per figure. */
MUST_CHECK enum status report_log(struct csv_log *log, const struct device_info *info,
                                  const struct measurement *m);

/* A table for people on stdout, a line for each task, when all its states have been measured. */
struct report_table;
MUST_CHECK enum status report_table_open(const struct device_info *info,
                                         struct report_table **table);
/* Prints what is left. */
void report_table_close(struct report_table **table);
void report_table_add(struct report_table *table, const struct measurement *m);
/* A measurement that could not be made at all. */
void report_table_fail(struct report_table *table, const struct task *task, const char *error);

#endif
