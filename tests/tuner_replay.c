/* A worker without a device: every configuration has a known time, a hash of what it is. With
 * main.c and this in place of worker_main.c the whole tuner is deterministic. REPLAY_SLEEP_US is
 * what a measurement takes. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/sources.h"
#include "tuner/worker.h"

static char task[1024];

static double time_of(const char *config)
{
	uint64_t hash = fnv1a(fnv1a(FNV1A_START, task, strlen(task)), config, strlen(config));
	return 10 + (double)(hash % 1000) / 100;
}

int worker_main(const char *device)
{
	static char line[WORKER_LINE];
	const char *sleep_us = getenv("REPLAY_SLEEP_US");
	struct device_info info = {.name = "replay",
	                           .slug = "replay",
	                           .sm_count = 1,
	                           .target.lanes = SIMT_WARP,
	                           .smem_block_bytes = 1 << 20,
	                           .driver = "none",
	                           .toolkit = "none"};
	(void)device;
	worker_print_info(stdout, &info);
	while (fgets(line, sizeof line, stdin)) {
		char *rest = line, *verb;
		line[strcspn(line, "\n")] = 0;
		verb = strsep(&rest, "\t");
		if (!strcmp(verb, "task"))
			snprintf(task, sizeof task, "%s", rest);
		if (!strcmp(verb, "screen") || !strcmp(verb, "round")) {
			strsep(&rest, "\t");
			for (char *config; (config = strsep(&rest, "\t"));) {
				usleep(sleep_us ? (useconds_t)atoi(sleep_us) : 0);
				printf("ok\t%.6g\t1\n", time_of(config));
			}
		} else {
			printf("ok\t%d\t0\n", !strcmp(verb, "ceiling") ? 10 : 0);
		}
		fflush(stdout);
	}
	return 0;
}
