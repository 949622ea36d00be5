/* What earlier searches say of where to begin another. */
#ifndef TUNER_SEEDS_H
#define TUNER_SEEDS_H

#include "tuner/prior.h"

enum { MAX_SEEDS = 16 + MAX_SUGGESTIONS, SEEDS_OF_ONE = 8, MAX_ANCESTORS = 16 };

/* Of tasks of the same kernel and case each but the first has a parent, whose search is to end
 * before its own begins: the middle task of the list first, then the middle ones of its halves, and
 * so on. The searches that a task learns from then do not depend on how many workers there are.
 * parent[i] is -1 when there is none. */
void seeds_choose_parents(const struct tasks *tasks, int *parent);

/* Candidates to try before what a strategy proposes: what the kernel suggests, then winners,
 * runners-up and the fastest of searches of the same kernel and case on this device, those of near
 * shapes first. These are searches of other sources, spaces or drivers, whose times say nothing but
 * whose finalists are good guesses, and those of the ancestors: what does not change any more once
 * the task's own search may begin, so that one that is resumed has the same. A tunable that a row
 * lacks has its default. Returns their number. */
int seeds_find(const struct measuring *measuring, const struct task *const *ancestors,
               int n_ancestors, int which[MAX_SEEDS]);

#endif
