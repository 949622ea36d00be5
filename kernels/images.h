/* Instances for GPUs. A program has a list of them for each kernel, and their code, compiled when
 * the program was built: by NVRTC, as the tuner's candidates are. */
#ifndef KERNELS_IMAGES_H
#define KERNELS_IMAGES_H

#include <stdbool.h>

#include "core/variant.h"

/* The list of a kernel, without entries: the default of each case and the rows of results/tuned.h.
 * NULL: no such kernel. */
struct variant *cuda_table(const char *kernel, int *n);

/* One instance; the driver loads it when it is first launched. */
struct image_part {
	const void *code; /* NULL: it is not legal for the architecture */
	const char *symbol;
};

/* What one function of a kernel has for one architecture; make_image.c writes them. */
struct image {
	const char *function; /* "gemv", or "gemv_traced" for the twins that report */
	int sm;
	bool ptx; /* for every GPU from that architecture on; else cubins, for its generation */
	const struct image_part *parts; /* of each variant of the list */
};

/* All of this program, NULL-terminated. */
extern const struct image *const images[];

/* The best that a GPU can run: a cubin of the newest architecture, else PTX of it; NULL when there
 * is none. */
const struct image *image_find(const char *function, int sm);

/* Sets the entries of a kernel's list; NULL where this program has no code for the GPU. */
void images_resolve(const char *kernel, int sm, struct variant *list, int n);

#endif
