/* Drawing tokens on the device: the shares of the draws, what top-k and top-p leave, ties, values
 * that are not finite, seeds and positions; and that every instance draws the same token as the
 * reference. */
#include "core/kernel.h"
#include "kernels/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

enum { N = 6, DRAWS = 4000, MOST = 151936 };

static struct device *device;
static struct memory {
	unsigned long long *key, *weight, *list;
	float *x;
	int *position;
	unsigned *counters;
} memory;

static const struct variant *variants;
static int n_variants;

static int open_memory(void **state)
{
	(void)state;
	const struct {
		void *memory;
		size_t bytes;
	} buffers[] = {
	        {&memory.key, sizeof *memory.key},
	        {&memory.weight, SAMPLE_BINS * sizeof *memory.weight},
	        {&memory.list, MOST * sizeof *memory.list},
	        {&memory.x, MOST * sizeof *memory.x},
	        {&memory.position, sizeof *memory.position},
	        {&memory.counters, SAMPLE_COUNTERS * sizeof *memory.counters},
	};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
		OK(device_alloc(device, buffers[i].bytes, buffers[i].memory));
		OK(device_fill(device, *(void **)buffers[i].memory, 0, buffers[i].bytes));
	}
	n_variants = kernel_variants(kernel_find("sample"), device_info(device), &variants);
	return n_variants < 2; /* both cases */
}

static int close_memory(void **state)
{
	void *all[] = {memory.key, memory.weight,   memory.list,
	               memory.x,   memory.position, memory.counters};
	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		device_free(device, all[i]);
	device_close(&device);
	return 0;
}

/* As kernels/argmax_key.h has it; NaN is smaller than everything. */
static unsigned long long key_of(const float *x, int i)
{
	const float v = x[i] + 0.0f;
	unsigned bits;
	memcpy(&bits, &v, sizeof bits);
	const unsigned order = isnan(v) ? 0 : bits >> 31 ? ~bits : bits | 0x80000000u;
	return (unsigned long long)order << 32 | ~(unsigned)i;
}

static int argmax(const float *x, int n)
{
	int best = 0;
	for (int i = 1; i < n; i++)
		if (key_of(x, i) > key_of(x, best))
			best = i;
	return best;
}

static void set_logits(const float *x, int n)
{
	OK(device_write(device, memory.x, x, (size_t)n * sizeof *x));
}

/* The token that an instance draws after `position` from the logits that were set. */
static int draw_by(const struct variant *v, const float *x, int n, const struct sampling *s,
                   int position)
{
	const struct kernel *kernel = kernel_find("sample");
	unsigned long long key = key_of(x, argmax(x, n));
	struct sample_args args = {.best = memory.key,
	                           .largest = memory.key,
	                           .x = memory.x,
	                           .position = memory.position,
	                           .weight = memory.weight,
	                           .list = memory.list,
	                           .counters = memory.counters,
	                           .n = n};
	const struct shape shape = {.m = n};
	sampling_bind(s, &args);
	OK(device_write(device, memory.key, &key, sizeof key));
	OK(device_write(device, memory.position, &position, sizeof position));
	OK(device_launch(device, v->entry,
	                 kernel->grid(&shape, v->kase.value, v->config.value, device_info(device)),
	                 &args, sizeof args, (struct launch_options){0}));
	OK(device_read(device, &key, memory.key, sizeof key));
	const int token = (int)~(unsigned)key;
	assert_in_range(token, 0, n - 1);
	assert_true(key == key_of(x, token));
	return token;
}

static bool fits(const struct variant *v, const struct sampling *s)
{
	const struct sample_case *k = (const void *)v->kase.value;
	return k->cut || !sampling_cuts(s);
}

/* The instance with fewest threads: on the host it is the fastest with few logits. */
static const struct variant *smallest(const struct sampling *s)
{
	const struct variant *best = NULL;
	int least = 0;
	for (int i = 0; i < n_variants; i++) {
		const struct sample_config *c = (const void *)variants[i].config.value;
		if (fits(&variants[i], s) && (!best || c->warps * c->blocks < least)) {
			best = &variants[i];
			least = c->warps * c->blocks;
		}
	}
	assert_non_null(best);
	return best;
}

/* How often each token is drawn after positions 0 to DRAWS - 1, each as the reference says. */
static void draw(const float *x, struct sampling s, int count[N])
{
	const struct variant *v = smallest(&s);
	memset(count, 0, N * sizeof *count);
	set_logits(x, N);
	for (int i = 0; i < DRAWS; i++) {
		const int token = draw_by(v, x, N, &s, i);
		assert_int_equal(token, sampling_reference(&s, x, N, i));
		count[token]++;
	}
}

/* Pearson's statistic of the counts, at most five deviations above its mean; tokens without weight
 * were never drawn. */
