#include "core/kernel.h"

#include <stdio.h>
#include <string.h>

#include "core/beside.h"

enum { DIGITS = 9 }; /* of a number that fits an int */
static const char beside_word[] = " beside ";

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

/* Where a shape's text says what it runs beside; its end when it does not. */
static const char *find_beside(const char *text)
{
	const char *at = strstr(text, beside_word);
	return at ? at : text + strlen(text);
}

char *shape_alone(const char *text, char alone[64])
{
	snprintf(alone, 64, "%.*s", (int)(find_beside(text) - text), text);
	return alone;
}

bool shape_alike(const char *a, const char *b)
{
	const size_t n = (size_t)(find_beside(a) - a);
	return n == (size_t)(find_beside(b) - b) && !memcmp(a, b, n);
}

static enum status read_beside(const struct kernel *kernel, const char *text, struct shape *shape)
{
	enum status status;
	char alone[64];
	const char *end = find_beside(text), *name = end + strlen(beside_word);
	if ((size_t)(end - text) >= sizeof alone)
		return fail(STATUS_USAGE, "%s shape '%s': too long", kernel->name, text);
	TRY(kernel->parse_shape(shape_alone(text, alone), shape));
	shape->beside = beside_parse(name);
	if (shape->beside == BESIDE_NONE)
		status = fail(STATUS_USAGE, "%s shape '%s': no weights are of type '%s'",
		              kernel->name, text, name);
done:
	return status;
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
	if (kernel->tells_beside && *find_beside(text))
		return read_beside(kernel, text, shape);
	return kernel->parse_shape(text, shape);
}

void kernel_write_shape(const struct kernel *kernel, const struct shape *shape, char text[64])
{
	kernel->format_shape(shape, text);
	if (shape->beside)
		snprintf(text + strlen(text), 64 - strlen(text), "%s%s", beside_word,
		         beside_name(shape->beside));
}
