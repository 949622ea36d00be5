/* Which launches are timed with cold caches. */
#ifndef TUNER_COLD_H
#define TUNER_COLD_H

#include "tuner/tasks.h"

/* Copies of a launch's buffers that cold timing rotates through; 0 when the launch is timed hot, on
 * one: small ones, since in a decode step they read what the launch before them has just written,
 * and on the host those that would need its caches to be flushed before every sample, which takes
 * longer than all else. */
int cold_copies(const struct task *task, const struct device_info *info);

#endif
