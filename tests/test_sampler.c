/* Choosing tokens: greedy ties and NaN, the shares of random choices, what top-k and top-p leave.
 */
#include "model/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define N     6
#define DRAWS 200000

static void greedy_takes_the_first_of_the_largest(void **state)
{
	(void)state;
	assert_int_equal(sampler_greedy((float[]){1, 3, 2, 3}, 4), 1);
	assert_int_equal(sampler_greedy((float[]){-5, -4, -4}, 3), 1);
	assert_int_equal(sampler_greedy((float[]){NAN, -1, NAN, 2, NAN}, 5), 3);
	assert_int_equal(sampler_greedy((float[]){2, NAN}, 2), 0);
	assert_int_equal(sampler_greedy((float[]){NAN, -INFINITY}, 2), 1);
	assert_int_equal(sampler_greedy((float[]){NAN, NAN}, 2), 0);
	assert_int_equal(sampler_greedy((float[]){1, INFINITY, INFINITY}, 3), 1);
	assert_int_equal(sampler_greedy((float[]){-0.0f, 0.0f}, 2), 0);
}

/* How often each token is chosen in DRAWS draws. */
static void draw(const float *logits, float temperature, int top_k, float top_p, int count[N])
{
	struct sampler s;
	memset(count, 0, N * sizeof *count);
	assert_int_equal(sampler_open(&s, N, temperature, top_k, top_p, 1), STATUS_OK);
	for (int i = 0; i < DRAWS; i++) {
		int32_t id = sampler_next(&s, logits);
		assert_in_range(id, 0, N - 1);
		count[id]++;
	}
	sampler_close(&s);
	sampler_close(&s);
}

/* Counts agree with the probabilities within five standard deviations. */
static void check_shares(const int count[N], const double weight[N])
{
	double total = 0;
	for (int i = 0; i < N; i++)
		total += weight[i];
	for (int i = 0; i < N; i++) {
		double p = weight[i] / total;
		assert_true(fabs(count[i] - DRAWS * p) <= 5 * sqrt(DRAWS * p * (1 - p)));
	}
}

static const float logits[N] = {0, 2, -1, 1, 2, -INFINITY};

static void temperature_makes_probabilities(void **state)
{
	(void)state;
	static const float temperatures[] = {0.5f, 1, 3};
	int count[N];
	double weight[N];
	for (int t = 0; t < 3; t++) {
		for (int i = 0; i < N; i++)
			weight[i] = exp((double)logits[i] / (double)temperatures[t]);
		draw(logits, temperatures[t], 0, 1, count);
		check_shares(count, weight);
	}
}

static void top_k_keeps_the_largest(void **state)
{
	(void)state;
	int count[N];
	const double two[N] = {[1] = 1, [4] = 1};
	const double three[N] = {[1] = exp(1), [4] = exp(1), [3] = 1};
	draw(logits, 1, 2, 1, count);
	check_shares(count, two);
	draw(logits, 1, 3, 1, count);
	check_shares(count, three);
	draw(logits, 1, 1, 1, count);
	assert_int_equal(count[1], DRAWS); /* of equal logits the lower id */
	draw(logits, 1, 100, 1, count);
	assert_true(count[2] > 0);
}

/* Probabilities 0.4, 0.3, 0.2, 0.1. */
static void top_p_keeps_the_most_probable(void **state)
{
	(void)state;
	const float four[N] = {logf(0.2f), logf(0.4f), logf(0.1f), logf(0.3f), -INFINITY, NAN};
	const double two[N] = {[1] = 4, [3] = 3}, three[N] = {[0] = 2, [1] = 4, [3] = 3};
	int count[N];
	draw(four, 1, 0, 0.1f, count);
	assert_int_equal(count[1], DRAWS);
	draw(four, 1, 0, 0.6f, count);
	check_shares(count, two);
	draw(four, 1, 0, 0.8f, count);
	check_shares(count, three);
	draw(four, 1, 2, 0.99f, count); /* top-k first: 4/7 and 3/7 */
	check_shares(count, two);
}

