#include "model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/nfc.h"

int tokenizer_byte_code(int byte)
{
	bool printable = (byte > ' ' && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
	if (printable)
		return byte;
	return byte <= ' ' ? 0x100 + byte : byte <= 0xa0 ? 0x121 + byte - 0x7f : 0x143;
}

struct byte_map {
	int code_of[256];
	int byte_of[512]; /* -1: no byte */
};

static void make_byte_map(struct byte_map *map)
{
	for (int code = 0; code < 512; code++)
		map->byte_of[code] = -1;
	for (int byte = 0; byte < 256; byte++) {
		map->code_of[byte] = tokenizer_byte_code(byte);
		map->byte_of[map->code_of[byte]] = byte;
	}
}

/* Token texts as the file writes them, by content. */
struct vocabulary {
	const struct gguf_string *texts;
	int32_t *slots; /* open addressing; -1 is empty */
	size_t mask;
};

/* FNV-1a, 64 bit. */
static uint64_t hash_of(struct gguf_string text)
{
	uint64_t hash = 0xcbf29ce484222325;
	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (uint8_t)text.data[i]) * 0x100000001b3;
	return hash ^ hash >> 32;
}

static bool equal(struct gguf_string a, struct gguf_string b)
{
	return a.len == b.len && !memcmp(a.data, b.data, a.len);
}

static int32_t *vocabulary_slot(const struct vocabulary *v, struct gguf_string text)
{
	size_t i = (size_t)hash_of(text) & v->mask;
	while (v->slots[i] >= 0 && !equal(v->texts[v->slots[i]], text))
		i = (i + 1) & v->mask;
	return &v->slots[i];
}

/* Of equal texts the first is found. */
static enum status vocabulary_open(struct vocabulary *v, const struct gguf_string *texts, size_t n)
{
	size_t slots = 2;
	while (slots < 2 * n)
		slots *= 2;
	*v = (struct vocabulary){texts, malloc(slots * sizeof *v->slots), slots - 1};
	if (!v->slots)
		return fail(STATUS_NO_MEMORY, "out of memory for %zu tokens", n);
	memset(v->slots, 0xff, slots * sizeof *v->slots);
	for (size_t i = 0; i < n; i++) {
		int32_t *slot = vocabulary_slot(v, texts[i]);
		if (*slot < 0)
			*slot = (int32_t)i;
	}
	return STATUS_OK;
}

/* The bytes that a token's text stands for, written to `to`; the text itself where it is not made
 * of byte characters. Returns their number, at most text.len. */
static size_t bytes_of(const struct byte_map *map, struct gguf_string text, char *to)
{
	size_t n = 0;
	for (size_t i = 0; i < text.len;) {
		utf8proc_int32_t code;
		utf8proc_ssize_t used = utf8proc_iterate((const uint8_t *)text.data + i,
		                                         (utf8proc_ssize_t)(text.len - i), &code);
		if (used < 1 || code >= 512 || map->byte_of[code] < 0) {
			memcpy(to, text.data, text.len);
			return text.len;
		}
		to[n++] = (char)map->byte_of[code];
		i += (size_t)used;
	}
	return n;
}

static bool is_special(const struct tokenizer *t, size_t id)
{
	return (t->types[id] == TOKEN_CONTROL || t->types[id] == TOKEN_USER_DEFINED) &&
	       t->tokens[id].len > 0;
}

static enum status load_tokens(struct tokenizer *t, const struct gguf_string *texts,
                               const struct byte_map *map)
{
	size_t pool_bytes = 1, at = 0;
	for (size_t i = 0; i < t->n_tokens; i++)
		pool_bytes += texts[i].len;
	t->pool = malloc(pool_bytes);
	t->tokens = calloc(t->n_tokens, sizeof *t->tokens);
	if (!t->pool || !t->tokens)
		return fail(STATUS_NO_MEMORY, "%s: out of memory for tokens", t->path);
	for (size_t i = 0; i < t->n_tokens; i++) {
		size_t len = texts[i].len;
		if (t->types[i] < 0 || t->types[i] > TOKEN_MAX)
			return fail(STATUS_FAILED,
			            "%s: key 'tokenizer.ggml.token_type' gives token %zu type %d",
			            t->path, i, t->types[i]);
		if (t->types[i] == TOKEN_CONTROL || t->types[i] == TOKEN_USER_DEFINED)
			memcpy(t->pool + at, texts[i].data, len);
		else
			len = bytes_of(map, texts[i], t->pool + at);
		t->tokens[i] = (struct gguf_string){t->pool + at, len};
		at += len;
	}
	return STATUS_OK;
}

