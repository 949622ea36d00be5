/* Runs a program and keeps what it printed. */
#ifndef TESTS_COMMAND_H
#define TESTS_COMMAND_H

#include <stddef.h>

struct command_result {
	int exit_code;   /* 128 + signal when it was killed */
	char *out, *err; /* NUL-terminated */
};

/* argv is NULL-terminated; argv[0] is the path of the program. Aborts when it cannot be started. */
struct command_result command_run(const char *const *argv);
void command_free(struct command_result *result);

#endif
