/* Devices of test_table.c, which makes their rows up itself. */
#ifndef RESULTS_TUNED_H
#define RESULTS_TUNED_H

/* X(K, id, name, sm, lanes, sm_count, bus_gbps, driver, toolkit, source_hash, space_hash, date, method) */
#define TUNED_DEVICES_HOST(X, K)
#define TUNED_DEVICES_HOST32(X, K)
#define TUNED_DEVICES_CUDA(X, K)                                                                  \
	X(K, OLD, "Old GPU", 80, 32, 108, 2000.0, "1", "13.0", "feed", "beef", "2026-01-01", "x") \
	X(K, NEW, "New GPU", 90, 32, 132, 4800.0, "1", "13.0", "feed", "beef", "2026-01-01", "x")

#endif
