#include "kernels/images.h"

#include <stdio.h>
#include <stddef.h>
#include <string.h>

#include "core/status.h"
#include "device/jit.h"

static bool runs(const struct image *image, int sm)
{
	return image->sm <= sm && (image->ptx || image->sm / 10 == sm / 10);
}

static bool better(const struct image *a, const struct image *b)
{
	return a->ptx == b->ptx ? a->sm > b->sm : b->ptx;
}

const struct image *image_find(const char *function, int sm)
{
	const struct image *best = NULL;
	for (const struct image *const *i = images; *i; i++)
		if (!strcmp((*i)->function, function) && runs(*i, sm) &&
		    (!best || better(*i, best)))
			best = *i;
	return best;
}

/* The library of a function's kernels and their symbols; NULL where there is none. */
static void *load(const char *function, int sm, const char *const **symbols)
{
	const struct image *image = image_find(function, sm);
	void *library = NULL;
	if (image && jit_load_code(image->code, &library) != STATUS_OK)
		warn_once("%s", fail_message());
	*symbols = image ? image->symbols : NULL;
	return library;
}

static const void *find_entry(void *library, const char *const *symbols, int i)
{
	const void *entry = NULL;
	if (library && symbols[i] && jit_find_entry(library, symbols[i], &entry) != STATUS_OK)
		warn_once("%s", fail_message());
	return entry;
}

void images_resolve(const char *kernel, int sm, struct variant *list, int n)
{
	char twin[64];
	const char *const *symbols, *const *twin_symbols;
	snprintf(twin, sizeof twin, "%s_traced", kernel);
	void *library = load(kernel, sm, &symbols), *twins = load(twin, sm, &twin_symbols);
	for (int i = 0; i < n; i++) {
		list[i].entry = find_entry(library, symbols, i);
		list[i].traced = find_entry(twins, twin_symbols, i);
	}
}
