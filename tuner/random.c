#include "tuner/strategy.h"

#include <stdlib.h>

/* All points in random order; those before `at` have been proposed. */
struct random_order {
	int at;
	int point[];
};

enum status random_open(struct search *search)
{
	int n = search->points->n;
	uint64_t random = search->seed;
	struct random_order *order = malloc(sizeof *order + (size_t)n * sizeof *order->point);
	if (!order)
		return fail(STATUS_NO_MEMORY, "no memory for a search");
	order->at = 0;
	for (int i = 0; i < n; i++)
		order->point[i] = i;
	random_shuffle(&random, order->point, n);
	search->state = order;
	return STATUS_OK;
}

enum status random_propose(struct search *search, int max)
{
	struct random_order *order = search->state;
	while (order->at < search->points->n && max > 0) {
		int point = order->point[order->at++];
		if (search->taken[point])
			continue;
		search_take(search, point);
		max--;
	}
	return STATUS_OK;
}
