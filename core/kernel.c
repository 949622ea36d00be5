#include "core/kernel.h"

#include <string.h>

enum { DIGITS = 9 }; /* of a number that fits an int */

struct config config_default(const struct kernel *kernel)
{
	struct config config = {0};
	for (int p = 0; p < kernel->n_params; p++)
		config.value[p] = kernel->params[p].default_value;
	return config;
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
