#define _POSIX_C_SOURCE 200809L
#include "core/options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef WARPSMITH_VERSION
#define WARPSMITH_VERSION "unknown"
#endif

static void print_help(const struct command *command)
{
	printf("%s: %s\n\nExamples:\n%s\nOptions:\n", command->name, command->summary,
	       command->examples);
	for (size_t i = 0; i < command->n_rows; i++) {
		const struct option_row *row = &command->rows[i];
		char left[64], letter[5] = "    ";
		if (row->letter)
			snprintf(letter, sizeof letter, "-%c, ", row->letter);
		snprintf(left, sizeof left, "%s--%s %s", letter, row->name,
		         row->argument ? row->argument : "");
		printf("  %-34s %s\n", left, row->help);
	}
	printf("  %-34s %s\n  %-34s %s\n", "    --help", "print this", "    --version",
	       "print the version");
}

static enum status parse_value(const struct option_row *row, const char *text)
{
	char *end;
	errno = 0;
	switch (row->kind) {
	case OPTION_INT:
	case OPTION_COUNT: {
		long v = strtol(text, &end, 10);
		if (end == text || *end || errno || v > INT_MAX || v < INT_MIN ||
		    (row->kind == OPTION_COUNT && v < 0))
			return fail(STATUS_USAGE, "--%s: '%s' is not a whole number%s", row->name,
			            text, row->kind == OPTION_COUNT ? " of at least 0" : "");
		*(int *)row->value = (int)v;
		return STATUS_OK;
	}
	case OPTION_U64:
		*(unsigned long long *)row->value = strtoull(text, &end, 10);
		if (end == text || *end || errno || *text == '-')
			return fail(STATUS_USAGE, "--%s: '%s' is not a whole number of at least 0",
			            row->name, text);
		return STATUS_OK;
	case OPTION_NUMBER: {
		double v = strtod(text, &end);
		if (end == text || *end || !isfinite(v))
			return fail(STATUS_USAGE, "--%s: '%s' is not a number", row->name, text);
		*(double *)row->value = v;
		return STATUS_OK;
	}
	default:
		*(const char **)row->value = text;
		return STATUS_OK;
	}
}

/* The row that "--name", "--name=value" or "-x" stands for; *value is the text after '='. */
static const struct option_row *find_row(const struct command *command, const char *text,
                                         const char **value)
{
	bool is_long = text[1] == '-';
	const char *name = text + 1 + is_long, *equals = strchr(name, '=');
	size_t n = is_long && equals ? (size_t)(equals - name) : strlen(name);
	*value = is_long && equals ? equals + 1 : NULL;
	for (size_t i = 0; i < command->n_rows; i++) {
		const struct option_row *row = &command->rows[i];
		if (is_long ? strlen(row->name) == n && !strncmp(row->name, name, n)
		            : n == 1 && row->letter == name[0])
			return row;
	}
	return NULL;
}

/* A file opened later must not get the number of a standard stream that came closed. */
static void keep_standard_streams(void)
{
	int file;
	do
		file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (file >= 0 && file <= STDERR_FILENO);
	close(file);
}

enum status options_parse(const struct command *command, int argc, char **argv, bool *done)
{
	enum status status = STATUS_OK;
	*done = false;
	keep_standard_streams();
	for (int i = 1; i < argc; i++) {
		const char *text = argv[i], *value;
		if (!strcmp(text, "--help")) {
			print_help(command);
			*done = true;
			return STATUS_OK;
		}
		if (!strcmp(text, "--version")) {
			printf("%s %s\n", command->name, WARPSMITH_VERSION);
			*done = true;
			return STATUS_OK;
		}
		if (text[0] != '-' || !text[1])
			return fail(STATUS_USAGE, "unexpected argument '%s' (see --help)", text);
		const struct option_row *row = find_row(command, text, &value);
		if (!row)
			return fail(STATUS_USAGE, "unknown option '%s' (see --help)", text);
		if (row->kind == OPTION_FLAG) {
			if (value)
				return fail(STATUS_USAGE, "--%s takes no value", row->name);
			*(bool *)row->value = true;
			continue;
		}
		if (row->kind == OPTION_MAYBE && !value)
			value = i + 1 < argc && argv[i + 1][0] != '-' ? argv[++i] : "";
		if (!value && i + 1 < argc)
			value = argv[++i];
		if (!value)
			return fail(STATUS_USAGE, "--%s needs a value", row->name);
		if (row->kind == OPTION_PAIR) {
			if (i + 1 >= argc)
				return fail(STATUS_USAGE, "--%s needs two values", row->name);
			((const char **)row->value)[0] = value;
			((const char **)row->value)[1] = argv[++i];
			continue;
		}
		TRY(parse_value(row, value));
	}
done:
	return status;
}