static void find_bytes(struct tokenizer *t, const struct vocabulary *v, const struct byte_map *map)
{
	for (int byte = 0; byte < 256; byte++) {
		uint8_t text[4];
		utf8proc_ssize_t len = utf8proc_encode_char(map->code_of[byte], text);
		struct gguf_string wanted = {(const char *)text, (size_t)len};
		t->byte_ids[byte] = *vocabulary_slot(v, wanted);
	}
}

/* Adds "left right". `joined` has room for the merge's text. */
static enum status load_merge(struct tokenizer *t, const struct vocabulary *v,
                              struct gguf_string merge, size_t rank, char *joined)
{
	const char *space = memchr(merge.data, ' ', merge.len);
	size_t len = space ? (size_t)(space - merge.data) : 0;
	struct gguf_string left = {merge.data, len};
	struct gguf_string right = {merge.data + len + 1, merge.len - len - 1};
	if (!space || !left.len || !right.len || memchr(right.data, ' ', right.len))
		return fail(STATUS_FAILED, "%s: merge %zu is '%.*s', expected two tokens", t->path,
		            rank, (int)merge.len, merge.data);
	memcpy(joined, left.data, left.len);
	memcpy(joined + left.len, right.data, right.len);
	struct gguf_string whole = {joined, left.len + right.len};
	int32_t id[3];
	const struct gguf_string parts[3] = {left, right, whole};
	for (int i = 0; i < 3; i++) {
		id[i] = *vocabulary_slot(v, parts[i]);
		if (id[i] < 0)
			return fail(STATUS_FAILED,
			            "%s: merge %zu '%.*s': '%.*s' is not in the vocabulary",
			            t->path, rank, (int)merge.len, merge.data, (int)parts[i].len,
			            parts[i].data);
	}
	bpe_add(&t->bpe, id[0], id[1], (uint32_t)rank, id[2]);
	return STATUS_OK;
}

static enum status load_merges(struct tokenizer *t, const struct vocabulary *v,
                               const struct gguf *g)
{
	enum status status;
	struct gguf_string *merges = NULL;
	char *joined = NULL;
	size_t n = 0, longest = 0;
	TRY(gguf_strings(g, GGUF_REQUIRED, "tokenizer.ggml.merges", &merges, &n));
	for (size_t i = 0; i < n; i++)
		longest = merges[i].len > longest ? merges[i].len : longest;
	joined = malloc(longest + 1);
	if (!joined)
		TRY(fail(STATUS_NO_MEMORY, "%s: out of memory for merges", t->path));
	TRY(bpe_open(&t->bpe, n));
	for (size_t i = 0; i < n; i++)
		TRY(load_merge(t, v, merges[i], i, joined));
done:
	free(joined);
	free(merges);
	return status;
}

struct special {
	struct gguf_string text;
	int32_t id;
};

static int compare_specials(const void *a, const void *b)
{
	const struct special *x = a, *y = b;
	size_t len = x->text.len < y->text.len ? x->text.len : y->text.len;
	int order = memcmp(x->text.data, y->text.data, len);
	return order ? order : (x->text.len > y->text.len) - (x->text.len < y->text.len);
}

static enum status load_specials(struct tokenizer *t)
{
	size_t n = 0;
	for (size_t i = 0; i < t->n_tokens; i++)
		n += is_special(t, i);
	struct special *specials = calloc(n + 1, sizeof *specials);
	t->specials = calloc(n + 1, sizeof *t->specials);
	if (!specials || !t->specials) {
		free(specials);
		return fail(STATUS_NO_MEMORY, "%s: out of memory for tokens", t->path);
	}
	for (size_t i = 0; i < t->n_tokens; i++)
		if (is_special(t, i))
			specials[t->n_specials++] = (struct special){t->tokens[i], (int32_t)i};
	qsort(specials, n, sizeof *specials, compare_specials);
	for (size_t i = 0; i < n; i++)
		t->specials[i] = specials[i].id;
	free(specials);
	return STATUS_OK;
}

