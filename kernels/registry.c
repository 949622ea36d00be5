#include "core/kernel.h"
#include "kernels/list.h"

#include <string.h>

#define DECLARE(name, NAME) extern const struct kernel name##_kernel;
#define ADDRESS(name, NAME) &name##_kernel,

KERNELS(DECLARE)

const struct kernel *const kernels[] = {KERNELS(ADDRESS) NULL};

const struct kernel *kernel_find(const char *name)
{
	for (const struct kernel *const *k = kernels; *k; k++)
		if (!strcmp((*k)->name, name))
			return *k;
	return NULL;
}
