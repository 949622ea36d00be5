/* Tokens in, tokens and text out: the loop around decoder_step(). */
#ifndef MODEL_GENERATE_H
#define MODEL_GENERATE_H

#include <stdio.h>

#include "model/decoder.h"
#include "model/prefill.h"
#include "model/tokenizer.h"

struct generation {
	struct decoder *decoder;
	const struct tokenizer
	        *tokenizer;      /* NULL: no vocabulary, ids are printed instead of text */
	struct prefill *prefill; /* of all of the prompt but its last token; NULL: by steps,
	                            which alone can be watched or give logits */
	const int32_t *prompt;
	size_t n_prompt; /* at least 1 */
	int n;           /* tokens to generate at most */
	bool ignore_end;
	bool profile; /* a profiler is to capture what follows the prompt */
	FILE *text;   /* NULL: none */
	FILE *logits; /* CSV of every forward's logits; NULL: none */
	const char *logits_path;
	/* The first observed[i] forwards are watched by observers[i]. */
	struct observer observers[2];
	int observed[2], n_observers;

	int32_t *ids; /* results: n_ids generated tokens, an end token included */
	size_t n_ids;
	double prompt_seconds, seconds; /* of the prompt's forwards, of the others */
	int forwards;                   /* of the others */
};

/* ids are kept after a failure too. */
MUST_CHECK enum status generate(struct generation *generation);
void generation_close(struct generation *generation);

/* Mean negative log likelihood, in nats, of ids 1 to n - 1 (n at least 2). Each is predicted from
 * those before it in a window of as many tokens as the cache holds. Windows follow each other and
 * each begins with an empty cache, so that the first prediction of a window sees one token.
 * `prefill` NULL: by steps. */
MUST_CHECK enum status perplexity(struct decoder *decoder, struct prefill *prefill,
                                  const int32_t *ids, size_t n, bool quiet, double *nats);

#endif