static void check_shares(const int count[N], const double weight[N])
{
	double total = 0, chi2 = 0;
	int free = -1;
	for (int i = 0; i < N; i++)
		total += weight[i];
	for (int i = 0; i < N; i++) {
		const double expected = DRAWS * weight[i] / total;
		if (expected == 0) {
			assert_int_equal(count[i], 0);
			continue;
		}
		chi2 += (count[i] - expected) * (count[i] - expected) / expected;
		free++;
	}
	if (chi2 > free + 5 * sqrt(2.0 * free))
		fail_msg("chi-square is %g with %d degrees of freedom", chi2, free);
}

static const float logits[N] = {0, 2, -1, 1, 2, -INFINITY};

static void temperature_makes_probabilities(void **state)
{
	static const double temperatures[] = {0.5, 1, 3};
	int count[N];
	double weight[N];
	(void)state;
	for (int t = 0; t < 3; t++) {
		for (int i = 0; i < N; i++)
			weight[i] = exp((double)logits[i] / temperatures[t]);
		draw(logits, (struct sampling){temperatures[t], 0, 1, 1}, count);
		check_shares(count, weight);
	}
}

static void top_k_keeps_the_largest(void **state)
{
	const double one[N] = {[1] = 1}, two[N] = {[1] = 1, [4] = 1};
	const double three[N] = {[1] = exp(1), [4] = exp(1), [3] = 1};
	int count[N];
	(void)state;
	draw(logits, (struct sampling){1, 1, 1, 2}, count); /* of equal logits the lower id */
	check_shares(count, one);
	draw(logits, (struct sampling){1, 2, 1, 2}, count);
	check_shares(count, two);
	draw(logits, (struct sampling){1, 3, 1, 2}, count);
	check_shares(count, three);
	draw(logits, (struct sampling){1, 100, 1, 2}, count);
	assert_true(count[2] > 0);
}

static void top_p_keeps_the_most_probable(void **state)
{
	/* probabilities 0.4, 0.3, 0.2, 0.1 */
	const float four[N] = {logf(0.2f), logf(0.4f), logf(0.1f), logf(0.3f), -INFINITY, NAN};
	const float quarters[N] = {1, 1, -INFINITY, 1, 1, -INFINITY};
	const double one[N] = {[1] = 1}, two[N] = {[1] = 4, [3] = 3}, three[N] = {2, 4, 0, 3};
	const double half[N] = {1, 1}, more[N] = {1, 1, 0, 1};
	int count[N];
	(void)state;
	draw(four, (struct sampling){1, 0, 0.1, 3}, count);
	check_shares(count, one);
	draw(four, (struct sampling){1, 0, 1e-30, 3}, count);
	check_shares(count, one);
	draw(four, (struct sampling){1, 0, 0.6, 3}, count);
	check_shares(count, two);
	draw(four, (struct sampling){1, 0, 0.8, 3}, count);
	check_shares(count, three);
	draw(four, (struct sampling){1, 2, 0.99, 3}, count); /* top-k first: 4/7 and 3/7 */
	check_shares(count, two);
	draw(four, (struct sampling){1, 3, 0.5, 3}, count); /* 4/9 are less than a half */
	check_shares(count, two);
	/* a sum that is the share is enough */
	draw(quarters, (struct sampling){1, 0, 0.5, 3}, count);
	check_shares(count, half);
	draw(quarters, (struct sampling){1, 0, nextafter(0.5, 1), 3}, count);
	check_shares(count, more);
}

