#define _GNU_SOURCE
#include "tests/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char *read_all(FILE *file)
{
	long size;
	rewind(file);
	fseek(file, 0, SEEK_END);
	size = ftell(file);
	rewind(file);
	char *text = calloc(1, (size_t)size + 1);
	if (!text || fread(text, 1, (size_t)size, file) != (size_t)size)
		abort();
	fclose(file);
	return text;
}

struct command_result command_run(const char *const *argv)
{
	struct command_result result = {0};
	FILE *out = tmpfile(), *err = tmpfile();
	int state;
	if (!out || !err)
		abort();
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(err), STDERR_FILENO);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &state, 0) != child)
		abort();
	result.exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
	result.out = read_all(out);
	result.err = read_all(err);
	return result;
}

void command_free(struct command_result *result)
{
	free(result->out);
	free(result->err);
	*result = (struct command_result){0};
}
