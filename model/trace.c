#include "model/trace.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ROW_BYTES 512
/* f32 sums of up to 2^17 terms in any order; a lost key of average weight shows above it up to a
 * thousand keys, and its count at any length. */
#define WEIGHT_SUM_TOLERANCE 1e-3
#define REPEATS              8

/* Keeps the first violation of a step, so that its rows can be printed before it ends the run. */
static void violate(struct trace *t, int layer, int head, const char *format, ...)
{
	va_list args;
	if (t->found != STATUS_OK)
		return;
	int n = snprintf(t->message, sizeof t->message, "trace: position %d", t->position);
	if (layer >= 0)
		n += snprintf(t->message + n, sizeof t->message - (size_t)n, ", layer %d, head %d",
		              layer, head);
	n += snprintf(t->message + n, sizeof t->message - (size_t)n, ": ");
	va_start(args, format);
	vsnprintf(t->message + n, sizeof t->message - (size_t)n, format, args);
	va_end(args);
	t->found = STATUS_VIOLATION;
}

/* Of keys 0 .. last, how many are a split's. */
static int keys_of_split(int split, int n_splits, int run, int last)
{
	const long round = (long)run * n_splits;
	const long rest = (last + 1) % round - (long)split * run;
	return (int)((last + 1) / round * run + (rest < 0 ? 0 : rest < run ? rest : run));
}

/* The splits must share keys 0 .. position in runs, without gap or overlap, and all be combined. */
static void check_head(struct trace *t, int layer, int head, int n_splits)
{
	const struct attention_head_trace *h = &t->heads[head];
	const struct attention_split_trace *s = &t->splits[head * n_splits];
	int keys = 0;
	if (h->position != t->position)
		violate(t, layer, head, "attention read position %d from the device, expected %d",
		        h->position, t->position);
	if (h->splits < 1 || h->splits > n_splits || h->run < 1)
		violate(t, layer, head, "%d splits of runs of %d combined, of at most %d",
		        h->splits, h->run, n_splits);
	for (int i = 0; i < h->splits && i < n_splits && h->run > 0; i++) {
		const int first = attention_key_of(0, i, h->splits, h->run);
		const int n = keys_of_split(i, h->splits, h->run, t->position);
		if (s[i].first_key != first || s[i].keys != n)
			violate(t, layer, head,
			        "split %d has %d keys from key %d on, expected %d from key %d on",
			        i, s[i].keys, s[i].first_key, n, first);
		keys += s[i].keys;
	}
	if (keys != t->position + 1)
		violate(t, layer, head, "%d scores over %d splits, expected %d (position + 1)",
		        keys, h->splits, t->position + 1);
	if (h->keys != keys)
		violate(t, layer, head, "%d of %d scores reached the output: a split was dropped",
		        h->keys, keys);
	if (!(fabsf(h->weight_sum - 1) < WEIGHT_SUM_TOLERANCE))
		violate(t, layer, head, "weights sum to %.9g, expected 1", (double)h->weight_sum);
	if (h->keys > 1 && fabsf(h->sum - (float)h->keys) <= 1e-6f * (float)h->keys)
		warn_once("trace: layer %d, head %d: all attention weights are equal", layer, head);
}

/* The first scores in order of keys, whichever split has them. Returns their number. */
static int first_scores(const struct trace *t, int head, int n_splits,
                        float score[ATTENTION_TRACE_KEYS])
{
	const struct attention_head_trace *h = &t->heads[head];
	int n = 0;
	for (; n < ATTENTION_TRACE_KEYS && n < h->keys && h->run > 0 && h->splits > 0; n++) {
		const int turn = n / h->run, split = turn % h->splits;
		const int i = turn / h->splits * h->run + n % h->run;
		score[n] = t->splits[head * n_splits + split].score[i];
	}
	return n;
}

static void print_values(char *text, const float *values, int n)
{
	for (int i = 0; i < ATTENTION_TRACE_KEYS; i++)
		text += i < n ? sprintf(text, ",%.7g", (double)values[i]) : sprintf(text, ",");
}

