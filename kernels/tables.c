/* The instances compiled into a program. */
#include "core/kernel.h"
#include "kernels/list.h"

#include <string.h>

typedef const struct variant *variants_fn(int *n);

/* WARPSMITH_SPACE programs have host instances alone: on CUDA they compile candidates on demand. */
#if defined(WARPSMITH_CUDA) && !defined(WARPSMITH_SPACE)
#define CUDA_VARIANTS(name) name##_cuda_variants
#define DECLARE(name, NAME) variants_fn name##_host_variants, name##_cuda_variants;
#else
#define CUDA_VARIANTS(name) NULL
#define DECLARE(name, NAME) variants_fn name##_host_variants;
#endif
#define TABLE(name, NAME) {#name, name##_host_variants, CUDA_VARIANTS(name)},

KERNELS(DECLARE)

static const struct {
	const char *name;
	variants_fn *host, *cuda;
} tables[] = {KERNELS(TABLE)};

int kernel_variants(const struct kernel *kernel, const struct device_info *info,
                    const struct variant **variants)
{
	int n = 0;
	*variants = NULL;
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
		variants_fn *table = info->target.sm ? tables[i].cuda : tables[i].host;
		if (table && !strcmp(tables[i].name, kernel->name))
			*variants = table(&n);
	}
	return n;
}
