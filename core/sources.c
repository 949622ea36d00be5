/* The table `sources` is written by cmake/embed.cmake. */
#include "core/sources.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

uint64_t fnv1a(uint64_t hash, const void *data, size_t bytes)
{
	const unsigned char *p = data;
	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ p[i]) * 0x100000001b3u;
	return hash;
}

/* Whether a path without its extension is `stem`. */
static bool has_stem(const char *path, const char *stem, size_t n)
{
	return !strncmp(path, stem, n) && path[n] == '.';
}

/* The file of a kernel, kernels/NAME.cu or .h: the one that has a .cu beside it. Length of
 * "kernels/NAME", 0 for a header that kernels share. */
static size_t kernel_stem(const char *path)
{
	const char *dot = strrchr(path, '.');
	const size_t n = dot ? (size_t)(dot - path) : 0;
	for (const struct source *s = sources; s->path; s++)
		if (n && has_stem(s->path, path, n) && !strcmp(s->path + n, ".cu"))
			return n;
	return 0;
}

void source_hash(const char *kernel_name, char hash[17])
{
	char stem[128];
	uint64_t h = FNV1A_START;
	const int n_stem = snprintf(stem, sizeof stem, "kernels/%s", kernel_name);
	for (const struct source *s = sources; s->path; s++) {
		const size_t n = kernel_stem(s->path);
		if (n && (n != (size_t)n_stem || strncmp(s->path, stem, n)))
			continue;
		h = fnv1a(h, s->path, strlen(s->path) + 1);
		h = fnv1a(h, s->text, s->bytes + 1);
	}
	snprintf(hash, 17, "%016" PRIx64, h);
}
