#include "core/kernel.h"

#include <stdio.h>
#include <string.h>

enum { DIGITS = 9 }; /* of a number that fits an int */

struct config config_default(const struct kernel *kernel)
{
	struct config config = {0};
	for (int p = 0; p < kernel->n_params; p++)
		config.value[p] = kernel->params[p].default_value;
	return config;
}

enum status kernel_parse_field(const struct kernel *kernel, const char *field, const char *option,
                               const char *text, int *value)
{
	const struct param *f = kernel->fields;
	char buffer[16], names[128] = "";
	size_t n = 0;
	while (strcmp(f->name, field) != 0)
		f++;
	for (int i = 0; i < f->n_values; i++) {
		const char *name = value_format(f->names, f->values[i], buffer);
		if (!strcmp(text, name)) {
			*value = f->values[i];
			return STATUS_OK;
		}
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", name);
	}
	return fail(STATUS_USAGE, "--%s: '%s' is none of %s", option, text, names);
}

enum status kernel_read_shape(const struct kernel *kernel, const char *text, struct shape *shape)
{
	static const char digits[] = "0123456789";
	for (const char *at = text; *(at += strcspn(at, digits));) {
		const size_t n = strspn(at, digits);
		if (n > DIGITS)
			return fail(STATUS_USAGE, "%s shape '%s': a number has at most %d digits",
			            kernel->name, text, DIGITS);
		at += n;
	}
	return kernel->parse_shape(text, shape);
}
