#include "device/jit.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sources.h"
#include "device/jit_cache.h"
#include "device/library.h"

#define MAX_ARCHS   64
#define MAX_HEADERS 64
#define EXPRESSION  256 /* bytes of "gemv<gemv_case{...}, gemv_config{...}>" */

/* From nvrtc.h, which machines without the toolkit lack. */
struct nvrtc_program;
enum {
	NVRTC_SUCCESS = 0,
	NVRTC_ERROR_COMPILATION = 6,
	NVRTC_ERROR_INTERNAL_ERROR = 11, /* the compiler gave up on this program */
};

static struct {
	void *library;
	int (*get_version)(int *major, int *minor);
	int (*count_archs)(int *n);
	int (*get_archs)(int *archs);
	const char *(*error_text)(int error);
	int (*create)(struct nvrtc_program **program, const char *source, const char *name,
	              int n_headers, const char *const *headers, const char *const *header_names);
	int (*destroy)(struct nvrtc_program **program);
	int (*add_name)(struct nvrtc_program *program, const char *expression);
	int (*compile)(struct nvrtc_program *program, int n_options, const char *const *options);
	int (*lowered_name)(struct nvrtc_program *program, const char *expression,
	                    const char **symbol);
	int (*log_size)(struct nvrtc_program *program, size_t *bytes);
	int (*log)(struct nvrtc_program *program, char *text);
	int (*cubin_size)(struct nvrtc_program *program, size_t *bytes);
	int (*cubin)(struct nvrtc_program *program, char *cubin);
	int (*ptx_size)(struct nvrtc_program *program, size_t *bytes);
	int (*ptx)(struct nvrtc_program *program, char *ptx);
	int n_archs, archs[MAX_ARCHS];
	int major, minor;
} nvrtc;

static void load_nvrtc(void)
{
	const struct library_function functions[] = {
	        {"nvrtcVersion", &nvrtc.get_version},
	        {"nvrtcGetNumSupportedArchs", &nvrtc.count_archs},
	        {"nvrtcGetSupportedArchs", &nvrtc.get_archs},
	        {"nvrtcGetErrorString", &nvrtc.error_text},
	        {"nvrtcCreateProgram", &nvrtc.create},
	        {"nvrtcDestroyProgram", &nvrtc.destroy},
	        {"nvrtcAddNameExpression", &nvrtc.add_name},
	        {"nvrtcCompileProgram", &nvrtc.compile},
	        {"nvrtcGetLoweredName", &nvrtc.lowered_name},
	        {"nvrtcGetProgramLogSize", &nvrtc.log_size},
	        {"nvrtcGetProgramLog", &nvrtc.log},
	        {"nvrtcGetCUBINSize", &nvrtc.cubin_size},
	        {"nvrtcGetCUBIN", &nvrtc.cubin},
	        {"nvrtcGetPTXSize", &nvrtc.ptx_size},
	        {"nvrtcGetPTX", &nvrtc.ptx},
	};
	void *library = library_open("nvrtc", functions, sizeof functions / sizeof functions[0]);
	if (!library)
		return;
	if (nvrtc.get_version(&nvrtc.major, &nvrtc.minor) == NVRTC_SUCCESS &&
	    nvrtc.count_archs(&nvrtc.n_archs) == NVRTC_SUCCESS && nvrtc.n_archs <= MAX_ARCHS &&
	    nvrtc.get_archs(nvrtc.archs) == NVRTC_SUCCESS)
		nvrtc.library = library;
	else
		library_close(library);
}

static enum status nvrtc_open(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, load_nvrtc);
	return nvrtc.library ? STATUS_OK
	                     : fail(STATUS_UNSUPPORTED,
	                            "kernels cannot be compiled here: no libnvrtc.so.13 "
	                            "or .12 was found (part of the CUDA toolkit)");
}

enum status jit_version(char version[16])
{
	enum status status;
	TRY(nvrtc_open());
	snprintf(version, 16, "%d.%d", nvrtc.major, nvrtc.minor);
done:
	return status;
}

/* One jit_compile(). */
struct job {
	const struct jit_request *request;
	struct jit_module *module;
	const char *path, *text; /* of the program */
	char arch[32];           /* "sm_90", or "compute_120" for a GPU that NVRTC does not know */
	char (*expressions)[EXPRESSION]; /* (n) */
	char key[128];                   /* what the images depend on, but for their instances */
	bool is_ptx;
};

