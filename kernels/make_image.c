/* make_image FUNCTION ARCHITECTURE OUTPUT: what NVRTC makes of the instances in a kernel's CUDA
 * table that are legal for an architecture ("90", or "compute_90" for PTX) as OUTPUT, and as
 * OUTPUT.c the struct image that a program links. FUNCTION is the kernel, or KERNEL_traced for the
 * twins that report. Exits with 77 where there is no NVRTC. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel.h"
#include "device/jit.h"
#include "kernels/images.h"

/* The instances of one image: rows of a table that have the same code share one. */
struct instances {
	const struct kernel *kernel;
	const struct variant *table; /* (n_rows) */
	int n_rows, n;
	int *index; /* (n_rows) of a row's instance; -1: none */
	struct kase *kases;
	struct config *configs;
};

/* A function is its kernel's namesake, or has a suffix. */
static bool find_kernel(const char *function, struct instances *x)
{
	char name[64];
	const char *suffix = strstr(function, "_traced");
	snprintf(name, sizeof name, "%.*s", (int)(suffix ? suffix - function : 63), function);
	x->kernel = kernel_find(name);
	x->table = x->kernel ? cuda_table(name, &x->n_rows) : NULL;
	return x->table;
}

static int find_instance(const struct instances *x, const struct variant *row)
{
	int i = 0;
	while (i < x->n && (memcmp(&x->kases[i], &row->kase, sizeof row->kase) ||
	                    memcmp(&x->configs[i], &row->config, sizeof row->config)))
		i++;
	return i;
}

static bool collect(struct instances *x, int sm)
{
	const struct target target = {.sm = sm, .lanes = 32};
	const size_t n = (size_t)x->n_rows + 1;
	x->index = calloc(n, sizeof *x->index);
	x->kases = calloc(n, sizeof *x->kases);
	x->configs = calloc(n, sizeof *x->configs);
	if (!x->index || !x->kases || !x->configs)
		return false;
	for (int r = 0; r < x->n_rows; r++) {
		const struct variant *row = &x->table[r];
		x->index[r] = -1;
		if (!x->kernel->legal(row->kase.value, row->config.value, target))
			continue;
		const int i = x->index[r] = find_instance(x, row);
		x->kases[i] = row->kase;
		x->configs[i] = row->config;
		x->n += i == x->n;
	}
	return true;
}

/* The first instance that did not compile. */
static const struct jit_instance *first_bad(const struct jit_module *module)
{
	for (int i = 0; i < module->n_instances; i++)
		if (!module->instances[i].symbol)
			return &module->instances[i];
	return NULL;
}

static bool write_code(const char *path, const struct jit_part *part)
{
	FILE *file = fopen(path, "wb");
	bool written = file && fwrite(part->image, 1, part->bytes, file) == part->bytes;
	written &= file && !fputc(0, file); /* PTX ends so */
	return file && !fclose(file) && written;
}

/* The assembler takes the code in from its file. */
static bool write_source(const char *path, const char *function, int sm, bool ptx,
                         const struct instances *x, const struct jit_module *module)
{
	char name[512];
	snprintf(name, sizeof name, "%s.c", path);
	FILE *file = fopen(name, "w");
	if (!file)
		return false;
	snprintf(name, sizeof name, "image_%s_%s%d", function, ptx ? "compute_" : "", sm);
	fprintf(file,
	        "#include <stddef.h>\n#include \"kernels/images.h\"\n"
	        "__asm__(\".pushsection .rodata\\n.balign 64\\n%s_code: .incbin \\\"%s\\\"\\n"
	        ".popsection\");\n"
	        "extern const unsigned char %s_code[];\n"
	        "static const char *const symbols[] = {\n",
	        name, path, name);
	for (int r = 0; r < x->n_rows; r++)
		if (x->index[r] < 0)
			fprintf(file, "\tNULL,\n");
		else
			fprintf(file, "\t\"%s\",\n", module->instances[x->index[r]].symbol);
	fprintf(file, "};\nconst struct image %s = {\"%s\", %d, %d, %s_code, symbols};\n", name,
	        function, sm, ptx, name);
	const bool written = !ferror(file);
	return !fclose(file) && written;
}

static int fail_with(const char *function, const char *why)
{
	fprintf(stderr, "make_image: %s: %s\n", function, why);
	return 1;
}

int main(int argc, char **argv)
{
	static const char ptx_prefix[] = "compute_";
	struct instances x = {0};
	struct jit_module module = {0};
	char version[16];
	const char *function = argc > 1 ? argv[1] : "";
	if (argc != 4 || !find_kernel(function, &x)) {
		fprintf(stderr, "usage: make_image FUNCTION ARCHITECTURE OUTPUT\n");
		return 2;
	}
	if (jit_version(version) != STATUS_OK) {
		fprintf(stderr, "make_image: %s\n", fail_message());
		return 77;
	}
	const bool ptx = !strncmp(argv[2], ptx_prefix, sizeof ptx_prefix - 1);
	const int sm = atoi(argv[2] + (ptx ? sizeof ptx_prefix - 1 : 0));
	if (!collect(&x, sm))
		return fail_with(function, "no memory");
	const struct jit_request request = {
	        .kernel = x.kernel->name,
	        .function = function,
	        .n = x.n,
	        .kases = x.kases,
	        .configs = x.configs,
	        .n_fields = x.kernel->n_fields,
	        .n_params = x.kernel->n_params,
	        .sm = sm,
	        .ptx = ptx,
	};
	if (jit_compile(&request, &module) != STATUS_OK)
		return fail_with(function, fail_message());
	if (first_bad(&module))
		return fail_with(function, first_bad(&module)->reason);
	if (module.n_parts != 1)
		return fail_with(function, "no instance is legal");
	if (!write_code(argv[3], &module.parts[0]) ||
	    !write_source(argv[3], function, sm, ptx, &x, &module))
		return fail_with(function, "cannot write its image");
	jit_close(&module);
	free(x.index);
	free(x.kases);
	free(x.configs);
	return 0;
}
