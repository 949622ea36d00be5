#include "model/generate.h"

#include <math.h>
#include <stdlib.h>

#include "core/progress.h"
#include "model/parallel.h"

static int vocabulary(const struct generation *g)
{
	return g->decoder->model->hparams.vocab;
}

/* One forward, with the observers whose turn it still is. */
static enum status forward(struct generation *g, int number, int token)
{
	struct observer observers[2];
	int n = 0;
	for (int i = 0; i < g->n_observers; i++)
		if (number < g->observed[i])
			observers[n++] = g->observers[i];
	return decoder_step(g->decoder, token, observers, n);
}

static enum status write_logits(const struct generation *g, int position, const float *logits)
{
	for (int i = 0; i < vocabulary(g); i++)
		fprintf(g->logits, "%d,%d,%.9g\n", position, i, (double)logits[i]);
	return ferror(g->logits) ? fail_errno(STATUS_FAILED, "--logits %s", g->logits_path)
	                         : STATUS_OK;
}

static enum status print_token(const struct generation *g, struct tokenizer_stream *stream, int id)
{
	enum status status = STATUS_OK;
	struct gguf_string text;
	if (!g->text)
		return STATUS_OK;
	if (!g->tokenizer) {
		fprintf(g->text, "%s%d", g->n_ids > 1 ? " " : "", id);
	} else if (!tokenizer_is_control(g->tokenizer, id)) {
		TRY(tokenizer_stream_next(stream, g->tokenizer, id, &text));
		fwrite(text.data, 1, text.len, g->text);
	}
	if (fflush(g->text))
		status = fail_errno(STATUS_FAILED, "cannot write the text");
done:
	return status;
}

/* Forward `number` on `token` (-1: the one chosen last), and the token that it chose. */
static enum status advance(struct generation *g, int number, int token, float *logits, int *next)
{
	enum status status;
	double start = seconds_now();
	TRY(forward(g, number, token));
	if (g->logits) {
		TRY(decoder_logits(g->decoder, logits));
		TRY(write_logits(g, g->decoder->position - 1, logits));
	}
	TRY(decoder_token(g->decoder, next));
	double seconds = seconds_now() - start;
	if ((size_t)number < g->n_prompt) {
		g->prompt_seconds += seconds;
	} else {
		g->seconds += seconds;
		g->forwards++;
	}
done:
	return status;
}

/* All of the prompt but its last token. */
static enum status process_prompt(struct generation *g, int *number)
{
	enum status status;
	double start = seconds_now();
	if (!g->prefill)
		return STATUS_OK;
	TRY(prefill_run(g->prefill, g->prompt, g->n_prompt - 1));
	TRY(device_sync(g->decoder->device));
	*number = (int)g->n_prompt - 1;
	g->prompt_seconds += seconds_now() - start;
done:
	return status;
}

enum status generate(struct generation *g)
{
	enum status status = STATUS_OK;
	struct tokenizer_stream stream = {0};
	float *logits = malloc((size_t)vocabulary(g) * sizeof *logits);
	int next = -1, number = 0, capacity = g->decoder->state.capacity;
	/* each but the last token takes a row of the cache */
	g->ids = malloc(((size_t)(g->n < capacity ? g->n : capacity) + 1) * sizeof *g->ids);
	if (!logits || !g->ids) {
		status = fail(STATUS_NO_MEMORY, "out of host memory");
		goto done;
	}
	TRY(process_prompt(g, &number));
	for (; (size_t)number < g->n_prompt; number++)
		TRY(advance(g, number, g->prompt[number], logits, &next));
	if (g->profile)
		TRY(device_profile(g->decoder->device, true));
	while ((int)g->n_ids < g->n) {
		g->ids[g->n_ids++] = next;
		if (g->tokenizer && !g->ignore_end && tokenizer_is_end(g->tokenizer, next))
			break;
		TRY(print_token(g, &stream, next));
		if ((int)g->n_ids < g->n)
			TRY(advance(g, number++, -1, logits, &next));
	}
done:
	if (g->profile && device_profile(g->decoder->device, false) != STATUS_OK)
		status = STATUS_FAILED;
	if (g->text && g->n_ids) {
		struct gguf_string rest = tokenizer_stream_end(&stream);
		fwrite(rest.data, 1, rest.len, g->text);
		fprintf(g->text, "\n");
		fflush(g->text);
	}
	tokenizer_stream_close(&stream);
	free(logits);
	return status;
}

void generation_close(struct generation *g)
{
	free(g->ids);
	g->ids = NULL;
	g->n_ids = 0;
}

/* -log softmax(logits)[token] */
static double negative_log_likelihood(const float *logits, int n, int token)
{
	double max = -INFINITY, sum = 0;
	for (int i = 0; i < n; i++)
		max = fmax(max, (double)logits[i]);
	for (int i = 0; i < n; i++)
		sum += exp((double)logits[i] - max);
	return max + log(sum) - (double)logits[token];
}

/* Predictions of tokens ids[1] and after. */
struct scoring {
	const int32_t *ids;
	int vocab;
	size_t n; /* predictions so far */
	double nats;
	const float *logits; /* (rows, vocab) of the next predictions, and what they cost */
	double *cost;
	struct progress progress;
};

static void score_rows(void *context, size_t first, size_t last)
{
	const struct scoring *s = context;
	for (size_t i = first; i < last; i++)
		s->cost[i] = negative_log_likelihood(s->logits + i * (size_t)s->vocab, s->vocab,
		                                     s->ids[s->n + i + 1]);
}

static enum status score(void *context, const float *logits, int n)
{
	struct scoring *s = context;
	s->logits = logits;
	s->cost = malloc((size_t)n * sizeof *s->cost);
	if (!s->cost)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	parallel_for((size_t)n, score_rows, s);
	for (int i = 0; i < n && isfinite(s->nats); i++, s->n++)
		s->nats += s->cost[i];
	free(s->cost);
	progress_update(&s->progress, (double)s->n, NULL);
	return isfinite(s->nats)
	               ? STATUS_OK
	               : fail(STATUS_VIOLATION,
	                      "perplexity: the logits give token %zu of the text no probability",
	                      s->n);
}

static enum status score_steps(struct decoder *d, const int32_t *ids, size_t n, struct scoring *s)
{
	enum status status = STATUS_OK;
	float *logits = malloc((size_t)s->vocab * sizeof *logits);
	if (!logits)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	for (size_t i = 0; i < n; i++) {
		TRY(decoder_step(d, ids[i], NULL, 0));
		TRY(decoder_logits(d, logits));
		TRY(score(s, logits, 1));
	}
done:
	free(logits);
	return status;
}

enum status perplexity(struct decoder *d, struct prefill *prefill, const int32_t *ids, size_t n,
                       bool quiet, double *nats)
{
	enum status status = STATUS_OK;
	const size_t window = (size_t)d->state.capacity, n_seen = n - 1;
	struct scoring s = {.ids = ids, .vocab = d->model->hparams.vocab};
	const struct logits_reader reader = {score, &s};
	progress_start(&s.progress, "perplexity", (double)n_seen, quiet);
	for (size_t at = 0; at < n_seen; at += window) {
		const size_t length = n_seen - at < window ? n_seen - at : window;
		TRY(decoder_seek(d, 0));
		TRY(prefill ? prefill_logits(prefill, ids + at, length, &reader)
		            : score_steps(d, ids + at, length, &s));
	}
	progress_finish(&s.progress, NULL);
	*nats = s.nats / (double)n_seen;
done:
	return status;
}
