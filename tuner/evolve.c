/* A steady-state genetic algorithm: the fastest points are the population, a child takes each
 * parameter from one of two parents, which won tournaments, and sometimes another value; a child
 * that is no configuration or is known already costs nothing. */
#include "tuner/strategy.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { POPULATION = 20, ATTEMPTS = 200 };

struct evolve {
	uint64_t random;
	int n_seen; /* of search->order */
	int n;
	int member[POPULATION]; /* fastest first */
};

enum status evolve_open(struct search *search)
{
	struct evolve *s = calloc(1, sizeof *s);
	if (!s)
		return fail(STATUS_NO_MEMORY, "no memory for a search");
	s->random = search->seed;
	search->state = s;
	return STATUS_OK;
}

static void consider(const struct search *search, struct evolve *s, int point)
{
	int at = s->n;
	while (at > 0 && search->us[s->member[at - 1]] > search->us[point])
		at--;
	if (at == POPULATION || !isfinite(search->us[point]))
		return;
	int last = s->n < POPULATION ? s->n++ : POPULATION - 1;
	memmove(&s->member[at + 1], &s->member[at], (size_t)(last - at) * sizeof *s->member);
	s->member[at] = point;
}

/* The better of two: members are in order. */
static const int *parent(const struct search *search, struct evolve *s)
{
	int a = random_below(&s->random, s->n), b = random_below(&s->random, s->n);
	return search->points->level +
	       (size_t)s->member[a < b ? a : b] * (size_t)search->points->n_params;
}

static int child(const struct search *search, struct evolve *s)
{
	int level[POINTS_MAX_PARAMS], n_params = search->points->n_params;
	const int *mother = parent(search, s), *father = parent(search, s);
	for (int p = 0; p < n_params; p++) {
		level[p] = random_below(&s->random, 2) ? mother[p] : father[p];
		if (random_below(&s->random, n_params) == 0)
			level[p] = random_below(&s->random, search->points->n_levels[p]);
	}
	return points_find(search->points, level);
}

static bool is_new(const struct search *search, int point)
{
	return point >= 0 && !search->taken[point];
}

/* The first POPULATION points are random, as is one where no child is new. */
enum status evolve_propose(struct search *search, int max)
{
	struct evolve *s = search->state;
	int n_points = search->points->n;
	for (; s->n_seen < search->n_tried; s->n_seen++)
		consider(search, s, search->order[s->n_seen]);
	for (; max > 0 && search->n_taken < n_points; max--) {
		int point = -1;
		if (search->n_taken >= POPULATION && s->n)
			for (int i = 0; i < ATTEMPTS && !is_new(search, point); i++)
				point = child(search, s);
		if (!is_new(search, point))
			point = random_below(&s->random, n_points);
		while (!is_new(search, point))
			point = (point + 1) % n_points;
		search_take(search, point);
	}
	return STATUS_OK;
}