static void extreme_logits(void **state)
{
	int count[N];
	const double first[N] = {1}, second[N] = {0, 1}, third[N] = {0, 0, 1};
	const double close[N] = {1, exp(-1)}, ties[N] = {0, 0, 1, 1}, hot[N] = {1, 1, 1, 1, 1, 1};
	(void)state;
	draw((float[N]){3e38f, -3e38f, -3e38f, -3e38f, -3e38f, -3e38f},
	     (struct sampling){1, 0, 1, 4}, count);
	check_shares(count, first);
	draw((float[N]){1000, 999, -1e30f, -1e30f, -1e30f, -1e30f}, (struct sampling){1, 0, 1, 4},
	     count);
	check_shares(count, close);
	draw((float[N]){NAN, NAN, 5, NAN, NAN, NAN}, (struct sampling){1, 3, 0.5, 4}, count);
	check_shares(count, third);
	draw((float[N]){NAN, NAN, NAN, NAN, NAN, NAN}, (struct sampling){1, 3, 0.5, 4}, count);
	check_shares(count, first);
	draw((float[N]){-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
	     (struct sampling){1, 0, 1, 4}, count);
	check_shares(count, first);
	draw((float[N]){NAN, INFINITY, INFINITY, 0, 0, 0}, (struct sampling){1, 0, 1, 4}, count);
	check_shares(count, second);
	draw((float[N]){1, 2, 3, 3, 2, 1}, (struct sampling){1e-300, 0, 1, 4}, count);
	check_shares(count, ties);
	draw((float[N]){-0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f}, (struct sampling){100, 0, 1, 4},
	     count);
	check_shares(count, hot);
}

static void seeds_and_positions_decide(void **state)
{
	const float flat[N] = {0};
	const struct sampling a = {1, 0, 1, 7}, b = {1, 0, 1, 8}, c = {1, 0, 1, 7 | 1ull << 32};
	const struct variant *v = smallest(&a);
	int same[2] = {0};
	(void)state;
	set_logits(flat, N);
	for (int i = 0; i < 1000; i++) {
		const int token = draw_by(v, flat, N, &a, i);
		assert_int_equal(token, draw_by(v, flat, N, &a, i));
		same[0] += token == draw_by(v, flat, N, &b, i);
		same[1] += token == draw_by(v, flat, N, &c, i);
	}
	for (int i = 0; i < 2; i++)
		assert_in_range(same[i], 100, 235); /* 1 in 6 by chance */
}

/* The vectors that come with Random123. */
static void known_answers_of_philox(void **state)
{
	static const struct {
		struct philox counter;
		unsigned key[2];
		struct philox answer;
	} known[] = {
	        {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
	        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
	         {0xffffffff, 0xffffffff},
	         {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
	        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
	         {0xa4093822, 0x299f31d0},
	         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
	};
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		const struct philox seen =
		        philox(known[i].counter, known[i].key[0], known[i].key[1]);
		assert_memory_equal(&seen, &known[i].answer, sizeof seen);
	}
	assert_true(sample_bits(0, 0) == 0xe169c58d6627e8d5);
}

/* Of n equal logits number floor(n u) is drawn, and with top-k or top-p of fewer. */
static void equal_logits_are_drawn_by_index(void **state)
{
	static const struct sampling ways[] = {
	        {0.7, 0, 1, 5}, {0.7, 1000, 1, 5}, {0.7, 0, 0.25, 5}, {0.7, 100000, 0.5, 5}};
	static const int kept[] = {MOST, 1000, MOST / 4, 50000};
	float *x = malloc(MOST * sizeof *x);
	(void)state;
	assert_non_null(x);
	for (int i = 0; i < MOST; i++)
		x[i] = -1.5f;
	set_logits(x, MOST);
	for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
		for (int position = 0; position < 3; position++) {
			const unsigned long long bits = sample_bits(5, position);
			const int expected =
			        (int)(((bits >> 32) * (unsigned)kept[w] +
			               ((bits & 0xffffffff) * (unsigned)kept[w] >> 32)) >>
			              32);
			assert_int_equal(draw_by(smallest(&ways[w]), x, MOST, &ways[w], position),
			                 expected);
		}
	free(x);
}

/* Large vocabularies, flat and steep, by every instance. */
static void every_instance_draws_the_same(void **state)
{
	static const struct sampling ways[] = {
	        {0.1, 0, 1, 9},  {0.8, 0, 1, 9},     {3, 0, 1, 9},        {1, 40, 1, 9},
	        {1, 0, 0.95, 9}, {0.8, 500, 0.9, 9}, {2, 150000, 0.99, 9}};
	const int sizes[] = {MOST, 1000, 33};
	float *x = malloc(MOST * sizeof *x);
	unsigned random = 1;
	(void)state;
	assert_non_null(x);
	for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++) {
		const int n = sizes[z];
		for (int i = 0; i < n; i++) {
			float sum = 0;
			for (int k = 0; k < 4; k++) {
				random = random * 1664525 + 1013904223;
				sum += (float)(random >> 8) * 0x1p-24f - 0.5f;
			}
			x[i] = 5 * sum;
		}
		set_logits(x, n);
		for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
			for (int i = 0; i < n_variants; i++) {
				if (!fits(&variants[i], &ways[w]))
					continue;
				const int position = 100 + (int)w;
				assert_int_equal(draw_by(&variants[i], x, n, &ways[w], position),
				                 sampling_reference(&ways[w], x, n, position));
			}
	}
	free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(temperature_makes_probabilities),
	        cmocka_unit_test(top_k_keeps_the_largest),
	        cmocka_unit_test(top_p_keeps_the_most_probable),
	        cmocka_unit_test(extreme_logits),
	        cmocka_unit_test(seeds_and_positions_decide),
	        cmocka_unit_test(known_answers_of_philox),
	        cmocka_unit_test(equal_logits_are_drawn_by_index),
	        cmocka_unit_test(every_instance_draws_the_same),
	};
	if (device_open(DEVICE, true, &device) != STATUS_OK) {
		fprintf(stderr, "skipped: %s\n", fail_message());
		return 77;
	}
	return cmocka_run_group_tests(tests, open_memory, close_memory);
}
