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

#define ALIGNMENT 64

static const char ptx_prefix[] = "compute_";

struct image_name {
	const char *function;
	int sm;
	bool ptx;
};

/* The instances of one image: rows of a table that have the same code share one. */
struct instances {
	const struct kernel *kernel;
	const struct variant *table; /* (n_rows) */
	int n_rows, n;
	int *index;                 /* (n_rows) of a row's instance; -1: none */
	struct kase *kases;         /* (n) */
	struct config *configs;     /* (n) */
	struct jit_module *modules; /* (n) */
};

/* Of an instance's code in the file. */
static size_t padded(size_t bytes)
{
	return (bytes + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

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
	x->modules = calloc(n, sizeof *x->modules);
	if (!x->index || !x->kases || !x->configs || !x->modules)
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

/* NVRTC takes an architecture that it does not know for the newest before it, as PTX. */
static bool is_for(const struct image_name *name, const struct jit_part *part)
{
	char target[32];
	snprintf(target, sizeof target, ".target sm_%d", name->sm);
	return name->ptx ? strstr(part->image, target) != NULL
	                 : part->bytes > 4 && !memcmp(part->image, "\177ELF", 4);
}

/* Each is a program of its own: after a tune only new ones are compiled, and the rest come from the
 * cache. */
static enum status compile(const struct image_name *name, struct instances *x)
{
	enum status status = STATUS_OK;
	for (int i = 0; i < x->n; i++) {
		struct jit_module *module = &x->modules[i];
		const struct jit_request request = {.kernel = x->kernel->name,
		                                    .function = name->function,
		                                    .n = 1,
		                                    .kases = &x->kases[i],
		                                    .configs = &x->configs[i],
		                                    .n_fields = x->kernel->n_fields,
		                                    .n_params = x->kernel->n_params,
		                                    .sm = name->sm,
		                                    .ptx = name->ptx};
		TRY(jit_compile(&request, module));
		if (!module->instances[0].symbol)
			status = fail(STATUS_FAILED, "%s", module->instances[0].reason);
		else if (!is_for(name, &module->parts[0]))
			status = fail(STATUS_UNSUPPORTED, "this NVRTC does not know sm_%d",
			              name->sm);
		if (status != STATUS_OK)
			goto done;
	}
done:
	return status;
}

/* One behind the other, at multiples of ALIGNMENT; PTX ends with a NUL. */
static bool write_code(const char *path, const struct instances *x)
{
	static const char zeros[ALIGNMENT];
	FILE *file = fopen(path, "wb");
	bool written = file;
	for (int i = 0; written && i < x->n; i++) {
		const struct jit_part *part = x->modules[i].parts;
		const size_t bytes = padded(part->bytes);
		written = fwrite(part->image, 1, part->bytes, file) == part->bytes &&
		          fwrite(zeros, 1, bytes - part->bytes, file) == bytes - part->bytes;
	}
	return file && !fclose(file) && written;
}

/* The assembler takes the code in from its file. */
static bool write_source(const char *path, const struct image_name *name, const struct instances *x)
{
	char text[4096];
	const bool fits = snprintf(text, sizeof text, "%s.c", path) < (int)sizeof text;
	FILE *file = fits ? fopen(text, "w") : NULL;
	if (!file)
		return false;
	snprintf(text, sizeof text, "image_%s_%s%d", name->function, name->ptx ? ptx_prefix : "",
	         name->sm);
	fprintf(file,
	        "#include <stddef.h>\n#include \"kernels/images.h\"\n"
	        "__asm__(\".pushsection .rodata\\n.balign %d\\n%s_code: .incbin \\\"%s\\\"\\n"
	        ".popsection\");\n"
	        "extern const unsigned char %s_code[];\n"
	        "static const struct image_part parts[] = {\n",
	        ALIGNMENT, text, path, text);
	for (int r = 0; r < x->n_rows; r++) {
		size_t at = 0;
		for (int i = 0; i < x->index[r]; i++)
			at += padded(x->modules[i].parts->bytes);
		if (x->index[r] < 0)
			fprintf(file, "\t{NULL, NULL},\n");
		else
			fprintf(file, "\t{%s_code + %zu, \"%s\"},\n", text, at,
			        x->modules[x->index[r]].instances[0].symbol);
	}
	fprintf(file, "};\nconst struct image %s = {\"%s\", %d, %d, parts};\n", text,
	        name->function, name->sm, name->ptx);
	const bool written = !ferror(file);
	return !fclose(file) && written;
}

static void close_instances(struct instances *x)
{
	for (int i = 0; i < x->n; i++)
		jit_close(&x->modules[i]);
	free(x->modules);
	free(x->index);
	free(x->kases);
	free(x->configs);
}

/* "90", or "compute_90" for PTX. */
static bool parse_architecture(const char *text, struct image_name *name)
{
	char *end;
	name->ptx = !strncmp(text, ptx_prefix, strlen(ptx_prefix));
	text += name->ptx ? strlen(ptx_prefix) : 0;
	name->sm = (int)strtol(text, &end, 10);
	return end > text && !*end && name->sm > 0 && name->sm < 1000;
}

static enum status make(const struct image_name *name, const char *path, struct instances *x)
{
	enum status status = STATUS_OK;
	if (!collect(x, name->sm))
		status = fail(STATUS_NO_MEMORY, "no memory");
	else if (!x->n)
		status = fail(STATUS_USAGE, "no instance is legal");
	if (status != STATUS_OK)
		goto done;
	TRY(compile(name, x));
	if (!write_code(path, x) || !write_source(path, name, x))
		status = fail(STATUS_FAILED, "cannot write %s", path);
done:
	return status;
}

int main(int argc, char **argv)
{
	struct instances x = {0};
	struct image_name name;
	char version[16];
	if (argc != 4 || !find_kernel(argv[1], &x) || !parse_architecture(argv[2], &name) ||
	    strpbrk(argv[3], "\"\\")) {
		fprintf(stderr, "usage: make_image FUNCTION ARCHITECTURE OUTPUT\n");
		return 2;
	}
	name.function = argv[1];
	if (jit_version(version) != STATUS_OK) {
		fprintf(stderr, "make_image: %s\n", fail_message());
		return 77;
	}
	const enum status status = make(&name, argv[3], &x);
	if (status != STATUS_OK)
		fprintf(stderr, "make_image: %s for %s: %s\n", argv[1], argv[2], fail_message());
	close_instances(&x);
	return status != STATUS_OK;
}
