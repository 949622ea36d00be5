/* Ranges of lengths: as few as any division has, and where they meet. */
#include "tuner/breakpoints.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tuner/strategy.h"

enum { LENGTHS = 9, CONFIGS = 4, TRIALS = 3000 };

/* Whether one configuration is below the limit at lengths from .. to. */
static bool one_serves(const double *regret, int from, int to, double limit)
{
	for (int c = 0; c < CONFIGS; c++) {
		bool serves = true;
		for (int l = from; l <= to; l++)
			serves &= regret[l * CONFIGS + c] < limit;
		if (serves)
			return true;
	}
	return false;
}

/* The fewest ranges of all 2^(LENGTHS - 1) divisions; bit l: a range ends at length l. */
static int fewest(const double *regret, double limit)
{
	int least = LENGTHS;
	for (unsigned ends = 0; ends < 1u << (LENGTHS - 1); ends++) {
		int n = 0, from = 0;
		bool possible = true;
		for (int l = 0; l < LENGTHS; l++)
			if (l == LENGTHS - 1 || ends >> l & 1) {
				possible &= one_serves(regret, from, l, limit);
				from = l + 1;
				n++;
			}
		if (possible && n < least)
			least = n;
	}
	return least;
}

/* Random regrets with neighbours alike, as those of lengths are; some cannot run. */
static void make_regret(uint64_t *random, double *regret)
{
	for (int l = 0; l < LENGTHS; l++) {
		double best = INFINITY;
		for (int c = 0; c < CONFIGS; c++) {
			double before = l ? regret[(l - 1) * CONFIGS + c] : 0.02;
			double own = fabs((isfinite(before) ? before : 0.02) +
			                  0.1 * (random_unit(random) - 0.5));
			regret[l * CONFIGS + c] = random_unit(random) < 0.02 ? INFINITY : own;
			best = fmin(best, regret[l * CONFIGS + c]);
		}
		if (!isfinite(best))
			regret[l * CONFIGS] = best = 0;
		for (int c = 0; c < CONFIGS; c++)
			regret[l * CONFIGS + c] -= best;
	}
}

static void ranges_are_the_fewest(void **state)
{
	double regret[LENGTHS * CONFIGS];
	int choice[LENGTHS], seen[LENGTHS + 1] = {0};
	uint64_t random = 1;
	(void)state;
	for (int trial = 0; trial < TRIALS; trial++) {
		make_regret(&random, regret);
		int n = ranges_choose(regret, LENGTHS, CONFIGS, REGRET_LIMIT, choice), changes = 1;
		for (int l = 0; l < LENGTHS; l++) {
			assert_true(regret[l * CONFIGS + choice[l]] < REGRET_LIMIT);
			changes += l && choice[l] != choice[l - 1];
		}
		assert_int_equal(changes, n);
		assert_int_equal(n, fewest(regret, REGRET_LIMIT));
		seen[n]++;
	}
	assert_true(seen[2] > 100 && seen[3] > 100 && seen[4] > 100);
}

/* Two ranges could meet anywhere from length 1 to 3: they do where the better one changes. */
static void ranges_meet_where_the_better_one_changes(void **state)
{
	static const double regret[] = {0,      0.05,  INFINITY, INFINITY, /* */
	                                0.0005, 0.019, INFINITY, INFINITY, /* */
	                                0.001,  0,     INFINITY, INFINITY, /* */
	                                0.019,  0,     INFINITY, INFINITY, /* */
	                                0.05,   0,     INFINITY, INFINITY};
	int choice[5];
	(void)state;
	assert_int_equal(ranges_choose(regret, 5, CONFIGS, REGRET_LIMIT, choice), 2);
	assert_int_equal(choice[1], 0);
	assert_int_equal(choice[2], 1);
}

/* Of those that serve a range the one whose worst regret is smallest. */
static void the_best_serves_a_range(void **state)
{
	static const double regret[] = {0.01,  0,     0.005, INFINITY, /* */
	                                0.015, 0.019, 0.007, 0};
	int choice[2];
	(void)state;
	assert_int_equal(ranges_choose(regret, 2, CONFIGS, REGRET_LIMIT, choice), 1);
	assert_int_equal(choice[0], 2);
	assert_int_equal(choice[1], 2);
}

static void lengths_lie_between(void **state)
{
	static const int expected[][3] = {
	        {64, 256, 127}, {1024, 4096, 2039}, {65536, 131072, 92681}};
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(length_between(expected[i][0], expected[i][1]), expected[i][2]);
	assert_int_equal(length_between(1, 2), 1); /* nothing is */
	assert_int_equal(length_between(8, 9), 8);
	assert_int_equal(length_boundary(64, 256), 128);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ranges_are_the_fewest),
	        cmocka_unit_test(ranges_meet_where_the_better_one_changes),
	        cmocka_unit_test(the_best_serves_a_range),
	        cmocka_unit_test(lengths_lie_between),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