static void extreme_logits(void **state)
{
	(void)state;
	int count[N];
	const double weight[N] = {[0] = 1, [1] = exp(-1)};
	draw((float[N]){3e38f, -3e38f, -3e38f, -3e38f, -3e38f, -3e38f}, 1, 0, 1, count);
	assert_int_equal(count[0], DRAWS);
	draw((float[N]){1000, 999, -1e30f, -1e30f, -1e30f, -1e30f}, 1, 0, 1, count);
	check_shares(count, weight);
	draw((float[N]){NAN, NAN, 5, NAN, NAN, NAN}, 1, 0, 0.5f, count);
	assert_int_equal(count[2], DRAWS);
	draw((float[N]){NAN, NAN, NAN, NAN, NAN, NAN}, 1, 0, 1, count);
	assert_int_equal(count[0], DRAWS);
	draw((float[N]){1, INFINITY, INFINITY, 0, 0, 0}, 1, 0, 1, count);
	assert_int_equal(count[1], DRAWS);
	draw((float[N]){1, 2, 3, 3, 2, 1}, 1e-30f, 0, 1, count);
	assert_int_equal(count[2] + count[3], DRAWS);
	draw((float[N]){1, 2, 3, 3, 2, 1}, 0, 3, 0.5f, count);
	assert_int_equal(count[2], DRAWS); /* temperature 0 is greedy */
}

static void seeds_decide(void **state)
{
	(void)state;
	const float flat[N] = {0};
	struct sampler a, b, c;
	int same = 0;
	assert_int_equal(sampler_open(&a, N, 1, 0, 1, 7), STATUS_OK);
	assert_int_equal(sampler_open(&b, N, 1, 4, 0.9f, 7), STATUS_OK);
	assert_int_equal(sampler_open(&c, N, 1, 0, 1, 8), STATUS_OK);
	/* splitmix64 from 7 gives 0x63cbe1e459320dd7, 0x044c3cd7f43c661c, ... */
	static const int32_t expected[] = {2, 0, 5, 3};
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
		assert_int_equal(sampler_next(&a, flat), expected[i]);
	for (int i = 0; i < 1000; i++)
		same += sampler_next(&a, flat) == sampler_next(&c, flat);
	assert_in_range(same, 100, 250); /* 1 in 6 by chance */
	for (int i = 0; i < 1000; i++)
		assert_in_range(sampler_next(&b, flat), 0, 3);
	sampler_close(&a);
	sampler_close(&b);
	sampler_close(&c);
}

static void options_out_of_range(void **state)
{
	(void)state;
	static const struct {
		float temperature;
		int top_k;
		float top_p;
		const char *says;
	} wrong[] = {
	        {-1, 0, 1, "--temp -1"},  {NAN, 0, 1, "--temp"},  {INFINITY, 0, 1, "--temp inf"},
	        {1, -1, 1, "--top-k -1"}, {1, 0, 0, "--top-p 0"}, {1, 0, 1.5f, "--top-p 1.5"},
	        {1, 0, NAN, "--top-p"},
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct sampler s;
		assert_int_equal(sampler_open(&s, N, wrong[i].temperature, wrong[i].top_k,
		                              wrong[i].top_p, 1),
		                 STATUS_USAGE);
		assert_non_null(strstr(fail_message(), wrong[i].says));
		sampler_close(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(greedy_takes_the_first_of_the_largest),
	        cmocka_unit_test(temperature_makes_probabilities),
	        cmocka_unit_test(top_k_keeps_the_largest),
	        cmocka_unit_test(top_p_keeps_the_most_probable),
	        cmocka_unit_test(extreme_logits),
	        cmocka_unit_test(seeds_decide),
	        cmocka_unit_test(options_out_of_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
