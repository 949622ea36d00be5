/* Local searches that a model orders and starts.
 *
 * A few points far from each other come first, and a forest (forest.h) learns the logarithm of
 * their times. Then, by turns: a few points of the greatest expected improvement over the best, of
 * a random sample of the space and of where climbing from its best leads, are tried, as many as
 * there are parameters, and the fastest starts a local search; the neighbours of its current point
 * are tried in the order of their expected improvement over it, and the first that is faster is the
 * next current point. When no neighbour is faster the next search starts. The model saves most of
 * what a local search pays for neighbours that are no better, and the local search finds what a
 * model that smooths cannot see. */
#include "tuner/strategy.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tuner/forest.h"

enum {
	SAMPLE = 1000, /* points whose expected improvement is computed before a search starts */
	CLIMBS = 3,    /* best of them, from which it is climbed */
	STEPS = 10,    /* of a climb */
	ELITES = 8,    /* fastest points, whose neighbours are looked at too */
};
static const double LEAST_DEVIATION = 0.005; /* of a predicted logarithm */

struct guided {
	struct forest *forest;
	uint64_t random;
	double best, worst; /* logarithms of times; INFINITY before the first */
	int elite[ELITES], n_elites;
	int n_seen;       /* of search->order, in the model */
	int n_spread;     /* first points */
	double *distance; /* by point: squared, to the nearest first point */
	int current;      /* of the local search; -1: none */
	int n_asked;      /* search->n_tried at the last proposals */
	bool begun;
	int n_started; /* of search->order: from there on points start searches; -1: none do */
	int *neighbour;
};

enum status guided_open(struct search *search)
{
	enum status status;
	const struct points *points = search->points;
	size_t n = (size_t)points->n;
	struct guided *s = search->state = calloc(1, sizeof *s);
	if (!s)
		return fail(STATUS_NO_MEMORY, "no memory for a search");
	s->random = search->seed;
	s->best = INFINITY;
	s->worst = -INFINITY;
	s->current = s->n_started = -1;
	s->n_spread = 2 * points->n_params + 4;
	s->distance = malloc(n * sizeof *s->distance);
	s->neighbour = malloc(((size_t)points_max_neighbours(points) + 1) * sizeof *s->neighbour);
	if (!s->distance || !s->neighbour) {
		status = fail(STATUS_NO_MEMORY, "no memory for a search");
		goto done;
	}
	TRY(forest_open(points, random_next(&s->random), &s->forest));
	for (size_t i = 0; i < n; i++)
		s->distance[i] = INFINITY;
done:
	return status;
}

void guided_close(struct search *search)
{
	struct guided *s = search->state;
	if (!s)
		return;
	forest_close(&s->forest);
	free(s->distance);
	free(s->neighbour);
	free(s);
	search->state = NULL;
}

/* Keeps the fastest in order. */
static void note_elite(const struct search *search, struct guided *s, int point)
{
	int at = s->n_elites;
	while (at > 0 && search->us[s->elite[at - 1]] > search->us[point])
		at--;
	if (at == ELITES)
		return;
	if (s->n_elites < ELITES)
		s->n_elites++;
	for (int i = s->n_elites - 1; i > at; i--)
		s->elite[i] = s->elite[i - 1];
	s->elite[at] = point;
}

/* A failed point counts as slow as the slowest so far. */
static enum status learn(struct search *search, struct guided *s)
{
	enum status status = STATUS_OK;
	for (; s->n_seen < search->n_tried; s->n_seen++) {
		int point = search->order[s->n_seen];
		double y = log(search->us[point]);
		if (isfinite(y)) {
			s->best = fmin(s->best, y);
			s->worst = fmax(s->worst, y);
			note_elite(search, s, point);
		} else {
			y = isfinite(s->worst) ? s->worst : 0;
		}
		TRY(forest_add(s->forest, point, y));
	}
done:
	return status;
}

/* The logarithm's expected improvement over `over`; far from it, less the farther. */
static double promise(const struct guided *s, int point, double over)
{
	static const double LEAST = 1e-9;
	double mean, deviation;
	forest_predict(s->forest, point, &mean, &deviation);
	deviation += LEAST_DEVIATION;
	double z = (over - mean) / deviation;
	double improvement =
	        deviation * (z * 0.5 * erfc(-z * M_SQRT1_2) + exp(-0.5 * z * z) / sqrt(2 * M_PI));
	return improvement > LEAST ? improvement : LEAST * exp(-fmin(50, fabs(mean - over)));
}

/* An untried point as far as can be from those before (Kennard and Stone 1969), the first at
 * random. */
