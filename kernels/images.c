#include "kernels/images.h"

#include <stdio.h>
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

static const void *load(const struct image_part *part)
{
	void *library;
	const void *entry = NULL;
	if (part->code && (jit_load_code(part->code, &library) != STATUS_OK ||
	                   jit_find_entry(library, part->symbol, &entry) != STATUS_OK))
		warn_once("%s", fail_message());
	return entry;
}

static const void **entry_of(struct variant *variant, bool twin)
{
	return twin ? &variant->traced : &variant->entry;
}

/* Variants with the same code share a kernel. */
static void resolve(const char *function, bool twin, int sm, struct variant *list, int n)
{
	const struct image *image = image_find(function, sm);
	for (int i = 0; i < n; i++) {
		int first = 0;
		while (image && image->parts[first].code != image->parts[i].code)
			first++;
		*entry_of(&list[i], twin) = !image       ? NULL
		                            : first == i ? load(&image->parts[i])
		                                         : *entry_of(&list[first], twin);
	}
}

void images_resolve(const char *kernel, int sm, struct variant *list, int n)
{
	char traced[64];
	snprintf(traced, sizeof traced, "%s_traced", kernel);
	resolve(kernel, false, sm, list, n);
	resolve(traced, true, sm, list, n);
}
