/* Local search: from a random point to the first neighbour that is faster, in random order, until
 * none is; then from another random point. Neighbours differ in one parameter, by any step. */
#include "tuner/strategy.h"

#include <math.h>
#include <stdbool.h>
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

static int random_untaken(const struct search *search, uint64_t *random)
{
	int n = search->points->n, at = random_below(random, n);
	for (int i = 0; i < n && search->taken[at]; i++)
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

/* Goes from neighbours that are known to be faster until what is next is unknown: the current point
 * or a neighbour in turn. False: there is none, the search has ended. */
static bool follow(struct search *search, struct local *s)
{
	const double *us = search->us;
	while (s->current >= 0 && !isinf(us[s->current]) && s->n_asked < s->n_neighbours) {
		int next = s->neighbour[s->n_asked];
		if (isnan(us[s->current]) || isnan(us[next]))
			return true;
		if (us[next] < us[s->current])
			move_to(search, s, next);
		else
			s->n_asked++;
	}
	return false;
}

/* The neighbours from there on; where all are pending, a point that may be a start some time. */
enum status local_propose(struct search *search, int max)
{
	struct local *s = search->state;
	const int before = search->n_taken;
	if (before == search->points->n)
		return STATUS_OK;
	const bool goes_on = follow(search, s);
	for (int i = s->n_asked; goes_on && i < s->n_neighbours && search->n_taken < before + max;
	     i++)
		if (!search->taken[s->neighbour[i]])
			search_take(search, s->neighbour[i]);
	if (search->n_taken > before)
		return STATUS_OK;
	search_take(search, random_untaken(search, &s->random));
	if (!goes_on)
		move_to(search, s, search->order[before]);
	return STATUS_OK;
}
