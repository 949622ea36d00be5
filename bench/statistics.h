/* Distribution-free statistics of timings. Pure functions of 1 to MAX_SAMPLES samples. */
#ifndef BENCH_STATISTICS_H
#define BENCH_STATISTICS_H

#define MAX_SAMPLES 4096

/* A median with its interval, in the unit of the samples. */
struct interval {
	double median, lo, hi;
};

/* The largest rank r for which the r-th smallest and r-th largest of n samples enclose the true
 * median with at least this confidence: P(Binomial(n, 1/2) < r) <= (1 - confidence) / 2. 0 when n
 * is too small (95 % needs n = 6). */
int interval_rank(int n, double confidence);

double median(const double *samples, int n);

/* From smallest to largest sample when interval_rank() is 0; coverage is then 1 - 2^(1-n). */
struct interval median_interval(const double *samples, int n, double confidence);

/* (hi - lo) / (2 median) */
double interval_half_width(const struct interval *interval);

enum verdict { VERDICT_UNSURE, VERDICT_SAME, VERDICT_FASTER, VERDICT_SLOWER };
const char *verdict_name(enum verdict verdict);

/* How b's time relates to a's. */
struct comparison {
	enum verdict verdict;  /* of b */
	struct interval ratio; /* time of b / time of a */
	int rounds;
};

/* Exact sign test on rounds that measured a and b side by side: a[i] and b[i] are positive times of
 * round i, the interval is that of the median of log(b[i] / a[i]). When a and b are equal, P(faster
 * or slower) <= 1 - confidence for errors of any distribution, as long as each round is as likely
 * to favour either. `noise` is the relative difference that does not matter: beyond it and with an
 * interval that excludes 1, b is faster or slower; with the whole interval within it, same; else
 * unsure. Too few rounds for the confidence: unsure. */
struct comparison compare_paired(const double *a, const double *b, int n, double confidence,
                                 double noise);

/* The same verdict from two medians measured apart. The ratio's interval spans every quotient of
 * the two, so that its coverage is at least 2 c - 1 for intervals of confidence c; nothing cancels
 * a drift between the two measurements. */
struct comparison compare_intervals(const struct interval *a, const struct interval *b,
                                    double noise);

#endif
