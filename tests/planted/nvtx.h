/* What a profiler is told through NVTX: compiled into a test, or as a library that a program loads
 * because NVTX_INJECTION64_PATH names it; then PLANTED_RANGES names the file that it writes, a line
 * "DEPTH PAYLOAD NAME" per range. */
#ifndef TESTS_PLANTED_NVTX_H
#define TESTS_PLANTED_NVTX_H

#include <stdint.h>

#define NVTX_MAX_RANGES 4096

struct nvtx_range {
	int depth;
	uint64_t payload;
	char name[128];
};

struct nvtx_seen {
	struct nvtx_range ranges[NVTX_MAX_RANGES];
	int n_ranges, n_domains;
	int depth; /* now */
	char domain_name[64];
};
extern struct nvtx_seen nvtx_seen;

/* NVTX calls it when its first function is used, and takes its functions over. */
typedef const void *(*nvtx_export_table)(uint32_t id);
int InitializeInjectionNvtx2(nvtx_export_table get);

#endif