static int spread_point(const struct search *search, struct guided *s)
{
	const struct points *points = search->points;
	const int last = search->n_taken ? search->order[search->n_taken - 1] : -1;
	const int *from = points->level + (size_t)(last < 0 ? 0 : last) * points->n_params;
	int farthest = -1, n_equal = 0;
	for (int i = 0; i < points->n; i++) {
		const int *level = points->level + (size_t)i * points->n_params;
		double distance = 0;
		for (int p = 0; p < points->n_params && last >= 0; p++) {
			double step = (double)(level[p] - from[p]) / (points->n_levels[p] - 1);
			distance += step * step;
		}
		if (last >= 0 && distance < s->distance[i])
			s->distance[i] = distance;
		if (search->taken[i])
			continue;
		bool farther = farthest < 0 || s->distance[i] > s->distance[farthest];
		if (farther)
			n_equal = 0;
		if (farther || s->distance[i] == s->distance[farthest])
			farthest = random_below(&s->random, ++n_equal) ? farthest : i;
	}
	return farthest;
}

/* The most promising points so far, best first. */
struct shortlist {
	int n, point[CLIMBS];
	double promise[CLIMBS];
};

static void offer(const struct search *search, struct guided *s, struct shortlist *list, int point)
{
	if (search->taken[point])
		return;
	double value = promise(s, point, s->best);
	int at = list->n;
	while (at > 0 && list->promise[at - 1] < value)
		at--;
	if (at == CLIMBS)
		return;
	if (list->n < CLIMBS)
		list->n++;
	for (int i = list->n - 1; i > at; i--) {
		list->point[i] = list->point[i - 1];
		list->promise[i] = list->promise[i - 1];
	}
	list->point[at] = point;
	list->promise[at] = value;
}

/* The most promising free neighbour of a point; -1 when there is none. */
static int best_neighbour(const struct search *search, struct guided *s, int point, double over,
                          double *value)
{
	int best = -1, n = points_neighbours(search->points, point, s->neighbour);
	*value = 0;
	for (int i = 0; i < n; i++) {
		if (search->taken[s->neighbour[i]])
			continue;
		double its = promise(s, s->neighbour[i], over);
		if (best < 0 || its > *value) {
			best = s->neighbour[i];
			*value = its;
		}
	}
	return best;
}

/* Climbs from one of the list by neighbours. */
static int climb(const struct search *search, struct guided *s, int point, double *value)
{
	for (int step = 0; step < STEPS; step++) {
		double higher;
		int next = best_neighbour(search, s, point, s->best, &higher);
		if (next < 0 || higher <= *value)
			break;
		point = next;
		*value = higher;
	}
	return point;
}

static int any_untaken(const struct search *search, struct guided *s)
{
	int n = search->points->n, at = random_below(&s->random, n);
	while (search->taken[at])
		at = (at + 1) % n;
	return at;
}

/* Where the next local search starts. */
static int most_promising(const struct search *search, struct guided *s)
{
	struct shortlist list = {0};
	int n = search->points->n, best = -1;
	double best_value = -1;
	for (int e = 0; e < s->n_elites; e++) {
		double value;
		int point = best_neighbour(search, s, s->elite[e], s->best, &value);
		if (point >= 0)
			offer(search, s, &list, point);
	}
	for (int i = 0; i < SAMPLE && i < n; i++)
		offer(search, s, &list, n <= SAMPLE ? i : random_below(&s->random, n));
	for (int i = 0; i < list.n; i++) {
		double value = list.promise[i];
		int point = climb(search, s, list.point[i], &value);
		if (value > best_value) {
			best = point;
			best_value = value;
		}
	}
	return best >= 0 ? best : any_untaken(search, s);
}

/* The fastest of what was tried since `from`; -1 when all of it failed. */
static int fastest_since(const struct search *search, int from)
{
	int fastest = -1;
	for (int i = from; i < search->n_tried; i++) {
		double us = search->us[search->order[i]];
		if (isfinite(us) && (fastest < 0 || us < search->us[fastest]))
			fastest = search->order[i];
	}
	return fastest;
}

/* The local search goes on from a faster point; when it has ended, from the fastest start. */
static void move_on(const struct search *search, struct guided *s)
{
	if (!s->begun && search->n_taken > 1) /* what was taken before is where to begin */
		s->n_started = 0;
	s->begun = true;
	int faster = s->current < 0 ? -1 : fastest_since(search, s->n_asked);
	if (faster >= 0 && search->us[faster] < search->us[s->current])
		s->current = faster;
	else if (s->n_started >= 0 && search->n_tried > s->n_started)
		s->current = fastest_since(search, s->n_started);
	else
		return;
	s->n_started = -1;
}

static int next_point(const struct search *search, struct guided *s)
{
	if (search->n_taken < s->n_spread)
		return spread_point(search, s);
	if (s->current >= 0 && s->n_started < 0) {
		double value, us = search->us[s->current];
		int point = best_neighbour(search, s, s->current, log(us), &value);
		if (point >= 0)
			return point;
	}
	if (s->n_started < 0)
		s->n_started = search->n_taken;
	return most_promising(search, s);
}

enum status guided_propose(struct search *search, int max)
{
	enum status status;
	struct guided *s = search->state;
	TRY(learn(search, s));
	move_on(search, s);
	s->n_asked = search->n_tried;
	for (; max > 0 && search->n_taken < search->points->n; max--)
		search_take(search, next_point(search, s));
done:
	return status;
}
