/* Byte-level BPE as of Qwen2 (tokenizer.ggml.model gpt2, pre qwen2), from a GGUF file's vocabulary.
 */
#ifndef MODEL_TOKENIZER_H
#define MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "model/bpe.h"
#include "model/gguf.h"
#include "model/split.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TOKENIZER_MAX_ENDS 4

/* tokenizer.ggml.token_type */
enum token_type {
	TOKEN_NORMAL = 1,
	TOKEN_CONTROL = 3,
	TOKEN_USER_DEFINED = 4,
	TOKEN_UNUSED = 5,
	TOKEN_MAX = 6,
};

struct tokenizer {
	char *path; /* of the file, for messages */
	size_t n_tokens;
	struct gguf_string *tokens; /* the bytes that each id stands for */
	int32_t *types;
	char *pool;
	int32_t byte_ids[256]; /* token of one byte, -1 where the vocabulary has none */
	struct bpe bpe;
	struct splitter splitter;
	int32_t *specials; /* ids parsed in text, sorted by their bytes */
	size_t n_specials;
	int32_t bos; /* put before every text; -1: nothing is */
	int32_t ends[TOKENIZER_MAX_ENDS];
	int n_ends;
};

/* Byte-level BPE writes each byte as a printable character: itself where Latin-1 has one, else the
 * next free one from U+0100 on. */
int tokenizer_byte_code(int byte);

/* Keeps no reference to the file. */
MUST_CHECK enum status tokenizer_open(const struct gguf *g, struct tokenizer *t);
void tokenizer_close(struct tokenizer *t);

/* Ids of a text, to be freed by the caller; by one thread at a time. Special tokens in it are
 * recognised, the text between them is put into normal form C; bytes that are not UTF-8 become
 * their byte tokens. */
MUST_CHECK enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                                        int32_t **ids, size_t *n);

/* *text is NUL-terminated (behind *len bytes) and to be freed by the caller. */
MUST_CHECK enum status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n,
                                        char **text, size_t *len);

/* The bytes of one token; empty when there is no such id. */
struct gguf_string tokenizer_bytes(const struct tokenizer *t, int32_t id);
/* -1 when no token has this text. */
int32_t tokenizer_find(const struct tokenizer *t, const char *text);
/* Whether generation ends with this token. */
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);
/* Whether it is a mark such as <|im_start|> and not text. */
bool tokenizer_is_control(const struct tokenizer *t, int32_t id);

/* Text of ids that come one by one, in whole UTF-8 sequences. Starts zeroed. */
struct tokenizer_stream {
	char *buffer;
	size_t capacity;
	size_t at, held; /* bytes kept back for the next call */
};

/* *text is what can be printed now, valid until the next call. */
MUST_CHECK enum status tokenizer_stream_next(struct tokenizer_stream *s, const struct tokenizer *t,
                                             int32_t id, struct gguf_string *text);
/* What was still held back: a sequence that was never completed. */
struct gguf_string tokenizer_stream_end(struct tokenizer_stream *s);
void tokenizer_stream_close(struct tokenizer_stream *s);

#ifdef __cplusplus
}
#endif
#endif
