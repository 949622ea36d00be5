/* The instances compiled into a program. */
#include "core/kernel.h"
#include "kernels/images.h"
#include "kernels/list.h"

#include <pthread.h>
#include <string.h>

typedef const struct variant *variants_fn(int *n);

#define DECLARE(name, NAME) variants_fn name##_host_variants;
#define TABLE(name, NAME)   {#name, name##_host_variants, 0},

KERNELS(DECLARE)

static struct table {
	const char *kernel;
	variants_fn *host;
	int sm; /* that the list for GPUs has entries for; 0: none */
} tables[] = {KERNELS(TABLE)};

/* WARPSMITH_SPACE programs have host instances alone: on CUDA they compile candidates on demand. */
static const struct variant *cuda_variants(struct table *table, int sm, int *n)
{
#if defined(WARPSMITH_CUDA) && !defined(WARPSMITH_SPACE)
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct variant *list = cuda_table(table->kernel, n);
	pthread_mutex_lock(&lock);
	if (table->sm != sm)
		images_resolve(table->kernel, sm, list, *n);
	table->sm = sm;
	pthread_mutex_unlock(&lock);
	return list;
#else
	(void)table;
	(void)sm;
	*n = 0;
	return NULL;
#endif
}

int kernel_variants(const struct kernel *kernel, const struct device_info *info,
                    const struct variant **variants)
{
	int n = 0;
	*variants = NULL;
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
		if (!strcmp(tables[i].kernel, kernel->name))
			*variants = info->target.sm ? cuda_variants(&tables[i], info->target.sm, &n)
			                            : tables[i].host(&n);
	return n;
}
