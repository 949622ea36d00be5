/* What bench, tuner, runner and tests know of a kernel. One `struct kernel` per kernels/NAME.c. */
#ifndef CORE_KERNEL_H
#define CORE_KERNEL_H

#include "core/dtype.h"
#include "core/space.h"
#include "core/variant.h"
#include "device/device.h"

/* A buffer that one launch touches, so that any kernel can be set up, checked and timed by the same
 * code. */
enum buffer_role {
	BUFFER_WEIGHT,  /* read once per launch, rotated through memory for cold timing */
	BUFFER_INPUT,   /* read */
	BUFFER_OUTPUT,  /* written entirely, compared with the reference */
	BUFFER_INOUT,   /* read and written; restored before a checked launch, compared */
	BUFFER_SCRATCH, /* zero before the first launch; each launch leaves it zero or unread */
};

struct buffer {
	const char *name;
	enum buffer_role role;
	int dtype;    /* enum dtype; q8_0 is in device layout */
	size_t count; /* elements */
	float scale;  /* standard deviation of random contents; integers: see kernel.fill */
};
#define MAX_SUGGESTIONS 8
#define MAX_BUFFERS     10

struct kernel {
	const char *name;
	const struct param *params; /* tunables */
	int n_params;
	int n_step_params;  /* the last of them: what matters in a whole decode step alone */
	bool lends_rows;    /* a row of the table serves other shapes near its own too */
	bool tells_beside;  /* its case names no weights, so its rows of the decode loop tell beside
	                       which they were confirmed */
	bool defaults_only; /* its rows and hashes are not in the table: kernels of prompts, and of
	                       steps with a quantised cache */
	const struct param *fields; /* of the case */
	int n_fields;

	/* Whether the instance can exist for a target. */
	bool (*legal)(const int *kase, const int *config, struct target target);
	/* Whether it can run this shape on this device. */
	bool (*valid)(const struct shape *shape, const int *kase, const int *config,
	              const struct device_info *info);
	struct grid (*grid)(const struct shape *shape, const int *kase, const int *config,
	                    const struct device_info *info);
	/* Compulsory traffic of one launch: each input read once, each output written once. */
	double (*bytes)(const struct shape *shape, const int *kase);
	double (*flops)(const struct shape *shape, const int *kase);
	/* Of configurations with the same compiled code, which differ in grid or arguments alone,
	 * makes them one. NULL: each has its own. */
	void (*code_of)(int *config);
	/* Configurations worth a try that are far from the default: places where tunables that fit
	 * each other only together do. Returns their number, at most MAX_SUGGESTIONS; what cannot
	 * run may be among them. NULL: none. */
	int (*suggest)(const struct shape *shape, const int *kase, const struct device_info *info,
	               struct config *configs);

	/* Shapes as text: "896x4864", "14/2/64@1024", "896". Texts of files and command lines go
	 * through kernel_read_shape() and kernel_write_shape(). */
	MUST_CHECK enum status (*parse_shape)(const char *text, struct shape *shape);
	void (*format_shape)(const struct shape *shape, char text[64]);
	/* Sets the fields of the case that follow from the shape (head_dim, group), to 0 ("any")
	 * where no specialised case exists. NULL when the kernel has none. */
	void (*specialise)(const struct shape *shape, int *kase);

	/* One launch as buffers, arguments and reference. buffers() returns their number. fill()
	 * (may be NULL) sets contents that are not random floats; it sees host copies, as do `data`
	 * of reference(). bind() builds the argument struct (args_bytes long) from device pointers.
	 * reference() computes in double precision: expected[b] for each OUTPUT/INOUT buffer b
	 * (count doubles) and tolerance[b], the allowed absolute error per element, argued from the
	 * dtypes. */
	int (*buffers)(const struct shape *shape, const int *kase, const int *config,
	               const struct device_info *info, struct buffer *buffers);
	void (*fill)(const struct shape *shape, const int *kase, void *const *data);
	size_t args_bytes;
	void (*bind)(const struct shape *shape, const int *kase, const int *config,
	             const struct device_info *info, void *const *memory, void *args);
	void (*reference)(const struct shape *shape, const int *kase, const void *const *data,
	                  double *const *expected, double *const *tolerance);
};

/* The members of a `struct kernel` whose functions and tables have the members' names, as in every
 * kernels/NAME.c; what may be missing is set beside it. */
#define KERNEL_MEMBERS(kernel)                                                                    \
	.name = #kernel, .params = params, .n_params = sizeof params / sizeof params[0],          \
	.fields = fields, .n_fields = sizeof fields / sizeof fields[0], .legal = legal,           \
	.valid = valid, .grid = grid, .bytes = bytes, .flops = flops, .parse_shape = parse_shape, \
	.format_shape = format_shape, .buffers = buffers,                                         \
	.args_bytes = sizeof(struct kernel##_args), .bind = bind, .reference = reference

/* All kernels, NULL-terminated (kernels/registry.c). */
extern const struct kernel *const kernels[];
const struct kernel *kernel_find(const char *name);

/* A value of a field as an option names it: "--kv: 'q4_0' is none of bf16, f16". */
MUST_CHECK enum status kernel_parse_field(const struct kernel *kernel, const char *field,
                                          const char *option, const char *text, int *value);

/* All tunables at their defaults. */
struct config config_default(const struct kernel *kernel);

/* parse_shape() of a text in which all numbers fit an int. What the shape runs beside follows:
 * "14/2/64@1024 beside q8_0". */
MUST_CHECK enum status kernel_read_shape(const struct kernel *kernel, const char *text,
                                         struct shape *shape);
void kernel_write_shape(const struct kernel *kernel, const struct shape *shape, char text[64]);
/* The text without what the shape runs beside. Returns `alone`. */
char *shape_alone(const char *text, char alone[64]);
/* Whether two texts are the same but for that. */
bool shape_alike(const char *a, const char *b);

/* Instances compiled into this program for a device's kind: rows of results/tuned.h and defaults in
 * programs that use the table, the declared subset of the space in the tuner. Returns their number.
 */
int kernel_variants(const struct kernel *kernel, const struct device_info *info,
                    const struct variant **variants);

#endif
