/* The kernel sources, embedded in every program: NVRTC compiles them, tables are stamped with their
 * hash. */
#ifndef CORE_SOURCES_H
#define CORE_SOURCES_H

#include <stddef.h>
#include <stdint.h>

#include "core/space.h"

struct source {
	const char *path; /* as in #include "kernels/gemv.h" */
	const char *text; /* NUL-terminated */
	size_t bytes;
};

/* All embedded files; NULL path ends. */
extern const struct source sources[];

/* 16 hex digits (FNV-1a, 64 bit) over what a kernel's device code is made of: its .cu and the
 * embedded files that this includes, directly or not, but for those that only build tables of
 * instances. */
void source_hash(const char *kernel_name, char hash[17]);
/* The same with another table of files, for tests. */
void source_hash_in(const struct source *table, const char *kernel_name, char hash[17]);

/* 16 hex digits over a kernel's tunables: names, defaults and values. */
void space_hash(const struct param *params, int n, char hash[17]);

uint64_t fnv1a(uint64_t hash, const void *data, size_t bytes);
#define FNV1A_START 0xcbf29ce484222325u

#endif
