#include "kernels/stream.h"
#include "kernels/describe.h"

enum { DATA, RESULT };

static const struct param params[] = {STREAM_PARAMS(PARAM_ROW)};
static const struct param fields[] = {STREAM_FIELDS(FIELD_ROW)};

static bool legal(const int *kase, const int *config, struct target target)
{
	return stream_legal(*AS(stream_case, kase), *AS(stream_config, config), target);
}

static bool valid(const struct shape *shape, const int *kase, const int *config,
                  const struct device_info *info)
{
	return shape->m > 0 && legal(kase, config, info->target);
}

static struct grid grid(const struct shape *shape, const int *kase, const int *config,
                        const struct device_info *info)
{
	const struct stream_config *c = AS(stream_config, config);
	const unsigned threads = (unsigned)(c->warps * info->target.lanes);
	const unsigned most = (unsigned)(info->sm_count * c->blocks);
	const unsigned tiles = div_up((size_t)shape->m * STREAM_SHAPE_BYTES / STREAM_WORD_BYTES,
	                              (size_t)threads * (size_t)c->unroll);
	(void)kase;
	return (struct grid){.x = tiles < most ? tiles : most, .y = 1, .threads = threads};
}

static double bytes(const struct shape *shape, const int *kase)
{
	return (AS(stream_case, kase)->copy ? 2.0 : 1.0) * (double)STREAM_SHAPE_BYTES * shape->m;
}

static double flops(const struct shape *shape, const int *kase)
{
	(void)shape, (void)kase;
	return 0;
}

SHAPE_IS_A_COUNT("stream shape (KiB)")

static int buffers(const struct shape *shape, const int *kase, const int *config,
                   const struct device_info *info, struct buffer *buffers)
{
	size_t count = (size_t)shape->m * STREAM_SHAPE_BYTES / sizeof(float);
	(void)config, (void)info;
	buffers[DATA] = (struct buffer){"x", BUFFER_WEIGHT, DTYPE_F32, count, 1};
	if (AS(stream_case, kase)->copy)
		buffers[RESULT] = (struct buffer){"y", BUFFER_OUTPUT, DTYPE_F32, count, 0};
	else
		buffers[RESULT] = (struct buffer){"sum", BUFFER_INOUT, DTYPE_I32, 1, 0};
	return 2;
}

static void fill(const struct shape *shape, const int *kase, void *const *data)
{
	(void)shape;
	if (!AS(stream_case, kase)->copy)
		*(int *)data[RESULT] = 1; /* launches add to what is there */
}

static void bind(const struct shape *shape, const int *kase, const int *config,
                 const struct device_info *info, void *const *memory, void *args)
{
	bool copy = AS(stream_case, kase)->copy;
	(void)config, (void)info;
	*(struct stream_args *)args = (struct stream_args){
	        .x = memory[DATA],
	        .y = copy ? memory[RESULT] : NULL,
	        .sum = copy ? NULL : memory[RESULT],
	        .n = (size_t)shape->m * STREAM_SHAPE_BYTES / STREAM_WORD_BYTES,
	};
}

static void reference(const struct shape *shape, const int *kase, const void *const *data,
                      double *const *expected, double *const *tolerance)
{
	size_t n = (size_t)shape->m * STREAM_SHAPE_BYTES / sizeof(float);
	const float *x = data[DATA];
	const unsigned *words = data[DATA];
	if (AS(stream_case, kase)->copy) {
		for (size_t i = 0; i < n; i++) {
			expected[RESULT][i] = x[i];
			tolerance[RESULT][i] = 0;
		}
		return;
	}
	unsigned sum = *(const unsigned *)data[RESULT];
	for (size_t i = 0; i < n; i++)
		sum += words[i];
	expected[RESULT][0] = (int)sum;
	tolerance[RESULT][0] = 0;
}

const struct kernel stream_kernel = {
        KERNEL_MEMBERS(stream),
        .fill = fill,
};
