#include "kernels/advance.h"
#include "kernels/describe.h"

static const struct param params[] = {ADVANCE_PARAMS(PARAM_ROW)};
static const struct param fields[] = {ADVANCE_FIELDS(FIELD_ROW)};

static bool legal(const int *kase, const int *config, struct target target)
{
	return advance_legal(*AS(advance_case, kase), *AS(advance_config, config), target);
}

/* State of a problem: the position before, and the token that is next. */
enum { POSITION_BEFORE = 6, NEXT_TOKEN = 1234 };
enum { TOKEN, POSITION, HISTORY, BEST, N_BUFFERS };

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	(void)shape;
	return legal(kase, config, info->target);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	(void)shape, (void)kase;
	const struct advance_config *c = AS(advance_config, config);
	return (struct grid){.x = 1, .y = 1, .threads = (unsigned)(c->warps * info->target.lanes)};
}

static double bytes(const struct shape *shape, const int *kase)
{
	(void)shape, (void)kase;
	return 8 *
	       sizeof(int); /* reads key and position, writes token, position, history and key */
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)shape, (void)kase;
	return 1;
}

SHAPE_IS_A_COUNT("advance shape")

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *b)
{
	(void)kase, (void)config, (void)info;
	b[TOKEN] = (struct buffer){"token", BUFFER_OUTPUT, DTYPE_I32, 1, 0};
	b[POSITION] = (struct buffer){"position", BUFFER_INOUT, DTYPE_I32, 1, 0};
	b[HISTORY] = (struct buffer){"history", BUFFER_INOUT, DTYPE_I32, (size_t)shape->m, 0};
	b[BEST] = (struct buffer){"best", BUFFER_INOUT, DTYPE_I32, 2, 0}; /* one key */
	return N_BUFFERS;
}

static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)shape, (void)kase;
	*(int *)data[POSITION] = POSITION_BEFORE;
	((int *)data[BEST])[0] = ~NEXT_TOKEN;
	((int *)data[BEST])[1] = -1;
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	(void)kase, (void)config, (void)info;
	*(struct advance_args *)args = (struct advance_args){
	        .token = memory[TOKEN],
	        .position = memory[POSITION],
	        .history = memory[HISTORY],
	        .best = memory[BEST],
	        .capacity = shape->m,
	};
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	const int *history = data[HISTORY];
	const int position = *(const int *)data[POSITION] + 1, next = NEXT_TOKEN;
	(void)kase, (void)tolerance; /* exact: calloc'ed zeros */
	expected[TOKEN][0] = next;
	expected[POSITION][0] = position;
	for (int i = 0; i < shape->m; i++)
		expected[HISTORY][i] = i == position ? next : history[i];
}

const struct kernel advance_kernel = {
        KERNEL_MEMBERS(advance),
        .fill = fill,
};
