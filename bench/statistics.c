#include "bench/statistics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void sort_copy(const double *samples, int n, double *to)
{
	assert(n >= 1 && n <= MAX_SAMPLES);
	memcpy(to, samples, (size_t)n * sizeof *to);
	qsort(to, (size_t)n, sizeof *to, by_value);
}

static double middle(const double *ascending, int n)
{
	return (ascending[(n - 1) / 2] + ascending[n / 2]) / 2;
}

int interval_rank(int n, double confidence)
{
	/* log P(X = k) for X ~ Binomial(n, 1/2), summed from k = 0 */
	double below = 0, log_term = -n * log(2), limit = (1 - confidence) / 2;
	int rank = 0;
	while (rank < n / 2) {
		below += exp(log_term);
		if (below > limit)
			break;
		log_term += log((double)(n - rank) / (rank + 1));
		rank++;
	}
	return rank;
}

double median(const double *samples, int n)
{
	double ascending[MAX_SAMPLES];
	sort_copy(samples, n, ascending);
	return middle(ascending, n);
}

struct interval median_interval(const double *samples, int n, double confidence)
{
	double ascending[MAX_SAMPLES];
	sort_copy(samples, n, ascending);
	int rank = interval_rank(n, confidence);
	if (rank < 1)
		rank = 1;
	return (struct interval){middle(ascending, n), ascending[rank - 1], ascending[n - rank]};
}

double interval_half_width(const struct interval *interval)
{
	return (interval->hi - interval->lo) / (2 * interval->median);
}

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[] = {
	        [VERDICT_UNSURE] = "unsure",
	        [VERDICT_SAME] = "same",
	        [VERDICT_FASTER] = "faster",
	        [VERDICT_SLOWER] = "slower",
	};
	return names[verdict];
}

static enum verdict judge(const struct interval *ratio, double noise)
{
	double most = 1 + noise, least = 1 / most;
	if (ratio->hi < 1 && ratio->median < least)
		return VERDICT_FASTER;
	if (ratio->lo > 1 && ratio->median > most)
		return VERDICT_SLOWER;
	return ratio->lo >= least && ratio->hi <= most ? VERDICT_SAME : VERDICT_UNSURE;
}

struct comparison compare_paired(const double *a, const double *b, int n, double confidence,
                                 double noise)
{
	double logs[MAX_SAMPLES];
	struct comparison result = {.rounds = n};
	for (int i = 0; i < n; i++)
		logs[i] = log(b[i] / a[i]);
	struct interval i = median_interval(logs, n, confidence);
	result.ratio = (struct interval){exp(i.median), exp(i.lo), exp(i.hi)};
	if (interval_rank(n, confidence) > 0)
		result.verdict = judge(&result.ratio, noise);
	return result;
}

struct comparison compare_intervals(const struct interval *a, const struct interval *b,
                                    double noise)
{
	struct comparison result = {
	        .ratio = {b->median / a->median, b->lo / a->hi, b->hi / a->lo},
	};
	result.verdict = judge(&result.ratio, noise);
	return result;
}
