#include "device/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The newest first. */
static const char *const suffixes[] = {".13", ".12", ""};

static void *open_in(const char *folder, const char *stem)
{
	char path[512];
	void *library = NULL;
	for (size_t i = 0; !library && i < sizeof suffixes / sizeof suffixes[0]; i++)
		if (snprintf(path, sizeof path, "%slib%s.so%s", folder, stem, suffixes[i]) <
		    (int)sizeof path)
			library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	return library;
}

void *library_open(const char *stem, const struct library_function *functions, size_t n)
{
	char folder[400];
	const char *toolkit = getenv("CUDA_PATH");
	void *library = open_in("", stem);
	snprintf(folder, sizeof folder, "%s/lib64/", toolkit ? toolkit : "/usr/local/cuda");
	if (!library)
		library = open_in(folder, stem);
	if (!library)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		void *symbol = dlsym(library, functions[i].name);
		if (!symbol) {
			dlclose(library);
			return NULL;
		}
		memcpy(functions[i].pointer, &symbol, sizeof symbol);
	}
	return library;
}

void library_close(void *library)
{
	if (library)
		dlclose(library);
}
