/* The configurations that a search may propose for a task. The tunables of the step have their
 * defaults: the decode stage decides them. */
#ifndef TUNER_CANDIDATES_H
#define TUNER_CANDIDATES_H

#include "tuner/tasks.h"

#define MAX_PRUNE_REASONS 8

struct candidates {
	struct config
	        *config; /* [0] is the default, the rest in the order of the parameter lists */
	int n;
	int n_space; /* points before pruning */
	struct {
		const char *reason;
		int n;
	} pruned[MAX_PRUNE_REASONS];
	int n_reasons;
};

/* On a GPU every point of the space, on the host the instances in this program; less those that
 * cannot run. Fails when the default is among these. */
MUST_CHECK enum status candidates_open(const struct task *task, const struct device_info *info,
                                       struct candidates *candidates);
void candidates_close(struct candidates *candidates);

/* Reads "name=value" pairs of any journal. A tunable that the text lacks gets its default, one that
 * the kernel lacks is passed over. False when the kernel does not list a value: the first such pair
 * is `bad`, which may be NULL. */
bool config_read(const struct kernel *kernel, const char *text, struct config *config,
                 char bad[CONFIG_TEXT]);
/* Which of them a configuration is; -1: none. */
int candidates_find(const struct candidates *candidates, const struct config *config);

#endif
