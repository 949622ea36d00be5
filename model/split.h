/* Qwen2's pre-tokenizer: cuts text into pieces (words, digits, runs of punctuation or white space),
 * which are merged separately. */
#ifndef MODEL_SPLIT_H
#define MODEL_SPLIT_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct splitter {
	struct pcre2_real_code_8 *pattern;
	struct pcre2_real_match_data_8 *match;
	struct pcre2_real_match_context_8 *context;
	struct pcre2_real_jit_stack_8 *stack;
};

MUST_CHECK enum status splitter_open(struct splitter *s);
void splitter_close(struct splitter *s);

/* The end of the piece that starts at `at` < len; `text` is valid UTF-8. */
MUST_CHECK enum status splitter_next(const struct splitter *s, const char *text, size_t len,
                                     size_t at, size_t *end);

#ifdef __cplusplus
}
#endif
#endif