/* Adds the row of one head, but for the position after the step. */
static void add_row(struct trace *t, int layer, int head, int n_splits)
{
	const struct attention_head_trace *h = &t->heads[head];
	float score[ATTENTION_TRACE_KEYS], weight[ATTENTION_TRACE_KEYS];
	char scores[128], weights[128];
	int n = first_scores(t, head, n_splits, score);
	for (int i = 0; i < n; i++)
		weight[i] = expf(score[i] - h->max) / h->sum;
	print_values(scores, score, n);
	print_values(weights, weight, n);
	t->row_end += snprintf(t->row_end, ROW_BYTES, "%d,%d,%d,%d,%d,%d,%d%s%s,%.9g\n", t->forward,
	                       layer, head, t->token, h->position, t->position + 1, h->keys, scores,
	                       weights, (double)h->weight_sum);
}

static enum status trace_begin(void *context, const struct decoder *d, int token)
{
	enum status status;
	struct trace *t = context;
	int device_token;
	(void)token;
	t->position = d->position;
	t->row_end = t->rows;
	TRY(decoder_token(d, &device_token));
	t->repeated = t->forward && device_token == t->token ? t->repeated + 1 : 1;
	t->token = device_token;
	if (t->repeated == REPEATS)
		warn_once("trace: token %d came %d times in a row", t->token, REPEATS);
done:
	return status;
}

/* What a launch does not write must not look like something that it did. */
static enum status poison(void *context, const struct decoder *d, const struct launch *l)
{
	enum status status = STATUS_OK;
	const struct state *s = &d->state;
	size_t heads = (size_t)d->model->hparams.heads;
	(void)context;
	if (l->op != OP_ATTENTION)
		return STATUS_OK;
	TRY(device_fill(d->device, s->head_trace, 0xff, heads * sizeof *s->head_trace));
	TRY(device_fill(d->device, s->split_trace, 0xff,
	                heads * l->grid.y * sizeof *s->split_trace));
done:
	return status;
}

static enum status trace_attention(struct trace *t, const struct decoder *d, const struct launch *l)
{
	enum status status;
	const struct hparams *h = &d->model->hparams;
	size_t heads = (size_t)h->heads, n = heads * (size_t)h->head_dim;
	int n_splits = (int)l->grid.y;
	float *output = t->output + (size_t)l->layer * n,
	      *previous = t->previous + (size_t)l->layer * n;
	TRY(device_read(d->device, t->heads, d->state.head_trace, heads * sizeof *t->heads));
	TRY(device_read(d->device, t->splits, d->state.split_trace,
	                heads * (size_t)n_splits * sizeof *t->splits));
	TRY(device_read(d->device, output, d->state.attention, n * sizeof *output));
	if (t->forward && !memcmp(output, previous, n * sizeof *output))
		warn_once("trace: layer %d: attention's output does not change between positions",
		          l->layer);
	memcpy(previous, output, n * sizeof *output);
	for (int head = 0; head < h->heads; head++) {
		check_head(t, l->layer, head, n_splits);
		if (t->layers_printed[l->layer] && t->heads_printed[head])
			add_row(t, l->layer, head, n_splits);
	}
done:
	return status;
}

/* NaN compares as smaller than everything: argmax takes no notice. */
static enum status check_logits(struct trace *t, const struct decoder *d)
{
	enum status status;
	const int n = d->model->hparams.vocab;
	int bad = 0, first = 0;
	TRY(decoder_logits(d, t->logits));
	for (int i = n; i-- > 0;)
		if (!isfinite(t->logits[i])) {
			bad++;
			first = i;
		}
	if (bad)
		violate(t, -1, 0, "%d of %d logits are NaN or infinite, the first of token %d", bad,
		        n, first);
done:
	return status;
}

static enum status trace_advance(struct trace *t, const struct decoder *d)
{
	enum status status;
	int after;
	TRY(device_read(d->device, &after, d->state.position, sizeof after));
	for (char *row = t->rows, *end; row < t->row_end; row = end + 1) {
		end = strchr(row, '\n');
		fprintf(t->csv, "%.*s,%d\n", (int)(end - row), row, after);
	}
	fflush(t->csv);
	if (after != t->position + 1)
		violate(t, -1, 0, "the position after the step is %d, expected %d", after,
		        t->position + 1);
	TRY(check_logits(t, d));
	t->forward++;
	if (t->found != STATUS_OK)
		status = fail(t->found, "%s", t->message);
done:
	return status;
}

