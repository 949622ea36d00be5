#define _POSIX_C_SOURCE 200809L
#include "tuner/candidates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024 }; /* per block, all architectures */

/* NULL when the configuration can run. */
static const char *prune_reason(const struct task *task, const struct device_info *info,
                                const struct config *config)
{
	const struct kernel *kernel = task->kernel;
	if (!kernel->legal(task->kase.value, config->value, info->target))
		return "not legal on this architecture";
	if (!kernel->valid(&task->shape, task->kase.value, config->value, info))
		return "does not fit the shape";
	struct grid grid = kernel->grid(&task->shape, task->kase.value, config->value, info);
	if (grid.threads > MAX_THREADS)
		return "more than 1024 threads per block";
	if (grid.smem_bytes > info->smem_block_bytes)
		return "more shared memory than a block may use";
	if (!grid.x || !grid.y)
		return "no blocks";
	return NULL;
}

static void count_pruned(struct candidates *candidates, const char *reason)
{
	int i = 0;
	while (i < candidates->n_reasons && strcmp(candidates->pruned[i].reason, reason))
		i++;
	if (i == candidates->n_reasons)
		candidates->pruned[candidates->n_reasons++].reason = reason;
	candidates->pruned[i].n++;
}

static bool same(const struct config *a, const struct config *b, int n_params)
{
	return !memcmp(a->value, b->value, (size_t)n_params * sizeof(int));
}

static void consider(const struct task *task, const struct device_info *info,
                     const struct config *config, struct candidates *candidates)
{
	if (same(config, &candidates->config[0], task->kernel->n_params))
		return; /* the default is there already */
	const char *reason = prune_reason(task, info, config);
	if (reason)
		count_pruned(candidates, reason);
	else
		candidates->config[candidates->n++] = *config;
}

static int n_searched(const struct kernel *kernel)
{
	return kernel->n_params - kernel->n_step_params;
}

/* Point number i of the whole space, counting with the last tunable fastest. */
static struct config point(const struct kernel *kernel, long i)
{
	struct config config = config_default(kernel);
	for (int p = n_searched(kernel); p-- > 0; i /= kernel->params[p].n_values)
		config.value[p] = kernel->params[p].values[i % kernel->params[p].n_values];
	return config;
}

static int space_size(const struct kernel *kernel)
{
	int n = 1;
	for (int p = 0; p < n_searched(kernel); p++)
		n *= kernel->params[p].n_values;
	return n;
}

enum status candidates_open(const struct task *task, const struct device_info *info,
                            struct candidates *candidates)
{
	enum status status = STATUS_OK;
	const struct kernel *kernel = task->kernel;
	const struct variant *variants = NULL;
	int n_variants = info->target.sm ? 0 : kernel_variants(kernel, info, &variants);
	int n = info->target.sm ? space_size(kernel) : n_variants;
	*candidates = (struct candidates){.n = 1};
	candidates->config = calloc((size_t)n + 1, sizeof *candidates->config);
	if (!candidates->config)
		return fail(STATUS_NO_MEMORY, "no memory for %d configurations", n);
	candidates->config[0] = config_default(kernel);
	const char *reason = prune_reason(task, info, &candidates->config[0]);
	if (reason) {
		status = fail(STATUS_FAILED, "%s %s %s: the default configuration cannot run: %s",
		              kernel->name, task->case_text, task->shape_text, reason);
		goto done;
	}
	for (int i = 0; i < n; i++) {
		if (!info->target.sm && memcmp(&variants[i].kase, &task->kase, sizeof task->kase))
			continue;
		struct config config = info->target.sm ? point(kernel, i) : variants[i].config;
		candidates->n_space++;
		consider(task, info, &config, candidates);
	}
done:
	if (status != STATUS_OK)
		candidates_close(candidates);
	return status;
}

void candidates_close(struct candidates *candidates)
{
	free(candidates->config);
	*candidates = (struct candidates){0};
}

int candidates_find(const struct candidates *candidates, const struct config *config)
{
	for (int i = 0; i < candidates->n; i++)
		if (!memcmp(&candidates->config[i], config, sizeof *config))
			return i;
	return -1;
}

static bool has_param(const struct kernel *kernel, const char *name, size_t n)
{
	for (int p = 0; p < kernel->n_params; p++)
		if (!strncmp(kernel->params[p].name, name, n) && !kernel->params[p].name[n])
			return true;
	return false;
}

bool config_read(const struct kernel *kernel, const char *text, struct config *config,
                 char bad[CONFIG_TEXT])
{
	char copy[1024], *save = NULL;
	bool good = true;
	*config = config_default(kernel);
	snprintf(copy, sizeof copy, "%s", text);
	for (char *pair = strtok_r(copy, " ", &save); pair; pair = strtok_r(NULL, " ", &save)) {
		if (!has_param(kernel, pair, strcspn(pair, "=")) ||
		    !params_parse(kernel->params, kernel->n_params, pair, config->value))
			continue;
		if (good && bad)
			snprintf(bad, CONFIG_TEXT, "%s", pair);
		good = false;
	}
	return good;
}
