/* Kernel instances compiled when asked for, by NVRTC, from the sources embedded in the program.
 * Compiling needs no GPU. */
#ifndef DEVICE_JIT_H
#define DEVICE_JIT_H

#include "core/variant.h"
#include "device/cubin.h"
#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One requested instance. */
struct jit_instance {
	char *symbol;     /* in the image; NULL when it did not compile */
	char reason[256]; /* why not: first error line of the compiler */
	/* All 0 when the image is PTX. */
	struct cubin_resources resources;
	const void *entry; /* for device_launch(), set by jit_load() */
};

/* A loadable image with the instances first .. first + n - 1. */
struct jit_part {
	void *image; /* cubin, or PTX (NUL-terminated) for a GPU that this NVRTC does not know */
	size_t bytes;
	int first, n;
	void *library; /* set by jit_load() */
};

/* Zeroed before jit_compile(). */
struct jit_module {
	struct jit_instance *instances;
	struct jit_part *parts;
	int n_instances, n_parts;
	struct device *device; /* set by jit_load() */
};

/* What a kernel's source may be replaced by; for tests. */
struct jit_source {
	const char *path, *text; /* "kernels/NAME.cu" */
};

struct jit_request {
	const char *kernel;   /* "gemv": of kernels/gemv.cu */
	const char *function; /* NULL: its name is the kernel's */
	int n;
	const struct kase *kases;        /* n */
	const struct config *configs;    /* n */
	int n_fields, n_params;          /* values used of each */
	int sm;                          /* 90 */
	const struct jit_source *source; /* NULL: the embedded one */
	bool no_cache;
	bool ptx; /* what a GPU gets that this NVRTC does not know; for tests */
};

/* Compiles n instances as one program, or takes it from the cache in
 * ${XDG_CACHE_HOME:-~/.cache}/warpsmith. When the program does not compile, it is split until each
 * bad instance stands alone, so that it costs only itself; the status is then still OK.
 * STATUS_UNSUPPORTED without NVRTC. Threads may compile at the same time. */
MUST_CHECK enum status jit_compile(const struct jit_request *request, struct jit_module *module);

/* The same for instances whose blocks stamp themselves, for launches with stamps. They have the
 * code and the launch bounds of those that they stand for: threads of a block, and its blocks per
 * multiprocessor that the compiler leaves room for. request->source is not used. */
MUST_CHECK enum status jit_stamped(const struct jit_request *request, unsigned threads,
                                   int min_blocks, struct jit_module *module);

/* Makes the compiled instances launchable: sets their `entry`. */
MUST_CHECK enum status jit_load(struct device *device, struct jit_module *module);

/* The same for code that is part of the program, a cubin or PTX, for good: the kernels of a library
 * can be looked up by symbol and launched on any GPU that can run them. */
MUST_CHECK enum status jit_load_code(const void *code, void **library);
MUST_CHECK enum status jit_find_entry(void *library, const char *symbol, const void **entry);

/* The entries become invalid; what was launched must have ended. */
void jit_unload(struct jit_module *module);

/* Unloads and frees all. */
void jit_close(struct jit_module *module);

/* "13.0" of the NVRTC found; fails with STATUS_UNSUPPORTED when there is none. */
MUST_CHECK enum status jit_version(char version[16]);

#ifdef __cplusplus
}
#endif
#endif
