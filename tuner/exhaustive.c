#include "tuner/strategy.h"

enum status propose_all(struct search *search, int max)
{
	for (int i = 0; i < search->points->n && max > 0; i++) {
		if (search->taken[i])
			continue;
		search_take(search, i);
		max--;
	}
	return STATUS_OK;
}
