#define _POSIX_C_SOURCE 200809L
#include "core/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "kernels/gemv.h"

static const char *const epilogue_names[] = {
        [EPILOGUE_NONE] = "none",     [EPILOGUE_BIAS] = "bias", [EPILOGUE_RESIDUAL] = "residual",
        [EPILOGUE_SWIGLU] = "swiglu", [EPILOGUE_QKV] = "qkv",   [EPILOGUE_ARGMAX] = "argmax",
};
enum { N_EPILOGUES = sizeof epilogue_names / sizeof epilogue_names[0] };

const char *value_format(enum value_names names, int value, char buffer[16])
{
	if (names == NAMES_DTYPE && dtype_name(value)[0])
		return dtype_name(value);
	if (names == NAMES_EPILOGUE && value >= 0 && value < N_EPILOGUES)
		return epilogue_names[value];
	snprintf(buffer, 16, "%d", value);
	return buffer;
}

char *params_format(const struct param *params, int n, const int *values, char text[CONFIG_TEXT])
{
	size_t at = 0;
	text[0] = 0;
	for (int i = 0; i < n && at < CONFIG_TEXT; i++) {
		char buffer[16];
		at += (size_t)snprintf(text + at, CONFIG_TEXT - at, "%s%s=%s", i ? " " : "",
		                       params[i].name,
		                       value_format(params[i].names, values[i], buffer));
	}
	return text;
}

bool param_allows(const struct param *param, int value)
{
	for (int i = 0; i < param->n_values; i++)
		if (param->values[i] == value)
			return true;
	return false;
}

/* The listed value that is written like `text`. */
static bool find_value(const struct param *param, const char *text, int *value)
{
	for (int i = 0; i < param->n_values; i++) {
		char buffer[16];
		if (!strcmp(text, value_format(param->names, param->values[i], buffer))) {
			*value = param->values[i];
			return true;
		}
	}
	return false;
}

static enum status parse_pair(const struct param *params, int n, char *pair, int *values)
{
	char *equals = strchr(pair, '=');
	if (!equals)
		return fail(STATUS_FAILED, "'%s' is not name=value", pair);
	*equals = 0;
	for (int i = 0; i < n; i++) {
		if (strcmp(params[i].name, pair))
			continue;
		if (!find_value(&params[i], equals + 1, &values[i]))
			return fail(STATUS_FAILED, "%s: the value '%s' is not listed", pair,
			            equals + 1);
		return STATUS_OK;
	}
	return fail(STATUS_FAILED, "unknown tunable '%s'", pair);
}

enum status params_parse(const struct param *params, int n, const char *text, int *values)
{
	enum status status = STATUS_OK;
	char *save = NULL, *copy = strdup(text);
	if (!copy)
		return fail(STATUS_NO_MEMORY, "out of memory");
	for (char *pair = strtok_r(copy, " ", &save); pair; pair = strtok_r(NULL, " ", &save))
		TRY(parse_pair(params, n, pair, values));
done:
	free(copy);
	return status;
}
