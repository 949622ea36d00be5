#include <stdlib.h>
#include <string.h>

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