/* Real code for the architecture, else PTX of the newest one before it. */
static enum status choose_arch(struct job *job, int sm)
{
	int best = 0;
	for (int i = 0; i < nvrtc.n_archs; i++)
		if (nvrtc.archs[i] <= sm && nvrtc.archs[i] > best)
			best = nvrtc.archs[i];
	if (!best)
		return fail(STATUS_UNSUPPORTED, "NVRTC %d.%d cannot compile for sm_%d", nvrtc.major,
		            nvrtc.minor, sm);
	job->is_ptx = best != sm || job->request->ptx;
	snprintf(job->arch, sizeof job->arch, "%s_%d", job->is_ptx ? "compute" : "sm", best);
	return STATUS_OK;
}

static enum status find_source(struct job *job)
{
	char path[128];
	const struct jit_source *given = job->request->source;
	if (given) {
		job->path = given->path;
		job->text = given->text;
		return STATUS_OK;
	}
	snprintf(path, sizeof path, "kernels/%s.cu", job->request->kernel);
	for (const struct source *s = sources; s->path; s++)
		if (!strcmp(s->path, path)) {
			job->path = s->path;
			job->text = s->text;
			return STATUS_OK;
		}
	return fail(STATUS_USAGE, "no kernel source %s", path);
}

/* "{1,2,3}" at text + at; returns the new end, which is past EXPRESSION when it does not fit. */
static size_t write_list(char *text, size_t at, const int *values, int n)
{
	for (int i = 0; i < n && at < EXPRESSION; i++)
		at += (size_t)snprintf(text + at, EXPRESSION - at, "%c%d", i ? ',' : '{',
		                       values[i]);
	if (at < EXPRESSION)
		at += (size_t)snprintf(text + at, EXPRESSION - at, "}");
	return at;
}

static enum status write_expression(const struct jit_request *request, int i, char *text)
{
	const char *function = request->function ? request->function : request->kernel;
	size_t at = (size_t)snprintf(text, EXPRESSION, "%s<%s_case", function, request->kernel);
	if (at < EXPRESSION)
		at = write_list(text, at, request->kases[i].value, request->n_fields);
	if (at < EXPRESSION)
		at += (size_t)snprintf(text + at, EXPRESSION - at, ", %s_config", request->kernel);
	if (at < EXPRESSION)
		at = write_list(text, at, request->configs[i].value, request->n_params);
	if (at < EXPRESSION)
		at += (size_t)snprintf(text + at, EXPRESSION - at, ">");
	return at < EXPRESSION
	               ? STATUS_OK
	               : fail(STATUS_USAGE, "kernel %s: its configuration does not fit in %d bytes",
	                      request->kernel, EXPRESSION);
}

/* The embedded headers count through the kernel's hash; a given source through its own. */
static void write_key(struct job *job)
{
	char hash[17];
	source_hash(job->request->kernel, hash);
	snprintf(job->key, sizeof job->key, "%s %016" PRIx64 " %s NVRTC %d.%d", hash,
	         fnv1a(FNV1A_START, job->text, strlen(job->text)), job->arch, nvrtc.major,
	         nvrtc.minor);
}

/* The first line with an error in the compiler's log, else what NVRTC calls it. */
static void first_error(struct nvrtc_program *program, int error, char *reason, size_t bytes)
{
	size_t log_bytes = 0;
	char *log = NULL;
	snprintf(reason, bytes, "%s", nvrtc.error_text(error));
	if (nvrtc.log_size(program, &log_bytes) != NVRTC_SUCCESS || !log_bytes)
		return;
	log = malloc(log_bytes + 1);
	if (!log || nvrtc.log(program, log) != NVRTC_SUCCESS)
		goto done;
	log[log_bytes] = '\0';
	const char *found = strstr(log, "error");
	if (!found)
		goto done;
	while (found > log && found[-1] != '\n')
		found--;
	snprintf(reason, bytes, "%.*s", (int)strcspn(found, "\r\n"), found);
done:
	free(log);
}

static enum status take_image(const struct job *job, struct nvrtc_program *program,
                              struct jit_part *part)
{
	int (*size)(struct nvrtc_program *, size_t *) =
	        job->is_ptx ? nvrtc.ptx_size : nvrtc.cubin_size;
	int (*get)(struct nvrtc_program *, char *) = job->is_ptx ? nvrtc.ptx : nvrtc.cubin;
	if (size(program, &part->bytes) != NVRTC_SUCCESS || !part->bytes)
		return fail(STATUS_FAILED, "NVRTC returned no code for %s", job->path);
	part->image = malloc(part->bytes);
	if (!part->image)
		return fail(STATUS_NO_MEMORY, "no memory for compiled code");
	if (get(program, part->image) != NVRTC_SUCCESS)
		return fail(STATUS_FAILED, "NVRTC returned no code for %s", job->path);
	return STATUS_OK;
}

