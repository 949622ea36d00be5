// C++20.
/* What the tests of the host engine share: a device, and launches that expect an outcome. */
#ifndef TESTS_TEST_ENGINE_H
#define TESTS_TEST_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <string>

#include "device/device.h"
#include "device/host_check.h"
#include "device/simt.h"

extern "C" {
#include <cmocka.h> /* last: its macro fail() would hide core/status.h */
}

static struct device *host;

static int open_host(void **)
{
	return device_open(simt::kWarp == 1 ? "host" : "host32", true, &host);
}

static int close_host(void **)
{
	device_close(&host);
	return 0;
}

template <typename Args>
static enum status launch_grid(const void *entry, struct grid grid, const Args &args,
                               bool dependent = false)
{
	return device_launch(host, entry, grid, &args, sizeof args,
	                     launch_options{dependent, nullptr});
}

template <typename Args>
static enum status launch(const void *entry, unsigned blocks, unsigned threads, const Args &args,
                          size_t smem_bytes = 0, bool dependent = false)
{
	return launch_grid(entry, grid{blocks, 1, threads, 1, smem_bytes}, args, dependent);
}

#define RUN(...)                                                       \
	do {                                                           \
		if (launch(__VA_ARGS__) != STATUS_OK)                  \
			fail_msg("launch failed: %s", fail_message()); \
	} while (0)

static inline std::string at(const char *file, int line)
{
	return std::string(file) + ":" + std::to_string(line);
}

static inline void expect_text(const char *message, const std::string &part)
{
	if (!strstr(message, part.c_str()))
		fail_msg("\"%s\" is not in \"%s\"", part.c_str(), message);
}

#endif
