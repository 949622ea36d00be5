#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer.h"
#include "tests/fuzz/fuzz.h"

/* The bundled model's tokenizer, kept for the life of the process. */
static const struct tokenizer *bundled_tokenizer(void)
{
	static struct tokenizer t;
	struct gguf g;
	if (t.path)
		return &t;
	if (gguf_open(SOURCE_DIR "/models/warpsmith-tiny.gguf", &g) != STATUS_OK ||
	    tokenizer_open(&g, &t) != STATUS_OK)
		fuzz_fail("%s", fail_message());
	gguf_close(&g);
	return &t;
}

/* Text that is put together from its tokens one by one is the text that they decode to. */
static void check_stream(const struct tokenizer *t, const int32_t *ids, size_t n, const char *text,
                         size_t len)
{
	struct tokenizer_stream s = {0};
	struct gguf_string part;
	size_t at = 0;
	for (size_t i = 0; i <= n; i++) {
		if (i == n)
			part = tokenizer_stream_end(&s);
		else if (tokenizer_stream_next(&s, t, ids[i], &part) != STATUS_OK)
			abort();
		if (part.len > len - at || memcmp(part.data, text + at, part.len))
			abort();
		at += part.len;
	}
	if (at != len)
		abort();
	tokenizer_stream_close(&s);
}

/* utf8proc composes U+11A7 away, which is of no Hangul syllable; nothing composes across it. */
#define NO_CONSONANT 0x11a7

/* `n` bytes of valid UTF-8 in normal form C, appended to `to`. */
static size_t normalise(const uint8_t *text, size_t n, uint8_t *to)
{
	utf8proc_uint8_t *normal = NULL;
	utf8proc_ssize_t bytes = utf8proc_map(text, (utf8proc_ssize_t)n, &normal,
	                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
	if (bytes < 0)
		fuzz_fail("utf8proc: %s", utf8proc_errmsg(bytes));
	memcpy(to, normal, (size_t)bytes);
	free(normal);
	return (size_t)bytes;
}

size_t normal_bytes(const uint8_t *text, size_t len, uint8_t *to)
{
	size_t start = 0, n = 0;
	for (size_t at = 0; at < len;) {
		utf8proc_int32_t code;
		utf8proc_ssize_t used =
		        utf8proc_iterate(text + at, (utf8proc_ssize_t)(len - at), &code);
		const size_t bytes = used > 0 ? (size_t)used : 1;
		if (used < 1 || code == NO_CONSONANT) {
			n += normalise(text + start, at - start, to + n);
			memcpy(to + n, text + at, bytes);
			n += bytes;
			start = at + bytes;
		}
		at += bytes;
	}
	return n + normalise(text + start, len - start, to + n);
}

/* Without special tokens, between which text is normalised apart, the text as a whole is. */
static void check_text(const struct tokenizer *t, const int32_t *ids, size_t n_ids,
                       const uint8_t *data, size_t n, const char *text, size_t len)
{
	uint8_t *expected = malloc(4 * n + 1);
	bool special = false;
	for (size_t i = 0; i < n_ids; i++)
		special |= tokenizer_is_control(t, ids[i]);
	if (!expected)
		fuzz_fail("out of memory");
	const size_t n_expected = normal_bytes(data, n, expected);
	if (!special && (len != n_expected || memcmp(text, expected, len)))
		fuzz_fail("%zu bytes come back as %zu, expected %zu", n, len, n_expected);
	free(expected);
}

int tokenizer_fuzz(const uint8_t *data, size_t n)
{
	const struct tokenizer *t = bundled_tokenizer();
	int32_t *ids = NULL, *again = NULL;
	char *text = NULL;
	size_t n_ids, n_again, len;
	bool ascii = true;
	for (size_t i = 0; i < n; i++)
		ascii &= data[i] < 0x80;
	if (tokenizer_encode(t, (const char *)data, n, &ids, &n_ids) != STATUS_OK ||
	    tokenizer_decode(t, ids, n_ids, &text, &len) != STATUS_OK)
		abort();
	if (ascii && (len != n || memcmp(text, data, n)))
		abort(); /* nothing to normalise, so the very bytes come back */
	check_text(t, ids, n_ids, data, n, text, len);
	check_stream(t, ids, n_ids, text, len);
	/* Text that was normalised once stays as it is. */
	if (tokenizer_encode(t, text, len, &again, &n_again) != STATUS_OK || n_again != n_ids ||
	    memcmp(ids, again, n_ids * sizeof *ids))
		abort();
	free(again);
	free(text);
	free(ids);
	return 0;
}