static enum status trace_after(void *context, const struct decoder *d, const struct launch *l)
{
	if (l->op == OP_ATTENTION)
		return trace_attention(context, d, l);
	return l->op == OP_ADVANCE ? trace_advance(context, d) : STATUS_OK;
}

struct observer trace_observer(struct trace *trace)
{
	return (struct observer){.traced = true,
	                         .begin = trace_begin,
	                         .before = poison,
	                         .after = trace_after,
	                         .context = trace};
}

/* "3" or "3-5" at *at, which moves behind it. */
static bool take_range(const char **at, long *first, long *last)
{
	char *end;
	if (!isdigit((unsigned char)**at))
		return false;
	*first = *last = strtol(*at, &end, 10);
	if (*end == '-') {
		if (!isdigit((unsigned char)end[1]))
			return false;
		*last = strtol(end + 1, &end, 10);
	}
	*at = end;
	return *first <= *last;
}

/* chosen[i] for each of n that the list names, for all when there is none. */
static enum status choose(const char *what, const char *list, int n, bool *chosen)
{
	const char *at = list;
	long first, last;
	memset(chosen, !list, (size_t)n * sizeof *chosen);
	while (list) {
		if (!take_range(&at, &first, &last) || (*at && *at != ','))
			return fail(STATUS_USAGE, "--trace-%s: '%s' is not a list such as 0,2-4",
			            what, list);
		if (last >= n)
			return fail(STATUS_USAGE, "--trace-%s: %ld, but the model has %ss 0 to %d",
			            what, last, what, n - 1);
		for (long i = first; i <= last; i++)
			chosen[i] = true;
		if (!*at++)
			break;
	}
	return STATUS_OK;
}

static size_t count_true(const bool *chosen, int n)
{
	size_t count = 0;
	for (int i = 0; i < n; i++)
		count += chosen[i];
	return count;
}

enum status trace_open(const struct decoder *d, const char *layers, const char *heads, FILE *csv,
                       struct trace *t)
{
	enum status status = STATUS_OK;
	const struct hparams *h = &d->model->hparams;
	size_t n_heads = (size_t)h->heads, outputs = (size_t)(h->layers * h->heads * h->head_dim);
	size_t splits = (size_t)kernel_param_max("gqa_attention", "splits");
	*t = (struct trace){.csv = csv,
	                    .layers_printed = calloc((size_t)h->layers, sizeof *t->layers_printed),
	                    .heads_printed = calloc(n_heads, sizeof *t->heads_printed)};
	t->heads = calloc(n_heads, sizeof *t->heads);
	t->splits = calloc(n_heads * splits, sizeof *t->splits);
	t->output = calloc(outputs, sizeof *t->output);
	t->previous = calloc(outputs, sizeof *t->previous);
	t->logits = calloc((size_t)h->vocab, sizeof *t->logits);
	if (!t->layers_printed || !t->heads_printed || !t->heads || !t->splits || !t->output ||
	    !t->previous || !t->logits)
		TRY(fail(STATUS_NO_MEMORY, "out of host memory for --trace"));
	TRY(choose("layer", layers, h->layers, t->layers_printed));
	TRY(choose("head", heads, h->heads, t->heads_printed));
	t->rows = t->row_end = malloc(count_true(t->layers_printed, h->layers) *
	                              count_true(t->heads_printed, h->heads) * ROW_BYTES);
	if (!t->rows)
		TRY(fail(STATUS_NO_MEMORY, "out of host memory for --trace"));
	fprintf(csv, "forward,layer,head,token,position,cache_length,scores");
	for (int i = 0; i < ATTENTION_TRACE_KEYS; i++)
		fprintf(csv, ",score_%d", i);
	for (int i = 0; i < ATTENTION_TRACE_KEYS; i++)
		fprintf(csv, ",weight_%d", i);
	fprintf(csv, ",weight_sum,position_after\n");
done:
	if (status != STATUS_OK)
		trace_close(t);
	return status;
}

void trace_close(struct trace *t)
{
	free(t->layers_printed);
	free(t->heads_printed);
	free(t->heads);
	free(t->splits);
	free(t->rows);
	free(t->output);
	free(t->previous);
	free(t->logits);
	*t = (struct trace){0};
}
