#include "tuner/points.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/sources.h"

static const float AXIS = 3; /* of ranks: as long as one of 1, 2, 4, 8 */

static int compare_numbers(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

/* Sorts and drops repetitions; returns how many are left. */
static int distinct(double *value, int n)
{
	int kept = 0;
	qsort(value, (size_t)n, sizeof *value, compare_numbers);
	for (int i = 0; i < n; i++)
		if (!kept || value[i] != value[kept - 1])
			value[kept++] = value[i];
	return kept;
}

static int rank_of(const double *sorted, int n, double value)
{
	const double *at = bsearch(&value, sorted, (size_t)n, sizeof *sorted, compare_numbers);
	return (int)(at - sorted);
}

static enum status add_param(struct points *points, const double *sorted, int n_levels)
{
	int p = points->n_params++;
	points->n_levels[p] = n_levels;
	points->place[p] = malloc((size_t)n_levels * sizeof **points->place);
	if (!points->place[p])
		return fail(STATUS_NO_MEMORY, "no memory for a search");
	for (int v = 0; v < n_levels; v++)
		points->place[p][v] = sorted[0] > 0 ? (float)log2(sorted[v])
		                                    : AXIS * (float)v / (float)(n_levels - 1);
	return STATUS_OK;
}

static int *find_slot(const struct points *points, const int *level)
{
	size_t bytes = (size_t)points->n_params * sizeof *level;
	size_t mask = (size_t)points->n_slots - 1;
	size_t at = (size_t)fnv1a(FNV1A_START, level, bytes) & mask;
	while (points->slots[at] &&
	       memcmp(points->level + (size_t)(points->slots[at] - 1) * (size_t)points->n_params,
	              level, bytes) != 0)
		at = (at + 1) & mask;
	return &points->slots[at];
}

static enum status index_points(struct points *points, int twin[2])
{
	for (points->n_slots = 2; points->n_slots < 2 * points->n;)
		points->n_slots *= 2;
	points->slots = calloc((size_t)points->n_slots, sizeof *points->slots);
	if (!points->slots)
		return fail(STATUS_NO_MEMORY, "no memory for a search");
	for (int i = 0; i < points->n; i++) {
		int *slot = find_slot(points, points->level + (size_t)i * points->n_params);
		if (*slot) {
			twin[0] = *slot - 1;
			twin[1] = i;
			return fail(STATUS_FAILED, "a configuration occurs twice");
		}
		*slot = i + 1;
	}
	return STATUS_OK;
}

enum status points_open(const double *value, int n, int n_params, struct points *points,
                        int twin[2])
{
	enum status status = STATUS_OK;
	int varying[POINTS_MAX_PARAMS];
	double *sorted = malloc((size_t)n * sizeof *sorted);
	int *level = calloc((size_t)n * (size_t)n_params, sizeof *level);
	*points = (struct points){.n = n};
	twin[0] = twin[1] = -1;
	if (!sorted || !level) {
		status = fail(STATUS_NO_MEMORY, "no memory for a search");
		goto done;
	}
	for (int p = 0; p < n_params; p++) {
		for (int i = 0; i < n; i++)
			sorted[i] = value[(size_t)i * n_params + p];
		int n_levels = distinct(sorted, n);
		for (int i = 0; i < n; i++)
			level[(size_t)i * n_params + p] =
			        rank_of(sorted, n_levels, value[(size_t)i * n_params + p]);
		if (n_levels < 2)
			continue;
		varying[points->n_params] = p;
		TRY(add_param(points, sorted, n_levels));
	}
	points->level = level;
	level = NULL;
	for (int i = 0, to = 0; i < n; i++) /* in place: only to the left */
		for (int p = 0; p < points->n_params; p++)
			points->level[to++] = points->level[(size_t)i * n_params + varying[p]];
	TRY(index_points(points, twin));
done:
	free(sorted);
	free(level);
	if (status != STATUS_OK)
		points_close(points);
	return status;
}

void points_close(struct points *points)
{
	for (int p = 0; p < points->n_params; p++)
		free(points->place[p]);
	free(points->level);
	free(points->slots);
	*points = (struct points){0};
}

int points_find(const struct points *points, const int *level)
{
	return *find_slot(points, level) - 1;
}

int points_max_neighbours(const struct points *points)
{
	int most = 0;
	for (int p = 0; p < points->n_params; p++)
		most += points->n_levels[p] - 1;
	return most < points->n - 1 ? most : points->n - 1;
}

int points_neighbours(const struct points *points, int from, int *neighbour)
{
	int level[POINTS_MAX_PARAMS], n = 0;
	size_t bytes = (size_t)points->n_params * sizeof *level;
	memcpy(level, points->level + (size_t)from * points->n_params, bytes);
	for (int p = 0; p < points->n_params; p++) {
		int own = level[p];
		for (level[p] = 0; level[p] < points->n_levels[p]; level[p]++) {
			int i = level[p] == own ? -1 : points_find(points, level);
			if (i >= 0)
				neighbour[n++] = i;
		}
		level[p] = own;
	}
	return n;
}
