/* NAME FOLDER: runs a fuzz target once over each file of a folder, with any compiler. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The bytes are as long as they are, so that a sanitizer sees the first one too many. */
static int run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file || fseek(file, 0, SEEK_END))
		return 0;
	const long n = ftell(file);
	uint8_t *data = malloc(n > 0 ? (size_t)n : 1);
	rewind(file);
	const int ok = data && n >= 0 && fread(data, 1, (size_t)n, file) == (size_t)n;
	fclose(file);
	if (ok)
		LLVMFuzzerTestOneInput(data, (size_t)n);
	free(data);
	return ok;
}

int main(int argc, char **argv)
{
	DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
	int n = 0;
	if (!folder) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	for (struct dirent *entry; (entry = readdir(folder));) {
		char path[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
		if (!run_file(path)) {
			fprintf(stderr, "%s: cannot be read\n", path);
			return 1;
		}
		n++;
	}
	closedir(folder);
	printf("%s: %d files\n", argv[1], n);
	return n == 0;
}
