/* What is tuned: the launches of a decode step, by kernel, case and shape. */
#ifndef TUNER_TASKS_H
#define TUNER_TASKS_H

#include "core/kernel.h"

struct task {
	const struct kernel *kernel;
	struct kase kase;
	struct shape shape;
	char case_text[CONFIG_TEXT], shape_text[64];
};

struct tasks {
	struct task *task;
	int n, capacity;
};

/* Lists separated by commas; NULL is the device's default: all kernels of a decode step; the 0.5B
 * and 7B shapes of Qwen2.5 on a GPU, 0.5B on the host; bf16. A dtype is that of weights, or of
 * weights and activations, "bf16:bf16": then a GEMV is the product alone, as libraries have it. A
 * shape is the name of a model size or as the kernels write theirs; attention shapes without a
 * length stand for the whole grid of lengths, which is shorter when `quick`. `kv` is the dtype of
 * caches, one name; NULL: that of plain weights, else bf16. */
struct tasks_request {
	const char *kernels, *shapes, *dtypes, *kv;
	bool quick;
	const char *only; /* see subspace.h */
};

MUST_CHECK enum status tasks_open(const struct tasks_request *request,
                                  const struct device_info *info, struct tasks *tasks);
void tasks_close(struct tasks *tasks);

/* The next of a list separated by commas; false at its end. */
enum { ITEM_TEXT = 256 }; /* bytes: more than any name or shape has */
bool next_listed(const char **list, char item[ITEM_TEXT]);
/* Whether `name` is in a list separated by commas; any name is when there is no list. */
bool name_listed(const char *list, const char *name);

/* What the kernel suggests for a task; returns their number. */
int task_suggestions(const struct task *task, const struct device_info *info,
                     struct config config[MAX_SUGGESTIONS]);

#endif
