#include "tuner/strategy.h"

#include <math.h>

int propose_all(const struct search *search, int *batch, int max)
{
	int n = 0;
	for (int i = 0; i < search->candidates->n && n < max; i++)
		if (isnan(search->us[i]))
			batch[n++] = i;
	return n;
}
