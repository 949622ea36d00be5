/* The rows of test_rows.cpp. */
#ifndef RESULTS_TUNED_H
#define RESULTS_TUNED_H

/* X(K, id, name, sm, lanes, sm_count, bus_gbps, driver, toolkit, source_hash, space_hash, date,
 * method) */
#define PLANTED_DEVICE(X, K, lanes) \
	X(K, HOST, "planted", 0, lanes, 2, 0.0, "1", "gcc", "feed", "beef", "2026-01-01", "x")
#define TUNED_DEVICES_HOST(X, K)   PLANTED_DEVICE(X, K, 1)
#define TUNED_DEVICES_HOST32(X, K) PLANTED_DEVICE(X, K, 32)
#define TUNED_DEVICES_CUDA(X, K)

/* (x, residual), m, k, len_min, len_max, beside, warps, unroll, blocks */
#define TUNED_HOST_RMS_NORM(ROW)                                           \
	ROW(rms_norm, (DTYPE_F32, 0), 896, 7, 5, 64, BESIDE_Q8_0, 2, 4, 1) \
	ROW(rms_norm, (DTYPE_F32, 0), 896, 7, 65, 99, BESIDE_NONE, 4, 8, 1)

#endif
