/* The kernel sources, embedded in every program: NVRTC compiles them, tables are stamped with their
 * hash. */
#ifndef CORE_SOURCES_H
#define CORE_SOURCES_H

#include <stddef.h>
#include <stdint.h>

struct source {
	const char *path; /* as in #include "kernels/gemv.h" */
	const char *text; /* NUL-terminated */
	size_t bytes;
};

/* All embedded files; NULL path ends. */
extern const struct source sources[];

/* 16 hex digits (FNV-1a, 64 bit) over a kernel's .cu, .h and the headers that kernels share. */
void source_hash(const char *kernel_name, char hash[17]);

uint64_t fnv1a(uint64_t hash, const void *data, size_t bytes);
#define FNV1A_START 0xcbf29ce484222325u

#endif
