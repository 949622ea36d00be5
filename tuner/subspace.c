#include "tuner/subspace.h"

#include <stdio.h>
#include <string.h>

/* The length of an item up to one of `ends`. */
static size_t item_bytes(const char *text, const char *ends)
{
	return strcspn(text, ends);
}

static const char *next_item(const char *text, const char *ends, char separator)
{
	text += item_bytes(text, ends);
	return *text == separator ? text + 1 : NULL;
}

/* What follows "NAME=" in the list; NULL when the list does not name it. */
static const char *values_of(const char *only, const char *name)
{
	const size_t n = strlen(name);
	for (const char *at = only; at; at = next_item(at, ",", ','))
		if (!strncmp(at, name, n) && at[n] == '=')
			return at + n + 1;
	return NULL;
}

static bool is_value(const struct param *param, int value, const char *text, size_t n)
{
	char buffer[16];
	const char *name = value_format(param->names, value, buffer);
	return strlen(name) == n && !strncmp(name, text, n);
}

static bool lists(const char *values, const struct param *param, int value)
{
	for (const char *at = values; at; at = next_item(at, "/,", '/'))
		if (is_value(param, value, at, item_bytes(at, "/,")))
			return true;
	return false;
}

static bool has_value(const struct param *param, const char *text, size_t n)
{
	for (int v = 0; v < param->n_values; v++)
		if (is_value(param, param->values[v], text, n))
			return true;
	return false;
}

/* The tunable that an item names; NULL when the kernel searches none of that name. */
static const struct param *find_param(const struct kernel *kernel, const char *name, size_t n)
{
	for (int p = 0; p < kernel->n_params - kernel->n_step_params; p++)
		if (strlen(kernel->params[p].name) == n &&
		    !strncmp(kernel->params[p].name, name, n))
			return &kernel->params[p];
	return NULL;
}

static enum status check_item(const char *item, const struct tasks *tasks)
{
	const int n = (int)item_bytes(item, ","), n_name = (int)item_bytes(item, "=,");
	bool found = false;
	if (item[n_name] != '=')
		return fail(STATUS_USAGE, "--only: '%.*s' is no TUNABLE=VALUE/...", n, item);
	for (int i = 0; i < tasks->n; i++) {
		const struct kernel *kernel = tasks->task[i].kernel;
		const struct param *param = find_param(kernel, item, (size_t)n_name);
		found |= param != NULL;
		for (const char *v = item + n_name + 1; param && v; v = next_item(v, "/,", '/'))
			if (!has_value(param, v, item_bytes(v, "/,")))
				return fail(STATUS_USAGE, "--only: %s of %s has no value '%.*s'",
				            param->name, kernel->name, (int)item_bytes(v, "/,"), v);
	}
	if (!found)
		return fail(STATUS_USAGE, "--only: a tune of these kernels searches no '%.*s'",
		            n_name, item);
	return STATUS_OK;
}

enum status subspace_check(const char *only, const struct tasks *tasks)
{
	enum status status = STATUS_OK;
	if (only && strlen(only) >= SUBSPACE_TEXT / 2)
		return fail(STATUS_USAGE, "--only: more than %d characters", SUBSPACE_TEXT / 2 - 1);
	for (const char *at = only; at; at = next_item(at, ",", ','))
		TRY(check_item(at, tasks));
done:
	return status;
}

static bool lies_in(const char *only, const struct kernel *kernel, const struct config *config)
{
	for (int p = 0; p < kernel->n_params; p++) {
		const char *values = values_of(only, kernel->params[p].name);
		if (values && !lists(values, &kernel->params[p], config->value[p]))
			return false;
	}
	return true;
}

void subspace_restrict(const char *only, const struct kernel *kernel, struct candidates *c)
{
	const int before = c->n;
	if (!only)
		return;
	c->n = 1;
	for (int i = 1; i < before; i++)
		if (lies_in(only, kernel, &c->config[i]))
			c->config[c->n++] = c->config[i];
	if (c->n == before)
		return;
	c->pruned[c->n_reasons].reason = "not in --only";
	c->pruned[c->n_reasons++].n = before - c->n;
}
