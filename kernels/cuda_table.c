#include "kernels/images.h"

#include <string.h>

#include "kernels/list.h"

typedef const struct variant *table_fn(int *n);

#define DECLARE(name, NAME) table_fn name##_cuda_variants;
#define TABLE(name, NAME)   {#name, name##_cuda_variants},

KERNELS(DECLARE)

static const struct {
	const char *kernel;
	table_fn *table;
} tables[] = {KERNELS(TABLE)};

struct variant *cuda_table(const char *kernel, int *n)
{
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
		if (!strcmp(tables[i].kernel, kernel))
			return (struct variant *)tables[i].table(n);
	return NULL;
}
