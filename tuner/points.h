/* The configurations of a search as points of a grid: what strategies see. It does not matter to
 * them whether a parameter is a count of warps or a column of a recorded file. */
#ifndef TUNER_POINTS_H
#define TUNER_POINTS_H

#include "core/status.h"

#define POINTS_MAX_PARAMS 64

struct points {
	int n, n_params; /* parameters that have one value everywhere are left out */
	int n_levels[POINTS_MAX_PARAMS];
	/* (n, n_params): rank of the value among those that occur, 0 the smallest */
	int *level;
	/* By parameter and level: a place on an axis where steps that matter alike are alike long:
	 * log2 of the value where all are positive, else the rank stretched to 0 .. 3. */
	float *place[POINTS_MAX_PARAMS];
	int *slots, n_slots; /* hash table: point + 1, by levels */
};

/* value (n, n_params). Fails when two points are the same, and says which in `twin`. */
MUST_CHECK enum status points_open(const double *value, int n, int n_params, struct points *points,
                                   int twin[2]);
void points_close(struct points *points);

/* The point with these levels; -1 when there is none. */
int points_find(const struct points *points, const int *level);

/* Most neighbours that any point can have. */
int points_max_neighbours(const struct points *points);
/* The points that differ from `from` in one parameter; returns their number. */
int points_neighbours(const struct points *points, int from, int *neighbour);

#endif
