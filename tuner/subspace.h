/* A part of the kernels' spaces: --only rows=1/2,math=0. Tunables that it does not name have all
 * their values. */
#ifndef TUNER_SUBSPACE_H
#define TUNER_SUBSPACE_H

#include "tuner/candidates.h"

enum { SUBSPACE_TEXT = 256 };

/* Each name must be a tunable that a tune of one of the tasks' kernels searches, each value one of
 * its values. NULL: the whole spaces. */
MUST_CHECK enum status subspace_check(const char *only, const struct tasks *tasks);
/* Leaves the default and what lies in the subspace. */
void subspace_restrict(const char *only, const struct kernel *kernel,
                       struct candidates *candidates);

#endif
