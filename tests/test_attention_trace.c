/* What traced attention says of itself: right outputs as its twin has them, and counts, scores and
 * sums that add up. */
#include "bench/problem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/gqa_attention.h"
#include "model/cache.h"

enum { SEED = 11, MAX_HEADS = 64, MAX_SPLITS = 132 };

static struct device *device;
static const struct kernel *kernel;

static int open_device(void **state)
{
	(void)state;
	kernel = kernel_find("gqa_attention");
	return device_open(SIMT_WARP == 1 ? "host" : "host32", true, &device);
}

static int close_device(void **state)
{
	(void)state;
	device_close(&device);
	return 0;
}

static void read_back(const struct problem *problem, const char *buffer, size_t offset, void *to,
                      size_t bytes)
{
	const char *memory = problem_memory(problem, buffer, 0);
	assert_int_equal(device_read(device, to, memory + offset, bytes), STATUS_OK);
}

/* q k scale of one key, in double precision; *size is what errors are proportional to. */
static double score(const struct problem *problem, const struct shape *shape, int dtype, int head,
                    int key, double *size)
{
	const size_t d = (size_t)shape->head_dim;
	const size_t kv_head = (size_t)(head / (shape->m / shape->k));
	const size_t row = kv_head * (size_t)shape->len + (size_t)key;
	const size_t count = (size_t)shape->k * (size_t)shape->len * d;
	float q[GQA_ATTENTION_MAX_HEAD_DIM], k[GQA_ATTENTION_MAX_HEAD_DIM];
	unsigned char stored[sizeof k];
	double sum = 0, squares = 0;
	read_back(problem, "q", (size_t)head * d * sizeof *q, q, d * sizeof *q);
	assert_int_equal(cache_read(device, dtype, problem_memory(problem, "k", 0), count, row * d,
	                            stored, d),
	                 STATUS_OK);
	dtype_to_f32(dtype, stored, k, d);
	for (size_t i = 0; i < d; i++) {
		sum += (double)q[i] * k[i];
		squares += (double)q[i] * k[i] * q[i] * k[i];
	}
	*size = (fabs(sum) + sqrt(squares)) / sqrt((double)d);
	return sum / sqrt((double)d);
}

/* The splits of a head take runs of keys in turn, and make up what the head says. */
static void check_head(const struct problem *problem, const struct shape *shape, int dtype,
                       int head, const struct attention_head_trace *whole,
                       const struct attention_split_trace *splits)
{
	int keys = 0;
	float top = -INFINITY;
	double sum = 0;
	assert_int_equal(whole->position, shape->len - 1);
	assert_int_equal(whole->keys, shape->len);
	assert_true(fabs(whole->weight_sum - 1) < 1e-5);
	for (int s = 0; s < whole->splits; s++) {
		assert_int_equal(splits[s].first_key, s * whole->run);
		assert_true(splits[s].keys > 0);
		assert_true(attention_key_of(splits[s].keys - 1, s, whole->splits, whole->run) <
		            shape->len);
		for (int i = 0; i < ATTENTION_TRACE_KEYS && i < splits[s].keys; i++) {
			double size;
			const int key = attention_key_of(i, s, whole->splits, whole->run);
			const double expected = score(problem, shape, dtype, head, key, &size);
			/* f32 sums of products of which one factor has 16 bits, at least */
			assert_true(fabs(splits[s].score[i] - expected) <= 1e-5 * size);
		}
		keys += splits[s].keys;
		top = fmaxf(top, splits[s].max);
	}
	for (int s = 0; s < whole->splits; s++)
		sum += splits[s].sum * exp((double)splits[s].max - top);
	assert_int_equal(keys, shape->len);
	assert_true(whole->max == top);
	assert_true(fabs(sum - whole->sum) < 1e-3 * sum);
}

static void check_shape(const struct variant *v, const struct shape *shape)
{
	static struct attention_head_trace heads[MAX_HEADS];
	static struct attention_split_trace splits[MAX_SPLITS];
	struct problem *problem;
	const size_t n_splits =
	        kernel->grid(shape, v->kase.value, v->config.value, device_info(device)).y;
	assert_in_range(n_splits, 1, MAX_SPLITS);
	assert_in_range(shape->m, 1, MAX_HEADS);
	assert_int_equal(problem_open(device, kernel, v->kase.value, shape, SEED, 1, &problem),
	                 STATUS_OK);
	if (problem_check(problem, v->traced, v->config.value))
		fail_msg("%s", fail_message());
	read_back(problem, "head_trace", 0, heads, (size_t)shape->m * sizeof *heads);
	for (int h = 0; h < shape->m; h++) {
		read_back(problem, "split_trace", (size_t)h * n_splits * sizeof *splits, splits,
		          n_splits * sizeof *splits);
		check_head(problem, shape, v->kase.value[2], h, &heads[h], splits);
	}
	problem_close(&problem);
}

static void traces_add_up(void **state)
{
	(void)state;
	static const int lengths[] = {1, 5, 63, 1000};
	const struct variant *variants;
	const int n = kernel_variants(kernel, device_info(device), &variants);
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		const int head_dim = variants[i].kase.value[0], group = variants[i].kase.value[1];
		struct shape shape = {2 * group, 2, 0, head_dim};
		if (!head_dim)
			shape = (struct shape){
			        9, 3, 0, dtype_block(variants[i].kase.value[2]) > 1 ? 96 : 80};
		assert_non_null(variants[i].traced);
		for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
			shape.len = lengths[l];
			check_shape(&variants[i], &shape);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(traces_add_up)};
	return cmocka_run_group_tests(tests, open_device, close_device);
}