/* An id named by a key; -1 when the key is missing. */
static enum status load_id(const struct tokenizer *t, const struct gguf *g, enum gguf_need need,
                           const char *key, int32_t *id)
{
	uint32_t value = UINT32_MAX;
	enum status status = gguf_u32(g, need, key, 0, (uint32_t)t->n_tokens - 1, &value);
	*id = (int32_t)value;
	return status;
}

static void add_end(struct tokenizer *t, int32_t id)
{
	if (id >= 0 && !tokenizer_is_end(t, id))
		t->ends[t->n_ends++] = id;
}

/* Generation ends with the file's end-of-sequence, end-of-turn and end-of-message tokens. Where one
 * is <|im_end|>, the model may as well end the whole document, as Qwen2's generation_config.json
 * has it. */
static enum status load_bounds(struct tokenizer *t, const struct gguf *g)
{
	enum status status;
	static const char *const ends[] = {"tokenizer.ggml.eos_token_id",
	                                   "tokenizer.ggml.eot_token_id",
	                                   "tokenizer.ggml.eom_token_id"};
	int32_t id;
	bool add_bos = false;
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		TRY(load_id(t, g, GGUF_OPTIONAL, ends[i], &id));
		add_end(t, id);
	}
	if (tokenizer_is_end(t, tokenizer_find(t, "<|im_end|>")))
		add_end(t, tokenizer_find(t, "<|endoftext|>"));
	t->bos = -1;
	TRY(gguf_bool(g, GGUF_OPTIONAL, "tokenizer.ggml.add_bos_token", &add_bos));
	if (add_bos)
		TRY(load_id(t, g, GGUF_REQUIRED, "tokenizer.ggml.bos_token_id", &t->bos));
done:
	return status;
}

static enum status check_value(const struct gguf *g, const char *key, const char *expected)
{
	enum status status;
	struct gguf_string value;
	TRY(gguf_string(g, GGUF_REQUIRED, key, &value));
	if (!equal(value, (struct gguf_string){expected, strlen(expected)}))
		return fail(STATUS_UNSUPPORTED, "%s: key '%s' is '%.*s', only '%s' is supported",
		            g->path, key, (int)value.len, value.data, expected);
done:
	return status;
}

enum status tokenizer_open(const struct gguf *g, struct tokenizer *t)
{
	enum status status;
	struct gguf_string *texts = NULL;
	struct vocabulary vocabulary = {0};
	struct byte_map map;
	size_t n_types;
	*t = (struct tokenizer){.path = strdup(g->path)};
	if (!t->path)
		TRY(fail(STATUS_NO_MEMORY, "%s: out of memory", g->path));
	TRY(check_value(g, "tokenizer.ggml.model", "gpt2"));
	TRY(check_value(g, "tokenizer.ggml.pre", "qwen2"));
	TRY(gguf_strings(g, GGUF_REQUIRED, "tokenizer.ggml.tokens", &texts, &t->n_tokens));
	TRY(gguf_i32s(g, GGUF_REQUIRED, "tokenizer.ggml.token_type", &t->types, &n_types));
	if (t->n_tokens < 1 || t->n_tokens > INT32_MAX || n_types != t->n_tokens)
		TRY(fail(STATUS_FAILED, "%s: tokenizer.ggml has %zu tokens and %zu token types",
		         g->path, t->n_tokens, n_types));
	make_byte_map(&map);
	TRY(load_tokens(t, texts, &map));
	TRY(vocabulary_open(&vocabulary, texts, t->n_tokens));
	find_bytes(t, &vocabulary, &map);
	TRY(load_merges(t, &vocabulary, g));
	TRY(load_specials(t));
	TRY(load_bounds(t, g));
	TRY(splitter_open(&t->splitter));
done:
	free(texts);
	free(vocabulary.slots);
	if (status != STATUS_OK)
		tokenizer_close(t);
	return status;
}

void tokenizer_close(struct tokenizer *t)
{
	splitter_close(&t->splitter);
	bpe_close(&t->bpe);
	free(t->specials);
	free(t->tokens);
	free(t->types);
	free(t->pool);
	free(t->path);
	*t = (struct tokenizer){0};
}

