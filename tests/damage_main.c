/* damage IN OUT-DIR: writes hundreds of damaged copies of a GGUF file and prints what is wrong with
 * each. "damage - OUT-DIR" damages a small model of its own. */
#include <stdio.h>
#include <string.h>

#include "tests/damage.h"

static size_t n_written;

static void save(void *folder, const struct damage *damage)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%04zu.gguf", (const char *)folder, n_written++);
	blob_save(&damage->file, path);
	printf("%s: %s\n", path, damage->name);
}

int main(int argc, char **argv)
{
	static struct gguf_make valid;
	if (argc != 3) {
		fputs("usage: damage IN.gguf OUT-DIR\n", stderr);
		return 2;
	}
	make_open(&valid);
	if (!strcmp(argv[1], "-")) {
		make_qwen2(&valid);
	} else if (!make_load(&valid, argv[1])) {
		fprintf(stderr, "damage: %s is not valid or too large\n", argv[1]);
		return 1;
	}
	damage_each(&valid, save, argv[2]);
	make_close(&valid);
	return 0;
}