static enum status take_symbols(const struct job *job, struct nvrtc_program *program,
                                const struct jit_part *part)
{
	for (int i = part->first; i < part->first + part->n; i++) {
		const char *symbol;
		if (nvrtc.lowered_name(program, job->expressions[i], &symbol) != NVRTC_SUCCESS)
			return fail(STATUS_FAILED, "NVRTC does not know %s", job->expressions[i]);
		job->module->instances[i].symbol = strdup(symbol);
		if (!job->module->instances[i].symbol)
			return fail(STATUS_NO_MEMORY, "no memory for a symbol");
	}
	return STATUS_OK;
}

static enum status create_program(const struct job *job, struct nvrtc_program **program)
{
	const char *texts[MAX_HEADERS], *names[MAX_HEADERS];
	int n = 0;
	for (const struct source *s = sources; s->path && n < MAX_HEADERS; s++, n++) {
		texts[n] = s->text;
		names[n] = s->path;
	}
	const int error = nvrtc.create(program, job->text, job->path, n, texts, names);
	return error == NVRTC_SUCCESS ? STATUS_OK
	                              : fail(STATUS_FAILED, "NVRTC: %s", nvrtc.error_text(error));
}

/* Compiles the instances of `part` (none: just the source) as one program. *rejected: the compiler
 * found errors, the first of which is `reason`. */
static enum status compile_program(const struct job *job, struct jit_part *part, bool *rejected,
                                   char reason[256])
{
	enum status status;
	struct nvrtc_program *program = NULL;
	char arch[64];
	snprintf(arch, sizeof arch, "--gpu-architecture=%s", job->arch);
	const char *options[] = {"--std=c++20", "-default-device", arch};
	*rejected = false;
	TRY(create_program(job, &program));
	for (int i = part->first; i < part->first + part->n; i++)
		if (nvrtc.add_name(program, job->expressions[i]) != NVRTC_SUCCESS) {
			status = fail(STATUS_FAILED, "NVRTC does not take %s", job->expressions[i]);
			goto done;
		}
	const int error = nvrtc.compile(program, sizeof options / sizeof options[0], options);
	if (error != NVRTC_SUCCESS)
		first_error(program, error, reason, 256);
	*rejected = error == NVRTC_ERROR_COMPILATION || error == NVRTC_ERROR_INTERNAL_ERROR;
	if (*rejected)
		goto done;
	if (error != NVRTC_SUCCESS) {
		status = fail(STATUS_FAILED, "NVRTC: %s: %s", job->path, reason);
		goto done;
	}
	if (part->n) {
		TRY(take_image(job, program, part));
		TRY(take_symbols(job, program, part));
	}
done:
	if (program)
		nvrtc.destroy(&program);
	return status;
}

static void forget_part(struct jit_module *module, struct jit_part *part)
{
	for (int i = part->first; i < part->first + part->n; i++) {
		free(module->instances[i].symbol);
		module->instances[i].symbol = NULL;
	}
	free(part->image);
	part->image = NULL;
}

static enum status read_resources(const struct job *job, const struct jit_part *part)
{
	enum status status = STATUS_OK;
	for (int i = part->first; !job->is_ptx && i < part->first + part->n; i++) {
		struct jit_instance *instance = &job->module->instances[i];
		TRY(cubin_read(part->image, part->bytes, instance->symbol, &instance->resources));
	}
done:
	return status;
}

static enum status keep_part(struct jit_module *module, const struct jit_part *part)
{
	struct jit_part *parts =
	        realloc(module->parts, (size_t)(module->n_parts + 1) * sizeof *parts);
	if (!parts)
		return fail(STATUS_NO_MEMORY, "no memory for compiled code");
	module->parts = parts;
	module->parts[module->n_parts++] = *part;
	return STATUS_OK;
}

/* All that the image of a part depends on; NULL without memory. */
static char *part_key(const struct job *job, const struct jit_part *part)
{
	const size_t bytes = sizeof job->key + (size_t)part->n * (EXPRESSION + 1);
	char *key = malloc(bytes);
	size_t at = key ? (size_t)snprintf(key, bytes, "%s", job->key) : 0;
	for (int i = part->first; key && i < part->first + part->n; i++)
		at += (size_t)snprintf(key + at, bytes - at, "\n%s", job->expressions[i]);
	return key;
}

