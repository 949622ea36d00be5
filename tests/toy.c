#include "tests/toy.h"

#include <stdio.h>
#include <stdlib.h>

static const struct kase kases[TOY_MAX] = {{{3}}, {{3}}, {{3}}, {{3}}, {{3}}, {{3}}, {{3}}};
static const struct config configs[TOY_MAX] = {
        {{1, 1}}, {{2, 1}}, {{32, 160}}, {{3, 1}}, {{4, 1}}, {{8, 1}}, {{16, 1}},
};

unsigned toy_threads(int i)
{
	return 32 * (unsigned)configs[i].value[0];
}

struct jit_request toy_request(const char *text, int n, int sm)
{
	static struct jit_source source;
	source = (struct jit_source){.path = "kernels/toy.cu", .text = text};
	return (struct jit_request){
	        .kernel = "toy",
	        .n = n,
	        .kases = kases,
	        .configs = configs,
	        .n_fields = 1,
	        .n_params = 2,
	        .sm = sm,
	        .source = text ? &source : NULL,
	};
}

char *toy_read_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	char *text = NULL;
	if (!file)
		return NULL;
	if (fseek(file, 0, SEEK_END) == 0) {
		const long bytes = ftell(file);
		rewind(file);
		text = calloc((size_t)bytes + 1, 1);
		if (text && fread(text, 1, (size_t)bytes, file) != (size_t)bytes) {
			free(text);
			text = NULL;
		}
	}
	fclose(file);
	return text;
}
