/* Launchable instances of one task's candidates, on the worker's side. The host's are part of the
 * program; a GPU's are compiled when they are asked for, in the background where they are
 * announced. Instances that have the same code are compiled once. A struct instances must stay
 * where it was opened. */
#ifndef TUNER_INSTANCES_H
#define TUNER_INSTANCES_H

#include "tuner/tasks.h"

struct program; /* candidates compiled, or being compiled, together */

struct instances {
	struct device *device;
	const struct task *task;
	struct program *first;
	bool compiles; /* it has asked for something */
};

/* Programs that are compiled at the same time, of all tasks together. */
int instances_compilers(void);
void instances_open(struct device *device, const struct task *task, struct instances *instances);
/* Starts compiling what is not compiled yet; instances_find() waits for what it needs. */
MUST_CHECK enum status instances_prepare(struct instances *instances, const struct config *configs,
                                         int n);
/* Fails with the compiler's reason, STATUS_UNSUPPORTED, when there is no such instance. */
MUST_CHECK enum status instances_find(struct instances *instances, const struct config *config,
                                      const void **entry);
/* Takes back what waits to be compiled. */
void instances_withdraw(struct instances *instances);
void instances_close(struct instances *instances);

#endif
