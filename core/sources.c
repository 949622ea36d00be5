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

#define MAX_SOURCES 64

/* Included by kernels but without effect on their code. */
static const char *const uncounted[] = {"core/variants.h", "kernels/subsets.h"};

static int find(const struct source *table, const char *path, size_t n)
{
	for (int i = 0; table[i].path && i < MAX_SOURCES; i++)
		if (!strncmp(table[i].path, path, n) && !table[i].path[n])
			return i;
	return -1;
}

/* Sets reached[i] for file i and, in turn, each file of the table that it includes as "path". */
static void reach(const struct source *table, int i, bool *reached)
{
	static const char include[] = "#include \"";
	if (i < 0 || reached[i])
		return;
	reached[i] = true;
	for (const char *at = table[i].text; (at = strstr(at, include));) {
		at += sizeof include - 1;
		reach(table, find(table, at, strcspn(at, "\"\n")), reached);
	}
}

static bool counts(const char *path)
{
	for (size_t i = 0; i < sizeof uncounted / sizeof uncounted[0]; i++)
		if (!strcmp(path, uncounted[i]))
			return false;
	return true;
}

void source_hash_in(const struct source *table, const char *kernel_name, char hash[17])
{
	char path[128];
	bool reached[MAX_SOURCES] = {0};
	uint64_t h = FNV1A_START;
	const int n = snprintf(path, sizeof path, "kernels/%s.cu", kernel_name);
	reach(table, find(table, path, (size_t)n), reached);
	for (int i = 0; table[i].path && i < MAX_SOURCES; i++)
		if (reached[i] && counts(table[i].path)) {
			h = fnv1a(h, table[i].path, strlen(table[i].path) + 1);
			h = fnv1a(h, table[i].text, table[i].bytes + 1);
		}
	snprintf(hash, 17, "%016" PRIx64, h);
}

void source_hash(const char *kernel_name, char hash[17])
{
	source_hash_in(sources, kernel_name, hash);
}

void space_hash(const struct param *params, int n, char hash[17])
{
	uint64_t h = FNV1A_START;
	for (int i = 0; i < n; i++) {
		h = fnv1a(h, params[i].name, strlen(params[i].name) + 1);
		h = fnv1a(h, &params[i].default_value, sizeof params[i].default_value);
		h = fnv1a(h, params[i].values, (size_t)params[i].n_values * sizeof(int));
	}
	snprintf(hash, 17, "%016" PRIx64, h);
}