/* The instances of `part` from the cache, else from the compiler. */
static enum status get_part(const struct job *job, struct jit_part *part, bool *rejected,
                            char reason[256])
{
	enum status status = STATUS_OK;
	char *key = job->request->no_cache ? NULL : part_key(job, part);
	*rejected = false;
	if (key && jit_cache_read(key, part, job->module->instances)) {
		if (read_resources(job, part) == STATUS_OK)
			goto done;
		forget_part(job->module, part);
	}
	TRY(compile_program(job, part, rejected, reason));
	if (*rejected)
		goto done;
	TRY(read_resources(job, part));
	if (key)
		jit_cache_write(key, part, job->module->instances);
done:
	free(key);
	return status;
}

/* What is wrong with the source itself is wrong with every instance. */
static enum status check_source(const struct job *job, bool *rejected)
{
	enum status status;
	struct jit_part none = {0};
	char reason[256];
	TRY(compile_program(job, &none, rejected, reason));
	for (int i = 0; *rejected && i < job->request->n; i++)
		memcpy(job->module->instances[i].reason, reason, sizeof reason);
done:
	return status;
}

/* The instances first .. first + n - 1, in halves when some do not compile. */
static enum status compile_range(const struct job *job, int first, int n)
{
	enum status status;
	struct jit_part part = {.first = first, .n = n};
	char reason[256];
	bool rejected;
	TRY(get_part(job, &part, &rejected, reason));
	if (!rejected) {
		TRY(keep_part(job->module, &part));
		part.image = NULL;
		goto done;
	}
	if (n == 1) {
		memcpy(job->module->instances[first].reason, reason, sizeof reason);
		goto done;
	}
	if (n == job->request->n) {
		TRY(check_source(job, &rejected));
		if (rejected)
			goto done;
	}
	TRY(compile_range(job, first, n / 2));
	TRY(compile_range(job, first + n / 2, n - n / 2));
done:
	free(part.image);
	return status;
}

enum status jit_compile(const struct jit_request *request, struct jit_module *module)
{
	enum status status;
	struct job job = {.request = request, .module = module};
	const size_t n = (size_t)request->n;
	TRY(nvrtc_open());
	TRY(choose_arch(&job, request->sm));
	TRY(find_source(&job));
	write_key(&job);
	job.expressions = malloc((n ? n : 1) * sizeof *job.expressions);
	module->instances = calloc(n ? n : 1, sizeof *module->instances);
	if (!job.expressions || !module->instances) {
		status = fail(STATUS_NO_MEMORY, "no memory for %d instances", request->n);
		goto done;
	}
	module->n_instances = request->n;
	for (int i = 0; i < request->n; i++)
		TRY(write_expression(request, i, job.expressions[i]));
	if (request->n)
		TRY(compile_range(&job, 0, request->n));
done:
	free(job.expressions);
	if (status != STATUS_OK)
		jit_close(module);
	return status;
}

enum status jit_stamped(const struct jit_request *request, unsigned threads, int min_blocks,
                        struct jit_module *module)
{
	static const char format[] = "#define STAMPED(what) %1$s##what\n"
	                             "#define STAMPED_THREADS %2$u\n"
	                             "#define STAMPED_MIN_BLOCKS %3$d\n"
	                             "#include \"kernels/%1$s.h\"\n"
	                             "#include \"device/stamped.h\"\n"
	                             "#define %1$s unstamped\n"
	                             "#include \"kernels/%1$s.cu\"\n"
	                             "#undef %1$s\n";
	char text[512];
	struct jit_request stamped = *request;
	const struct jit_source source = {.path = "stamped.cu", .text = text};
	snprintf(text, sizeof text, format, request->kernel, threads, min_blocks);
	stamped.source = &source;
	return jit_compile(&stamped, module);
}

void jit_close(struct jit_module *module)
{
	jit_unload(module);
	for (int i = 0; i < module->n_instances; i++)
		free(module->instances[i].symbol);
	for (int i = 0; i < module->n_parts; i++)
		free(module->parts[i].image);
	free(module->instances);
	free(module->parts);
	*module = (struct jit_module){0};
}

#ifndef WARPSMITH_CUDA
enum status jit_load(struct device *device, struct jit_module *module)
{
	(void)module;
	return fail(STATUS_UNSUPPORTED, "compiled GPU code cannot run on device %s",
	            device_info(device)->name);
}

void jit_unload(struct jit_module *module)
{
	(void)module;
}
#endif
