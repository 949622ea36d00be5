/* fault EXPECTED PROGRAM ARGUMENTS...: succeeds when the program ends with exit code 3 and a
 * message that contains EXPECTED. */
#include <stdio.h>
#include <string.h>

#include "tests/command.h"

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: fault EXPECTED PROGRAM ARGUMENTS...\n");
		return 2;
	}
	struct command_result r = command_run((const char *const *)argv + 2);
	int found = r.exit_code == 3 && strstr(r.err, argv[1]);
	printf("%s: exit code %d: %s", argv[2], r.exit_code, r.err);
	if (!found)
		printf("expected exit code 3 and '%s'\n", argv[1]);
	command_free(&r);
	return !found;
}
