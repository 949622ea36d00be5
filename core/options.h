/* Command lines from one table: parsing, --help and --version. */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

enum option_kind {
	OPTION_FLAG,   /* bool */
	OPTION_TEXT,   /* const char * */
	OPTION_INT,    /* int */
	OPTION_COUNT,  /* int, at least 0 */
	OPTION_NUMBER, /* double */
	OPTION_U64,    /* unsigned long long */
	OPTION_PAIR,   /* const char *[2]: takes two arguments */
	OPTION_MAYBE,  /* const char *: its argument may be left out, then "" */
};

struct option_row {
	const char *name; /* without the dashes */
	char letter;      /* short form, 0 for none */
	enum option_kind kind;
	void *value; /* keeps its default when the option is absent */
	const char *argument, *help;
};

/* Rows that every program has. */
#define COMMON_OPTIONS(device, quiet)                                                          \
	{"device",                                                                             \
	 0,                                                                                    \
	 OPTION_TEXT,                                                                          \
	 device,                                                                               \
	 "auto|host|host32|cuda[:N]",                                                          \
	 "where to run (auto: a GPU if there is one)"},                                        \
	{                                                                                      \
		"quiet", 'q', OPTION_FLAG, quiet, NULL, "no progress and no figures on stderr" \
	}

struct command {
	const char *name, *summary;
	const char *examples; /* lines, printed first */
	const struct option_row *rows;
	size_t n_rows;
};

/* Fails with STATUS_USAGE on unknown options, bad values and stray arguments. After --help or
 * --version, which print to stdout, *done is true. */
MUST_CHECK enum status options_parse(const struct command *command, int argc, char **argv,
                                     bool *done);

#endif
