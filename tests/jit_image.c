/* jit_image KERNEL FILE: what NVRTC makes of instances in which every value of the kernel's
 * tunables occurs, for sm_90. Exits with 77 where there is no NVRTC. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/jit.h"
#include "tests/cover.h"

int main(int argc, char **argv)
{
	const struct kernel *kernel = argc == 3 ? kernel_find(argv[1]) : NULL;
	struct target hopper = {.sm = 90, .lanes = 32};
	struct jit_module module = {0};
	char version[16];
	if (!kernel)
		return 2;
	if (jit_version(version) != STATUS_OK) {
		printf("skipped: %s\n", fail_message());
		return 77;
	}
	struct cover cover = cover_values(kernel, hopper);
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
