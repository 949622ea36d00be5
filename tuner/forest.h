/* A model of a search's times: an ensemble of extremely randomised regression trees (Geurts, Ernst
 * and Wehenkel 2006) whose splits may also ask for a product or quotient of two parameters, as
 * launch geometry does. It learns from one point at a time. */
#ifndef TUNER_FOREST_H
#define TUNER_FOREST_H

#include <stdint.h>

#include "tuner/points.h"

struct forest;

MUST_CHECK enum status forest_open(const struct points *points, uint64_t seed,
                                   struct forest **forest);
void forest_close(struct forest **forest);

/* y: what to predict, of a point not added before. Fails when memory ends. */
MUST_CHECK enum status forest_add(struct forest *forest, int point, double y);

/* Mean over the trees, and a standard deviation: how the trees differ, and the points of a leaf. */
void forest_predict(const struct forest *forest, int point, double *mean, double *deviation);

#endif