/* Ids so far and what finding more of them needs. */
struct encoder {
	const struct tokenizer *t;
	int32_t *ids;
	size_t n, capacity;
	struct bpe_scratch scratch;
};

/* Room for `more` ids. */
static enum status reserve(struct encoder *e, size_t more)
{
	if (more <= e->capacity - e->n)
		return STATUS_OK;
	size_t capacity = 2 * e->capacity + more;
	int32_t *ids = realloc(e->ids, capacity * sizeof *ids);
	if (!ids)
		return fail(STATUS_NO_MEMORY, "out of memory for %zu tokens", capacity);
	e->ids = ids;
	e->capacity = capacity;
	return STATUS_OK;
}

static enum status push(struct encoder *e, int32_t id)
{
	enum status status = reserve(e, 1);
	if (status == STATUS_OK)
		e->ids[e->n++] = id;
	return status;
}

/* Bytes to tokens, merged within the piece. */
static enum status encode_piece(struct encoder *e, const char *text, size_t len)
{
	enum status status;
	int32_t *ids;
	TRY(reserve(e, len));
	ids = e->ids + e->n;
	for (size_t i = 0; i < len; i++) {
		ids[i] = e->t->byte_ids[(uint8_t)text[i]];
		if (ids[i] < 0)
			return fail(STATUS_FAILED,
			            "%s: the vocabulary has no token for byte 0x%02x", e->t->path,
			            (uint8_t)text[i]);
	}
	TRY(bpe_merge(&e->t->bpe, &e->scratch, ids, &len));
	e->n += len;
done:
	return status;
}

static bool is_ascii(const char *text, size_t len)
{
	uint8_t all = 0;
	for (size_t i = 0; i < len; i++)
		all |= (uint8_t)text[i];
	return all < 0x80;
}

/* Valid UTF-8 without special tokens. */
static enum status encode_text(struct encoder *e, const char *text, size_t len)
{
	enum status status = STATUS_OK;
	char *normal = NULL;
	if (!is_ascii(text, len)) {
		TRY(nfc_normalize(text, len, &normal, &len));
		text = normal;
	}
	for (size_t at = 0, end = 0; at < len; at = end) {
		TRY(splitter_next(&e->t->splitter, text, len, at, &end));
		TRY(encode_piece(e, text + at, end - at));
	}
done:
	free(normal);
	return status;
}

/* Any bytes without special tokens. */
static enum status encode_bytes(struct encoder *e, const char *text, size_t len)
{
	enum status status = STATUS_OK;
	size_t start = 0, at = 0;
	while (at < len) {
		utf8proc_int32_t code;
		utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)text + at,
		                                      (utf8proc_ssize_t)(len - at), &code);
		if (n > 0) {
			at += (size_t)n;
			continue;
		}
		TRY(encode_text(e, text + start, at - start));
		TRY(encode_piece(e, text + at, 1));
		start = ++at;
	}
	TRY(encode_text(e, text + start, at - start));
done:
	return status;
}

/* First of specials[low..high), which agree in their first `depth` bytes, whose next byte is at
 * least `byte`. */
