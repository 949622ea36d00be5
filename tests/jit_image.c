/* jit_image KERNEL FILE rows|values: what NVRTC makes, for sm_90, of the instances that programs
 * have, or of some in which every value of the kernel's tunables occurs. Exits with 77 where there
 * is no NVRTC. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/jit.h"
#include "kernels/images.h"
#include "tests/cover.h"

static const struct target hopper = {.sm = 90, .lanes = 32};

static struct cover cover_rows(const struct kernel *kernel)
{
	int n = 0;
	const struct variant *rows = cuda_table(kernel->name, &n);
	struct cover cover = {.kases = calloc((size_t)n, sizeof *cover.kases),
	                      .configs = calloc((size_t)n, sizeof *cover.configs)};
	if (!cover.kases || !cover.configs)
		abort();
	for (int i = 0; i < n; i++) {
		if (!kernel->legal(rows[i].kase.value, rows[i].config.value, hopper))
			continue;
		cover.kases[cover.n] = rows[i].kase;
		cover.configs[cover.n++] = rows[i].config;
	}
	return cover;
}

int main(int argc, char **argv)
{
	const struct kernel *kernel = argc == 4 ? kernel_find(argv[1]) : NULL;
	struct jit_module module = {0};
	char version[16];
	if (!kernel)
		return 2;
	if (jit_version(version) != STATUS_OK) {
		printf("skipped: %s\n", fail_message());
		return 77;
	}
	struct cover cover =
	        strcmp(argv[3], "rows") ? cover_values(kernel, hopper) : cover_rows(kernel);
	const struct jit_request request = {
	        .kernel = kernel->name,
	        .n = cover.n,
	        .kases = cover.kases,
	        .configs = cover.configs,
	        .n_fields = kernel->n_fields,
	        .n_params = kernel->n_params,
	        .sm = hopper.sm,
	};
	FILE *file = fopen(argv[2], "wb");
	bool done = file && jit_compile(&request, &module) == STATUS_OK && module.n_parts == 1 &&
	            fwrite(module.parts[0].image, 1, module.parts[0].bytes, file) ==
	                    module.parts[0].bytes;
	if (file)
		done &= !fclose(file);
	if (!done)
		fprintf(stderr, "%s: %s\n", kernel->name, fail_message());
	jit_close(&module);
	cover_close(&cover);
	return done ? 0 : 1;
}
