/* Local search: from a random point to the first neighbour that is faster, in random order, until
 * none is; then from another random point. Neighbours differ in one parameter, by any step. */
#include "tuner/strategy.h"

#include <math.h>
#include <stdlib.h>

struct local {
	uint64_t random;
	int current; /* -1: none */
	int n_asked; /* of the neighbours: those before have been looked at */
	int n_neighbours;
	int neighbour[];
};

enum status local_open(struct search *search)
{
	int n = points_max_neighbours(search->points);
	struct local *s = malloc(sizeof *s + (size_t)n * sizeof *s->neighbour);
	if (!s)
		return fail(STATUS_NO_MEMORY, "no memory for a search");
	*s = (struct local){.random = search->seed, .current = -1};
	search->state = s;
	return STATUS_OK;
}

static int random_untried(const struct search *search, uint64_t *random)
{
	int n = search->points->n, at = random_below(random, n);
	for (int i = 0; i < n && !isnan(search->us[at]); i++)
		at = (at + 1) % n;
	return at;
}

static void move_to(struct search *search, struct local *s, int point)
{
	s->current = point;
	s->n_neighbours = points_neighbours(search->points, point, s->neighbour);
	s->n_asked = 0;
	random_shuffle(&s->random, s->neighbour, s->n_neighbours);
}

/* Goes from neighbours that are known to be faster until the neighbours in turn are unknown; those
 * are the batch. */
enum status local_propose(struct search *search, int *batch, int max, int *n)
{
	struct local *s = search->state;
	const double *us = search->us;
	*n = 0;
	if (search->n_tried == search->points->n)
		return STATUS_OK;
	for (;;) {
		if (s->current >= 0 && isfinite(us[s->current]) && s->n_asked < s->n_neighbours) {
			int next = s->neighbour[s->n_asked];
			if (us[next] < us[s->current]) {
				move_to(search, s, next);
			} else if (isnan(us[next])) {
				break;
			} else {
				s->n_asked++;
			}
			continue;
		}
		int start = random_untried(search, &s->random);
		move_to(search, s, start);
		batch[(*n)++] = start;
		return STATUS_OK;
	}
	for (int i = s->n_asked; i < s->n_neighbours && *n < max; i++)
		if (isnan(us[s->neighbour[i]]))
			batch[(*n)++] = s->neighbour[i];
	return STATUS_OK;
}
