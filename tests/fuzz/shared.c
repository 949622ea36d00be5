#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

int fuzz_file(const uint8_t *data, size_t n, char path[FUZZ_PATH])
{
	int file = memfd_create("fuzz", MFD_CLOEXEC);
	if (file < 0 || write(file, data, n) != (ssize_t)n)
		fuzz_fail("cannot write %zu bytes", n);
	snprintf(path, FUZZ_PATH, "/proc/self/fd/%d", file);
	return file;
}

void fuzz_message(const char *name)
{
	const char *message = fail_message();
	if (!strstr(message, name) || strchr(message, '\n'))
		fuzz_fail("the message '%s' is not a line that names %s", message, name);
}

void fuzz_use(size_t sum)
{
	static volatile size_t sink;
	sink = sum;
	(void)sink;
}

void fuzz_fail(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}
