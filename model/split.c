#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/split.h"

#include <pcre2.h>

#define JIT_STACK_BYTES (1 << 20)

/* White space is spelt out because PCRE2's \s has U+180E, which Unicode has not. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
static const char PATTERN[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
                              "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
                              "|\\p{N}"
                              "| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*"
                              "|[" SPACE "]*[\\r\\n]+"
                              "|[" SPACE "]+(?![^" SPACE "])"
                              "|[" SPACE "]+";

enum status splitter_open(struct splitter *s)
{
	enum status status = STATUS_OK;
	int error;
	size_t at;
	char why[128];
	*s = (struct splitter){
	        .pattern = pcre2_compile((PCRE2_SPTR)PATTERN, PCRE2_ZERO_TERMINATED,
	                                 PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &at, NULL),
	        .match = pcre2_match_data_create(1, NULL),
	        .context = pcre2_match_context_create(NULL),
	        .stack = pcre2_jit_stack_create(32 << 10, JIT_STACK_BYTES, NULL),
	};
	if (!s->pattern) {
		pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
		TRY(fail(STATUS_FAILED, "pre-tokenizer pattern, offset %zu: %s", at, why));
	}
	if (!s->match || !s->context)
		TRY(fail(STATUS_NO_MEMORY, "out of memory for the pre-tokenizer"));
	pcre2_jit_compile(s->pattern, PCRE2_JIT_COMPLETE); /* without it matching is only slower */
	if (s->stack)
		pcre2_jit_stack_assign(s->context, NULL, s->stack);
	pcre2_set_match_limit(s->context, UINT32_MAX); /* one long run of white space is fine */
done:
	if (status != STATUS_OK)
		splitter_close(s);
	return status;
}

void splitter_close(struct splitter *s)
{
	pcre2_jit_stack_free(s->stack);
	pcre2_match_context_free(s->context);
	pcre2_match_data_free(s->match);
	pcre2_code_free(s->pattern);
	*s = (struct splitter){0};
}

enum status splitter_next(const struct splitter *s, const char *text, size_t len, size_t at,
                          size_t *end)
{
	char why[128];
	PCRE2_SPTR subject = (PCRE2_SPTR)text;
	int rc =
	        pcre2_match(s->pattern, subject, len, at, PCRE2_NO_UTF_CHECK, s->match, s->context);
	if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
		rc = pcre2_match(s->pattern, subject, len, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
		                 s->match, s->context);
	if (rc < 0) {
		pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
		return fail(STATUS_FAILED, "pre-tokenizer at byte %zu of the text: %s", at, why);
	}
	*end = pcre2_get_ovector_pointer(s->match)[1];
	return STATUS_OK;
}
