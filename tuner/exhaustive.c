#include "tuner/strategy.h"

#include <math.h>

enum status propose_all(struct search *search, int *batch, int max, int *n)
{
	*n = 0;
	for (int i = 0; i < search->points->n && *n < max; i++)
		if (isnan(search->us[i]))
			batch[(*n)++] = i;
	return STATUS_OK;
}
