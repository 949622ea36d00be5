/* Intervals and verdicts against tables, and their error rates by simulation. */
#include "bench/statistics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { TRIALS = 4000 };

/* SplitMix64 */
static uint64_t random_state;

static double uniform(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static double normal(void)
{
	return sqrt(-2 * log(uniform())) * cos(2 * acos(-1) * uniform());
}

/* Conover, Practical Nonparametric Statistics, table of the binomial distribution with p = 1/2. */
static void ranks_of_95_percent(void **state)
{
	(void)state;
	const struct {
		int n, rank;
	} known[] = {{1, 0},  {5, 0},  {6, 1},   {8, 1},   {9, 2},    {10, 2},
	             {15, 4}, {20, 6}, {30, 10}, {50, 18}, {100, 40}, {301, 134}};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		assert_int_equal(interval_rank(known[i].n, 0.95), known[i].rank);
	assert_int_equal(interval_rank(15, 0.99), 3);
	assert_true(interval_rank(MAX_SAMPLES, 0.95) > 1900);
}

static void medians(void **state)
{
	(void)state;
	const double odd[] = {9, 1, 5}, even[] = {4, 1, 2, 9};
	assert_float_equal(median(odd, 3), 5, 0);
	assert_float_equal(median(even, 4), 3, 0);
	assert_float_equal(median(odd, 1), 9, 0);
	double shuffled[15];
	for (int i = 0; i < 15; i++)
		shuffled[i] = 1 + i * 4 % 15;
	struct interval known = median_interval(shuffled, 15, 0.95);
	assert_float_equal(known.median, 8, 0);
	assert_float_equal(known.lo, 4, 0);
	assert_float_equal(known.hi, 12, 0);
	assert_float_equal(interval_half_width(&known), 0.5, 1e-12);
	struct interval few = median_interval(odd, 3, 0.95);
	assert_float_equal(few.lo, 1, 0);
	assert_float_equal(few.hi, 9, 0);
}

/* Of skewed times, at every sample count on the way: the interval is about the median, not the
 * mean. */
static void intervals_cover_the_median(void **state)
{
	(void)state;
	const int counts[] = {6, 15, 40, 101};
	random_state = 1;
	for (int c = 0; c < 4; c++) {
		int covered = 0;
		for (int trial = 0; trial < TRIALS; trial++) {
			double us[101];
			for (int i = 0; i < counts[c]; i++)
				us[i] = 10 * exp(normal());
			struct interval interval = median_interval(us, counts[c], 0.95);
			covered += interval.lo <= 10 && 10 <= interval.hi;
		}
		/* three standard errors below 95 % */
		assert_true(covered > TRIALS * 0.95 - 3 * sqrt(TRIALS * 0.95 * 0.05));
	}
}

/* Rounds a b b a on a machine that slows by 20 % over the run, jitters by 2 % and now and then
 * takes three times as long. `ratio` is b's true time over a's. */
static void measure(double ratio, int rounds, double *a, double *b)
{
	for (int i = 0; i < rounds; i++) {
		double us[4];
		for (int j = 0; j < 4; j++) {
			double drift = 1 + 0.2 * (4 * i + j) / (4 * rounds);
			us[j] = 10 * drift * exp(0.02 * normal()) * (uniform() < 0.05 ? 3 : 1);
		}
		a[i] = sqrt(us[0] * us[3]);
		b[i] = sqrt(us[1] * us[2]) * ratio;
	}
}

static void count_verdicts(double ratio, int rounds, int counts[4])
{
	for (int v = 0; v < 4; v++)
		counts[v] = 0;
	for (int trial = 0; trial < TRIALS; trial++) {
		double a[64], b[64];
		measure(ratio, rounds, a, b);
		counts[compare_paired(a, b, rounds, 0.95, 0).verdict]++;
	}
}

static void equal_times_are_rarely_told_apart(void **state)
{
	(void)state;
	int counts[4];
	random_state = 2;
	for (int rounds = 5; rounds <= 61; rounds += 8) {
		count_verdicts(1, rounds, counts);
		assert_true(counts[VERDICT_FASTER] + counts[VERDICT_SLOWER] <
		            TRIALS * 0.05 + 3 * sqrt(TRIALS * 0.05 * 0.95));
	}
	count_verdicts(1, 5, counts);
	assert_int_equal(counts[VERDICT_UNSURE], TRIALS); /* five rounds cannot reach 95 % */
}

static void different_times_are_told_apart(void **state)
{
	(void)state;
	int counts[4];
	random_state = 3;
	count_verdicts(1.03, 41, counts);
	assert_true(counts[VERDICT_SLOWER] > TRIALS * 95 / 100);
	assert_int_equal(counts[VERDICT_FASTER], 0);
	count_verdicts(1 / 1.03, 41, counts);
	assert_true(counts[VERDICT_FASTER] > TRIALS * 95 / 100);
	assert_int_equal(counts[VERDICT_SLOWER], 0);
}

/* Verdicts of a ratio of medians with its interval. */
static void noise_is_what_does_not_matter(void **state)
{
	(void)state;
	const struct {
		double median, lo, hi, noise;
		enum verdict verdict;
	} known[] = {
	        {1.02, 1.01, 1.03, 0.01, VERDICT_SLOWER},
	        {1.02, 1.01, 1.03, 0.05, VERDICT_SAME},
	        {0.98, 0.97, 0.99, 0.01, VERDICT_FASTER},
	        {0.98, 0.97, 1.01, 0.01, VERDICT_UNSURE},
	        {1.005, 0.995, 1.008, 0.01, VERDICT_SAME},
	        {1.005, 1.001, 1.02, 0.01, VERDICT_UNSURE},
	        {1.00, 0.90, 1.10, 0.01, VERDICT_UNSURE},
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		struct interval a = {1, 1, 1}, b = {known[i].median, known[i].lo, known[i].hi};
		assert_int_equal(compare_intervals(&a, &b, known[i].noise).verdict,
		                 known[i].verdict);
	}
	struct interval a = {10, 9, 11}, b = {20, 19, 21};
	struct comparison twice = compare_intervals(&a, &b, 0.01);
	assert_int_equal(twice.verdict, VERDICT_SLOWER);
	assert_float_equal(twice.ratio.median, 2, 1e-12);
	assert_float_equal(twice.ratio.lo, 19.0 / 11, 1e-12);
	assert_float_equal(twice.ratio.hi, 21.0 / 9, 1e-12);
	assert_string_equal(verdict_name(twice.verdict), "slower");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ranks_of_95_percent),
	        cmocka_unit_test(medians),
	        cmocka_unit_test(intervals_cover_the_median),
	        cmocka_unit_test(equal_times_are_rarely_told_apart),
	        cmocka_unit_test(different_times_are_told_apart),
	        cmocka_unit_test(noise_is_what_does_not_matter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
