#include "kernels/mark.h"
#include "kernels/describe.h"

static const struct param params[] = {MARK_PARAMS(PARAM_ROW)};
static const struct param fields[] = {MARK_FIELDS(FIELD_ROW)};

enum { NS, CYCLES, N_BUFFERS };

static bool legal(const int *kase, const int *config, struct target target)
{
	return mark_legal(*AS(mark_case, kase), *AS(mark_config, config), target);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return shape->m > 0 && legal(kase, config, info->target);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)kase;
	const struct mark_config *c = AS(mark_config, config);
	return (struct grid){.x = (unsigned)shape->m,
	                     .y = 1,
	                     .threads = (unsigned)(c->warps * info->target.lanes)};
}

static double bytes(const struct shape *shape, const int *kase)
{
	(void)kase;
	return 16.0 * shape->m;
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)shape, (void)kase;
	return 0;
}

static enum status parse_shape(const char *text, struct shape *shape)
{
	*shape = (struct shape){0};
	return parse_count(text, "mark shape (multiprocessors)", &shape->m);
}

static void format_shape(const struct shape *shape, char text[64])
{
	snprintf(text, 64, "%d", shape->m);
}

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)kase, (void)config, (void)info;
	b[NS] = (struct buffer){"ns", BUFFER_OUTPUT, DTYPE_U64, (size_t)shape->m, 0};
	b[CYCLES] = (struct buffer){"cycles", BUFFER_OUTPUT, DTYPE_U64, (size_t)shape->m, 0};
	return N_BUFFERS;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct mark_args *)args = (struct mark_args){
	        .ns = memory[NS], .cycles = memory[CYCLES], .n = (unsigned)shape->m};
}

/* What a clock says is not known beforehand: bench/clock.c checks it, two marks at a time. */
static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	(void)kase, (void)data;
	for (int i = 0; i < shape->m; i++) {
		expected[NS][i] = expected[CYCLES][i] = 0;
		tolerance[NS][i] = tolerance[CYCLES][i] = INFINITY;
	}
}

const struct kernel mark_kernel = {
        KERNEL_MEMBERS(mark),
};