static size_t lower_bound(const struct tokenizer *t, size_t low, size_t high, size_t depth,
                          int byte)
{
	while (low < high) {
		size_t middle = (low + high) / 2;
		struct gguf_string s = t->tokens[t->specials[middle]];
		if (s.len > depth && (uint8_t)s.data[depth] >= byte)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* The longest special token that the text starts with; -1 when there is none. */
static int32_t match_special(const struct tokenizer *t, const char *text, size_t len)
{
	int32_t found = -1;
	size_t low = 0, high = t->n_specials;
	for (size_t depth = 0; depth < len && low < high; depth++) {
		int byte = (uint8_t)text[depth];
		low = lower_bound(t, low, high, depth, byte);
		high = lower_bound(t, low, high, depth, byte + 1);
		if (low < high && t->tokens[t->specials[low]].len == depth + 1)
			found = t->specials[low];
	}
	return found;
}

enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, int32_t **ids,
                             size_t *n)
{
	enum status status;
	struct encoder e = {.t = t};
	size_t start = 0, at = 0;
	if (len > INT32_MAX)
		TRY(fail(STATUS_UNSUPPORTED, "a text of %zu bytes is too long", len));
	TRY(reserve(&e, len + 1));
	if (t->bos >= 0)
		TRY(push(&e, t->bos));
	while (at < len) {
		int32_t special = match_special(t, text + at, len - at);
		if (special < 0) {
			at++;
			continue;
		}
		TRY(encode_bytes(&e, text + start, at - start));
		TRY(push(&e, special));
		at += t->tokens[special].len;
		start = at;
	}
	TRY(encode_bytes(&e, text + start, at - start));
	*ids = e.ids;
	*n = e.n;
	e.ids = NULL;
done:
	bpe_scratch_free(&e.scratch);
	free(e.ids);
	return status;
}

struct gguf_string tokenizer_bytes(const struct tokenizer *t, int32_t id)
{
	if (id < 0 || (size_t)id >= t->n_tokens)
		return (struct gguf_string){"", 0};
	return t->tokens[id];
}

int32_t tokenizer_find(const struct tokenizer *t, const char *text)
{
	const struct gguf_string wanted = {text, strlen(text)};
	for (size_t i = 0; i < t->n_tokens; i++)
		if (equal(t->tokens[i], wanted))
			return (int32_t)i;
	return -1;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
	for (int i = 0; i < t->n_ends; i++)
		if (t->ends[i] == id)
			return true;
	return false;
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
	return id >= 0 && (size_t)id < t->n_tokens && t->types[id] == TOKEN_CONTROL;
}

static enum status check_id(const struct tokenizer *t, int32_t id)
{
	if (id < 0 || (size_t)id >= t->n_tokens)
		return fail(STATUS_FAILED, "%s: token %d is not in the vocabulary of %zu", t->path,
		            id, t->n_tokens);
	return STATUS_OK;
}

enum status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, char **text,
                             size_t *len)
{
	enum status status = STATUS_OK;
	size_t bytes = 0, at = 0;
	for (size_t i = 0; i < n; i++) {
		TRY(check_id(t, ids[i]));
		bytes += t->tokens[ids[i]].len;
	}
	*text = malloc(bytes + 1);
	if (!*text)
		return fail(STATUS_NO_MEMORY, "out of memory for %zu bytes of text", bytes);
	for (size_t i = 0; i < n; i++) {
		struct gguf_string s = t->tokens[ids[i]];
		memcpy(*text + at, s.data, s.len);
		at += s.len;
	}
	(*text)[at] = '\0';
	*len = at;
done:
	return status;
}

/* Bytes of a UTF-8 sequence, by its first one; 0 for a byte that starts none. */
static size_t sequence_bytes(uint8_t first)
{
	if (first < 0x80)
		return 1;
	return first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* Length of the unfinished UTF-8 sequence at the end, 0 when there is none. */
static size_t unfinished(const char *text, size_t len)
{
	for (size_t back = 1; back <= 3 && back <= len; back++) {
		uint8_t byte = (uint8_t)text[len - back];
		if ((byte & 0xc0) != 0x80)
			return sequence_bytes(byte) > back ? back : 0;
	}
	return 0;
}

enum status tokenizer_stream_next(struct tokenizer_stream *s, const struct tokenizer *t, int32_t id,
                                  struct gguf_string *text)
{
	enum status status;
	TRY(check_id(t, id));
	struct gguf_string token = t->tokens[id];
	size_t len = s->held + token.len;
	if (len > s->capacity || !s->buffer) {
		char *buffer = realloc(s->buffer, s->at + 2 * len + 64);
		if (!buffer)
			return fail(STATUS_NO_MEMORY, "out of memory for %zu bytes of text", len);
		s->buffer = buffer;
		s->capacity = 2 * len + 64;
	}
	memmove(s->buffer, s->buffer + s->at, s->held);
	memcpy(s->buffer + s->held, token.data, token.len);
	s->held = unfinished(s->buffer, len);
	s->at = len - s->held;
	*text = (struct gguf_string){s->buffer, s->at};
done:
	return status;
}

struct gguf_string tokenizer_stream_end(struct tokenizer_stream *s)
{
	struct gguf_string text = {s->held ? s->buffer + s->at : "", s->held};
	s->at = s->held = 0;
	return text;
}

void tokenizer_stream_close(struct tokenizer_stream *s)
{
	free(s->buffer);
	*s = (struct tokenizer_stream){0};
}
