#include "tests/symbol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool symbol_values(const char *symbol, const char *kernel, const char *what, int *values, int n)
{
	char name[64];
	snprintf(name, sizeof name, "%s_%s", kernel, what);
	const char *at = strstr(symbol, name);
	if (!at)
		return false;
	at += strlen(name);
	memset(values, 0, (size_t)n * sizeof *values);
	for (int i = 0; i < n && !strncmp(at, "Li", 2); i++) {
		char *end;
		values[i] = (int)strtol(at + 2, &end, 10);
		at = end + 1;
	}
	return *at == 'E';
}
