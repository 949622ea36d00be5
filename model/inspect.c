#include "model/inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OUTLIER_DEVIATIONS 6
#define LARGE_BIAS         8 /* far beyond what a weight of unit-scale activations reaches */
#define SHOWN              4 /* outliers listed by value */
#define BAR                50

/* Outliers are counted by how many deviations they are from the mean; the first bin has large
 * biases that are not far away. */
static const double bin_from[] = {0, OUTLIER_DEVIATIONS, 8, 12, 16, 24, 32, 64};
enum { N_BINS = sizeof bin_from / sizeof *bin_from };

struct outlier {
	size_t index;
	float value;
};

struct summary {
	size_t n, not_finite, outliers, bins[N_BINS];
	double min, max, mean, deviation;
	struct outlier shown[SHOWN]; /* largest magnitude first */
	int n_shown;
};

struct inspection {
	FILE *to;
	bool biases; /* this pass prints QKV biases, the other one the rest */
	size_t not_finite, bins[N_BINS];
	char first[GGUF_MAX_NAME + 1]; /* tensor with the first value that is not finite */
};

static bool is_qkv_bias(const char *name)
{
	return strstr(name, ".attn_q.bias") || strstr(name, ".attn_k.bias") ||
	       strstr(name, ".attn_v.bias");
}

static void summarise_row(struct summary *s, const float *row, size_t n, double *sum,
                          double *squares)
{
	for (size_t i = 0; i < n; i++) {
		double v = (double)row[i];
		if (!isfinite(v)) {
			s->not_finite++;
			continue;
		}
		s->min = fmin(s->min, v);
		s->max = fmax(s->max, v);
		*sum += v;
		*squares += v * v;
	}
}

/* Keeps the SHOWN largest magnitudes. */
static void keep_outlier(struct summary *s, size_t index, float value)
{
	int at = s->n_shown < SHOWN ? s->n_shown++ : SHOWN;
	while (at > 0 && fabsf(s->shown[at - 1].value) < fabsf(value)) {
		if (at < SHOWN)
			s->shown[at] = s->shown[at - 1];
		at--;
	}
	if (at < SHOWN)
		s->shown[at] = (struct outlier){index, value};
}

static int bin_of(double deviations)
{
	int bin = N_BINS - 1;
	while (bin > 0 && !(deviations >= bin_from[bin]))
		bin--;
	return bin;
}

static enum status summarise(const struct tensor *t, struct summary *s)
{
	double sum = 0, squares = 0;
	bool bias = is_qkv_bias(t->name);
	float *row = malloc(t->cols * sizeof *row);
	*s = (struct summary){.n = t->rows * t->cols, .min = INFINITY, .max = -INFINITY};
	if (!row)
		return fail(STATUS_NO_MEMORY, "out of host memory for a row of '%s'", t->name);
	for (size_t r = 0; r < t->rows; r++) {
		tensor_rows_f32(t, r, 1, row);
		summarise_row(s, row, t->cols, &sum, &squares);
	}
	double n = (double)(s->n - s->not_finite);
	s->mean = sum / n;
	s->deviation = sqrt(fmax(0, squares / n - s->mean * s->mean));
	for (size_t r = 0; r < t->rows; r++) {
		tensor_rows_f32(t, r, 1, row);
		for (size_t i = 0; i < t->cols; i++) {
			double distance = fabs((double)row[i] - s->mean);
			if (distance > OUTLIER_DEVIATIONS * s->deviation ||
			    (bias && fabsf(row[i]) > LARGE_BIAS)) {
				s->outliers++;
				s->bins[bin_of(distance / s->deviation)]++;
				keep_outlier(s, r * t->cols + i, row[i]);
			}
		}
	}
	free(row);
	return STATUS_OK;
}

/* "6 to 8" */
static const char *bin_name(int bin, char name[32])
{
	if (bin + 1 < N_BINS)
		snprintf(name, 32, "%g to %g", bin_from[bin], bin_from[bin + 1]);
	else
		snprintf(name, 32, "%g and more", bin_from[bin]);
	return name;
}

/* All tensors' outliers by their distance. */
static void print_histogram(const struct inspection *in)
{
	size_t most = 1;
	for (int i = 0; i < N_BINS; i++)
		most = in->bins[i] > most ? in->bins[i] : most;
	fprintf(in->to, "%-14s %9s\n", "deviations", "outliers");
	for (int i = 0; i < N_BINS; i++) {
		char name[32], bar[BAR + 1] = "";
		memset(bar, '#', (in->bins[i] * BAR + most - 1) / most);
		fprintf(in->to, "%-14s %9zu%s%s\n", bin_name(i, name), in->bins[i],
		        bar[0] ? "  " : "", bar);
	}
}

static enum status print_tensor(void *context, const struct tensor *t)
{
	enum status status;
	struct inspection *in = context;
	struct summary s;
	char shape[48];
	if (is_qkv_bias(t->name) != in->biases)
		return STATUS_OK;
	TRY(summarise(t, &s));
	snprintf(shape, sizeof shape, "%zux%zu", t->rows, t->cols);
	fprintf(in->to, "%-26s %-5s %-14s %11.4g %11.4g %11.4g %11.4g %9zu %8zu", t->name,
	        dtype_name(t->dtype), shape, s.min, s.max, s.mean, s.deviation, s.not_finite,
	        s.outliers);
	for (int i = 0; i < s.n_shown; i++)
		fprintf(in->to, "%s[%zu]=%.4g", i ? " " : "  ", s.shown[i].index,
		        (double)s.shown[i].value);
	if (in->biases && (s.max > LARGE_BIAS || s.min < -LARGE_BIAS))
		fprintf(in->to, "  legitimate: Qwen2 QKV biases reach such values");
	if (s.not_finite)
		fprintf(in->to, "  VIOLATION: NaN or infinite");
	fprintf(in->to, "\n");
	if (s.not_finite && !in->not_finite)
		snprintf(in->first, sizeof in->first, "%s", t->name);
	in->not_finite += s.not_finite;
	for (int i = 0; i < N_BINS; i++)
		in->bins[i] += s.bins[i];
done:
	return status;
}

enum status inspect(const struct model *model, FILE *to)
{
	enum status status;
	struct inspection in = {.to = to, .biases = true};
	fprintf(to, "%-26s %-5s %-14s %11s %11s %11s %11s %9s %8s  %s\n", "tensor", "type", "shape",
	        "min", "max", "mean", "deviation", "NaN+Inf", "outliers",
	        "largest outliers [index]=value");
	TRY(model_each_tensor(model, print_tensor, &in));
	in.biases = false;
	TRY(model_each_tensor(model, print_tensor, &in));
	fprintf(to, "outliers: beyond %d deviations from the mean, or a QKV bias beyond +-%d\n",
	        OUTLIER_DEVIATIONS, LARGE_BIAS);
	print_histogram(&in);
	if (in.not_finite)
		status = fail(STATUS_VIOLATION,
		              "inspect: %zu values are NaN or infinite, the first in tensor '%s'",
		              in.not_finite, in.first);
done:
	return status;
}
