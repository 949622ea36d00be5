/* The tokenizer against ids of Hugging Face's, and its properties on any bytes. */
#include "model/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utf8proc.h>

#include "model/nfc.h"
#include "model/split.h"
#include "tests/fuzz/fuzz.h"
#include "tests/gguf_make.h"

#include <cmocka.h>

/* Ids of make_vocabulary. */
enum {
	TH = 256,
	THE = 257,
	END_OF_TEXT = 266,
	IM_START = 267,
	IM_END = 268,
	N_TOKENS = 269,
};

static char path[] = "/tmp/warpsmith-tokenizer-XXXXXX";
static struct gguf_make m;
static struct tokenizer t;

static enum status open_file(const char *name)
{
	struct gguf g;
	tokenizer_close(&t);
	if (gguf_open(name, &g) != STATUS_OK)
		fail_msg("%s", fail_message());
	enum status status = tokenizer_open(&g, &t);
	gguf_close(&g);
	return status;
}

static enum status open_made(void)
{
	struct blob file;
	make_write(&m, &file);
	blob_save(&file, path);
	blob_free(&file);
	return open_file(path);
}

static void must_open(void)
{
	if (open_made() != STATUS_OK)
		fail_msg("%s", fail_message());
}

static void refused(enum status status, const char *says)
{
	assert_int_not_equal(status, STATUS_OK);
	if (!strstr(fail_message(), path) || !strstr(fail_message(), says))
		fail_msg("'%s' does not name the file or say '%s'", fail_message(), says);
}

static int begin(void **state)
{
	(void)state;
	make_open(&m);
	make_vocabulary(&m);
	must_open();
	return 0;
}

static int end(void **state)
{
	(void)state;
	make_close(&m);
	tokenizer_close(&t);
	tokenizer_close(&t); /* twice is fine */
	return 0;
}

static int32_t *encode(const char *text, size_t len, size_t *n)
{
	int32_t *ids = NULL;
	if (tokenizer_encode(&t, text, len, &ids, n) != STATUS_OK)
		fail_msg("%s", fail_message());
	return ids;
}

/* The text's tokens, each followed by a bar. */
static void becomes(const char *text, const char *expected)
{
	char got[512] = "";
	size_t n, at = 0;
	int32_t *ids = encode(text, strlen(text), &n);
	for (size_t i = 0; i < n; i++) {
		struct gguf_string s = tokenizer_bytes(&t, ids[i]);
		at += (size_t)snprintf(got + at, sizeof got - at, "%.*s|", (int)s.len, s.data);
	}
	free(ids);
	assert_string_equal(got, expected);
}

static void merges_by_rank(void **state)
{
	(void)state;
	becomes("", "");
	becomes("the", "the|");
	becomes("a the in", "a| the| |in|");
	becomes("aaaaaaa", "aaaa|aa|a|");
	becomes("aaaaaaaaaaaaaaaaa", "aaaaaaaa|aaaaaaaa|a|");
	becomes("other", "o|the|r|"); /* "th" has a lower rank than "er" */
	becomes("tthhe", "t|th|h|e|");
}

static void pieces_are_merged_apart(void **state)
{
	(void)state;
	becomes("   a", "  | a|");
	becomes("a   ", "a|  | |");
	becomes("aa1aa", "aa|1|aa|");
	becomes("12", "1|2|");
	becomes("in'the", "in|'|t|h|e|"); /* a piece ends behind 't */
	becomes("in'xthe", "in|'|x|the|");
}

static void special_tokens_are_found(void **state)
{
	(void)state;
	becomes("a<|im_end|>a", "a|<|im_end|>|a|");
	becomes("<|im_end|><|im_start|>", "<|im_end|>|<|im_start|>|");
	becomes("<|im_end", "<|||i|m|_|e|n|d|");
	becomes("<<|im_end|>", "<|<|im_end|>|");
	becomes("a <|im_end|>", "a| |<|im_end|>|");
}

static void set_type(size_t id, int32_t type)
{
	memcpy(make_find(&m, "tokenizer.ggml.token_type")->value.data + 12 + 4 * id, &type, 4);
}

static void longest_special_token_first(void **state)
{
	(void)state;
	set_type(TH, 4);
	must_open();
	becomes("the", "th|e|");
	set_type(THE, 3);
	must_open();
	becomes("thethan", "the|th|a|n|");
	set_type(THE, 5); /* unused: not looked for */
	must_open();
	becomes("the", "th|e|");
}

static void text_is_normalised_between_special_tokens(void **state)
{
	(void)state;
	becomes("e\u0301", "\xc3|\xa9|");
	becomes("e<|im_end|>\u0301", "e|<|im_end|>|\xcc|\x81|");
	becomes("e\xff\u0301", "e|\xff|\xcc|\x81|");
}

static void bytes_that_are_not_utf8(void **state)
{
	(void)state;
	becomes("\xff\xfe the\xc3", "\xff|\xfe| the|\xc3|");
	becomes("\xed\xa0\x80", "\xed|\xa0|\x80|");          /* a surrogate */
	becomes("\xc0\xaf", "\xc0|\xaf|");                   /* overlong */
	becomes("\xf4\x90\x80\x80", "\xf4|\x90|\x80|\x80|"); /* beyond U+10FFFF */
}

static void every_byte_comes_back(void **state)
{
	(void)state;
	char *text, bytes[65536];
	size_t n, len;
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)(i % 2 ? i >> 9 : i >> 1); /* every pair of bytes */
	for (size_t at = 0; at < sizeof bytes; at += 512) {
		int32_t *ids = encode(bytes + at, 512, &n);
		assert_int_equal(tokenizer_decode(&t, ids, n, &text, &len), STATUS_OK);
		assert_int_equal(len, 512);
		assert_memory_equal(text, bytes + at, 512);
		free(text);
		free(ids);
	}
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* Bytes of one kind or of all: any, of text, of many code points. Returns their number. */
static size_t random_bytes(uint32_t *state, uint8_t *to, size_t room)
{
	size_t n = 0;
	const size_t len = next_random(state) % room;
	const uint32_t kinds = 1 + next_random(state) % 7;
	while (n + 4 <= len) {
		const uint32_t kind = next_random(state) % 3, random = next_random(state);
		if (!(kinds >> kind & 1))
			continue;
		if (kind == 0)
			to[n++] = (uint8_t)random;
		else if (kind == 1)
			to[n++] = (uint8_t) " \n\r\t'<|0aeinrst.!"[random % 18];
		else
			n += (size_t)utf8proc_encode_char(
			        (utf8proc_int32_t)(random % 4 ? random % 0x700 : random % 0xd800),
			        to + n);
	}
	return n;
}

/* By the bundled model's vocabulary. */
static void random_bytes_come_back(void **state)
{
	(void)state;
	uint32_t random = 11;
	assert_int_equal(open_file(SOURCE_DIR "/models/warpsmith-tiny.gguf"), STATUS_OK);
	for (int trial = 0; trial < 20000; trial++) {
		uint8_t bytes[256], expected[4 * sizeof bytes];
		char *text;
		size_t n_ids, len, n = random_bytes(&random, bytes, sizeof bytes);
		const size_t n_expected = normal_bytes(bytes, n, expected);
		int32_t *ids = encode((const char *)bytes, n, &n_ids);
		assert_true(n_ids <= n_expected);
		assert_int_equal(tokenizer_decode(&t, ids, n_ids, &text, &len), STATUS_OK);
		assert_int_equal(len, n_expected);
		assert_memory_equal(text, expected, len);
		free(text);
		free(ids);
	}
}

/* How fast 1 MB of the bundled model's language is; nothing depends on it. */
static void speed(void **state)
{
	(void)state;
	static const char sentences[] = "Listen to this story. Anna put the ball in the hall. Tom "
	                                "likes Lucy's 5 red coins.\n";
	const size_t bytes = 1 << 20;
	char *text = malloc(bytes);
	size_t n;
	assert_non_null(text);
	for (size_t i = 0; i < bytes; i++)
		text[i] = sentences[i % (sizeof sentences - 1)];
	assert_int_equal(open_file(SOURCE_DIR "/models/warpsmith-tiny.gguf"), STATUS_OK);
	const clock_t start = clock();
	int32_t *ids = encode(text, bytes, &n);
	print_message("1 MB to %zu tokens in %.0f ms\n", n,
	              1e3 * (double)(clock() - start) / CLOCKS_PER_SEC);
	assert_true(n > 0 && n < bytes);
	free(ids);
	free(text);
}

static void fuzzing(void **state)
{
	(void)state;
	static const char seed[] =
	        "<|im_start|>the cat's in the  hall\r\n\n\t 12 caf\u00e9 e\u0301\u0323 "
	        "\uac00\u11a8 \U0001f600<|im_end|>\u3000\xc2\x85 aaaaaaaa\xff\xe2\x82!";
	fuzz_mutations(tokenizer_fuzz, (const uint8_t *)seed, sizeof seed, 20000, 1);
}

/* Text of 1 MB made of one unit, that is what comes back: quadratic time would be hours. */
static void time_is_near_linear(void **state)
{
	(void)state;
	static const char *const units[] = {
	        "a",      " ",    "\n",         " \n",      "the ",         "!", "\u00e9",
	        "\u4e2d", "\xff", "<|im_end|>", "<|im_end", "\u0323\u0301", "1"};
	const size_t bytes = 1 << 20;
	for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
		size_t unit = strlen(units[u]), len = bytes / unit * unit, n, back;
		char *text = malloc(len), *decoded;
		assert_non_null(text);
		for (size_t at = 0; at < len; at += unit)
			memcpy(text + at, units[u], unit);
		clock_t start = clock();
		int32_t *ids = encode(text, len, &n);
		assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 10);
		assert_int_equal(tokenizer_decode(&t, ids, n, &decoded, &back), STATUS_OK);
		assert_int_equal(back, len);
		assert_true(u == 11 || !memcmp(decoded, text, len)); /* marks are put in order */
		free(decoded);
		free(ids);
		free(text);
	}
}

/* Random code points, many of them combining, by utf8proc alone. */
static void normal_form_as_utf8proc_has_it(void **state)
{
	(void)state;
	uint32_t random = 7;
	for (int trial = 0; trial < 20000; trial++) {
		uint8_t text[128];
		size_t len = 0, n;
		char *normal;
		for (int i = trial % 24; i >= 0; i--) {
			random = random * 1664525 + 1013904223;
			uint32_t code = random >> 8, kind = random >> 30;
			code = kind == 0   ? 0x300 + code % 0x70
			       : kind == 1 ? 0x1e00 + code % 0x200
			       : kind == 2 ? 0x1100 + code % 0x100
			                   : code % 0xd800;
			code += code ==
			        0x11a7; /* utf8proc composes it, wrongly: tokenizer_golden.csv */
			len += (size_t)utf8proc_encode_char((utf8proc_int32_t)code, text + len);
		}
		utf8proc_uint8_t *expected;
		utf8proc_ssize_t expected_len = utf8proc_map(text, (utf8proc_ssize_t)len, &expected,
		                                             UTF8PROC_STABLE | UTF8PROC_COMPOSE);
		assert_int_equal(nfc_normalize((char *)text, len, &normal, &n), STATUS_OK);
		assert_int_equal(n, expected_len);
		assert_memory_equal(normal, expected, n);
		free(normal);
		free(expected);
	}
}

static void ends_and_begin(void **state)
{
	(void)state;
	assert_true(tokenizer_is_end(&t, IM_END));
	assert_true(tokenizer_is_end(&t, END_OF_TEXT));
	assert_false(tokenizer_is_end(&t, IM_START));
	assert_false(tokenizer_is_end(&t, -1));
	assert_true(tokenizer_is_control(&t, IM_START));
	assert_false(tokenizer_is_control(&t, THE));
	assert_int_equal(tokenizer_find(&t, "<|im_start|>"), IM_START);
	assert_int_equal(tokenizer_find(&t, "nothing"), -1);

	make_u32(&m, "tokenizer.ggml.eos_token_id", END_OF_TEXT);
	must_open();
	assert_true(tokenizer_is_end(&t, END_OF_TEXT));
	assert_false(tokenizer_is_end(&t, IM_END));
	make_u32(&m, "tokenizer.ggml.eot_token_id", IM_START);
	must_open();
	assert_true(tokenizer_is_end(&t, IM_START));
	make_u32(&m, "tokenizer.ggml.eom_token_id", THE);
	must_open();
	assert_true(tokenizer_is_end(&t, THE));
	assert_true(tokenizer_is_end(&t, IM_START));
	make_u32(&m, "tokenizer.ggml.eos_token_id", IM_END);
	must_open(); /* four */
	assert_true(tokenizer_is_end(&t, END_OF_TEXT));

	make_bool(&m, "tokenizer.ggml.add_bos_token", true);
	must_open();
	becomes("a", "<|endoftext|>|a|");
	becomes("", "<|endoftext|>|");
}

static void other_tokenizers_are_refused(void **state)
{
	(void)state;
	make_string(&m, "tokenizer.ggml.pre", "llama-bpe");
	refused(open_made(), "'tokenizer.ggml.pre' is 'llama-bpe', only 'qwen2' is supported");
	make_remove(&m, make_find(&m, "tokenizer.ggml.pre"));
	refused(open_made(), "key 'tokenizer.ggml.pre' is missing");
	make_string(&m, "tokenizer.ggml.model", "llama");
	refused(open_made(), "'tokenizer.ggml.model' is 'llama', only 'gpt2' is supported");
}

static void merges_of_unknown_tokens(void **state)
{
	(void)state;
	const char *const no_left[] = {"t h", "zz h"}, *const no_whole[] = {"q q"},
	                  *const one[] = {"th"};
	make_strings(&m, "tokenizer.ggml.merges", no_left, 2);
	refused(open_made(), "merge 1 'zz h': 'zz' is not in the vocabulary");
	make_strings(&m, "tokenizer.ggml.merges", no_whole, 1);
	refused(open_made(), "merge 0 'q q': 'qq' is not in the vocabulary");
	make_strings(&m, "tokenizer.ggml.merges", one, 1);
	refused(open_made(), "merge 0 is 'th', expected two tokens");
}

static void missing_bytes_matter_when_needed(void **state)
{
	(void)state;
	int32_t *ids;
	size_t n;
	uint8_t *tokens = make_find(&m, "tokenizer.ggml.tokens")->value.data + 12;
	for (int byte = 0; byte < 'q'; byte++)
		tokens += 8 + *tokens;
	tokens[8] = 'z'; /* q is gone, z is there twice */
	must_open();
	becomes("az", "a|z|");
	refused(tokenizer_encode(&t, "aqua", 4, &ids, &n), "no token for byte 0x71");
}

static void ids_outside_the_vocabulary(void **state)
{
	(void)state;
	const int32_t ids[] = {THE, N_TOKENS}, negative = -1;
	char *text;
	size_t len;
	struct gguf_string part;
	struct tokenizer_stream s = {0};
	refused(tokenizer_decode(&t, ids, 2, &text, &len),
	        "token 269 is not in the vocabulary of 269");
	refused(tokenizer_decode(&t, &negative, 1, &text, &len), "token -1");
	refused(tokenizer_stream_next(&s, &t, N_TOKENS, &part), "token 269");
	assert_int_equal(tokenizer_bytes(&t, N_TOKENS).len, 0);
	assert_int_equal(tokenizer_decode(&t, ids, 1, &text, &len), STATUS_OK);
	assert_string_equal(text, "the");
	free(text);
	tokenizer_stream_close(&s);
}

/* The euro sign in three tokens, a lone lead byte, a byte that is never text, an emoji
 * and the start of one. */
static void stream_holds_back_unfinished_sequences(void **state)
{
	(void)state;
	static const struct {
		int32_t id;
		const char *text;
	} steps[] = {
	        {'a', "a"},
	        {0xe2, ""},
	        {0x82, ""},
	        {0xac, "\u20ac"},
	        {0xc3, ""},
	        {'b', "\xc3"
	              "b"},
	        {0xff, "\xff"},
	        {0x80, "\x80"},
	        {THE, "the"},
	        {0xf0, ""},
	        {0x9f, ""},
	        {0x98, ""},
	        {0x80, "\U0001f600"},
	        {0xf0, ""},
	        {0x9f, ""},
	        {0x98, ""},
	};
	struct tokenizer_stream s = {0};
	struct gguf_string part;
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		assert_int_equal(tokenizer_stream_next(&s, &t, steps[i].id, &part), STATUS_OK);
		assert_int_equal(part.len, strlen(steps[i].text));
		assert_memory_equal(part.data, steps[i].text, part.len);
	}
	part = tokenizer_stream_end(&s);
	assert_int_equal(part.len, 3);
	assert_memory_equal(part.data, "\xf0\x9f\x98", 3);
	assert_int_equal(tokenizer_stream_end(&s).len, 0);
	tokenizer_stream_close(&s);
	tokenizer_stream_close(&s);
}

static size_t from_hex(const char *hex, char *bytes)
{
	size_t n = 0;
	unsigned byte;
	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
		bytes[n++] = (char)byte;
	return n;
}

/* One row, "text_hex,bytes": where the text is cut. */
static void check_pieces(char *row)
{
	static char text[4096];
	char *expected = strchr(row, ',');
	size_t len = from_hex(row, text);
	assert_non_null(expected++);
	for (size_t at = 0, end = 0; at < len; at = end) {
		size_t bytes = strtoul(expected, &expected, 10);
		assert_int_equal(splitter_next(&t.splitter, text, len, at, &end), STATUS_OK);
		if (end != at + bytes)
			fail_msg("'%.*s': piece at %zu has %zu bytes, expected %zu", (int)len, text,
			         at, end - at, bytes);
	}
	assert_int_equal(strspn(expected, "\r\n"), strlen(expected));
}

/* One row, "text_hex,ids,decoded_hex". */
static void check_golden(char *row)
{
	static char text[4096], decoded[4096], got[65536];
	char *ids_text = strchr(row, ','), *decoded_hex = strrchr(row, ','), *back;
	assert_true(ids_text && ids_text < decoded_hex);
	*ids_text = *decoded_hex = '\0';
	size_t len = from_hex(row, text), decoded_len = from_hex(decoded_hex + 1, decoded), n,
	       back_len;
	int32_t *ids = encode(text, len, &n);
	size_t at = 0;
	got[0] = '\0';
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(got + at, sizeof got - at, "%s%d", i ? " " : "", ids[i]);
	if (strcmp(got, ids_text + 1))
		fail_msg("'%.*s' is %s, expected %s", (int)len, text, got, ids_text + 1);
	assert_int_equal(tokenizer_decode(&t, ids, n, &back, &back_len), STATUS_OK);
	assert_int_equal(back_len, decoded_len);
	assert_memory_equal(back, decoded, decoded_len);
	free(back);
	free(ids);
}

/* Calls check for each row behind the first; returns their number. */
static int each_row(const char *name, void (*check)(char *row))
{
	char *row = NULL;
	size_t capacity = 0;
	int rows = 0;
	FILE *f = fopen(name, "r");
	assert_non_null(f);
	assert_true(getline(&row, &capacity, f) > 0); /* column names */
	for (; getline(&row, &capacity, f) > 0; rows++)
		check(row);
	fclose(f);
	free(row);
	return rows;
}

static void pieces_of_hugging_face(void **state)
{
	(void)state;
	assert_true(each_row(SOURCE_DIR "/tests/data/pieces_golden.csv", check_pieces) > 1100);
}

static void ids_of_hugging_face(void **state)
{
	(void)state;
	if (open_file(SOURCE_DIR "/models/warpsmith-tiny.gguf") != STATUS_OK)
		fail_msg("%s", fail_message());
	assert_true(each_row(SOURCE_DIR "/tests/data/tokenizer_golden.csv", check_golden) > 300);
	assert_true(each_row(SOURCE_DIR "/tests/data/tokenizer_stress.csv", check_golden) > 1000);
}

/* Merges as the definition has it: again and again the lowest rank, leftmost first. */
static size_t merge_slowly(const int32_t rank[16][16], const int32_t merged[16][16], int32_t *ids,
                           size_t n)
{
	for (;;) {
		int32_t lowest = INT32_MAX;
		size_t at = 0;
		for (size_t i = 0; i + 1 < n; i++)
			if (ids[i] < 16 && ids[i + 1] < 16 && rank[ids[i]][ids[i + 1]] < lowest) {
				lowest = rank[ids[i]][ids[i + 1]];
				at = i;
			}
		if (lowest == INT32_MAX)
			return n;
		ids[at] = merged[ids[at]][ids[at + 1]];
		memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
		n--;
	}
}

/* Random merges among 16 tokens, many of which make tokens that merge again. */
static void merges_as_defined(void **state)
{
	(void)state;
	uint32_t random = 3;
	struct bpe_scratch scratch = {0};
	for (int trial = 0; trial < 3000; trial++) {
		int32_t rank[16][16], merged[16][16], ids[40], expected[40];
		struct bpe bpe;
		assert_int_equal(bpe_open(&bpe, 256), STATUS_OK);
		for (int32_t i = 0; i < 256; i++) {
			random = random * 1664525 + 1013904223;
			int32_t left = i * 37 % 256 / 16, right = i * 37 % 16;
			rank[left][right] = random >> 30 ? INT32_MAX : i;
			merged[left][right] = (int32_t)(random >> 8) % 20;
			if (!(random >> 30))
				bpe_add(&bpe, left, right, (uint32_t)i, merged[left][right]);
		}
		size_t n = 1 + (size_t)trial % 40, n_expected;
		for (size_t i = 0; i < n; i++) {
			random = random * 1664525 + 1013904223;
			ids[i] = expected[i] = (int32_t)(random >> 28);
		}
		n_expected = merge_slowly(rank, merged, expected, n);
		assert_int_equal(bpe_merge(&bpe, &scratch, ids, &n), STATUS_OK);
		assert_int_equal(n, n_expected);
		assert_memory_equal(ids, expected, n * sizeof *ids);
		bpe_close(&bpe);
	}
	bpe_scratch_free(&scratch);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(merges_by_rank),
	        TEST(pieces_are_merged_apart),
	        TEST(special_tokens_are_found),
	        TEST(longest_special_token_first),
	        TEST(text_is_normalised_between_special_tokens),
	        TEST(bytes_that_are_not_utf8),
	        TEST(every_byte_comes_back),
	        TEST(random_bytes_come_back),
	        TEST(speed),
	        TEST(fuzzing),
	        TEST(time_is_near_linear),
	        TEST(normal_form_as_utf8proc_has_it),
	        TEST(ends_and_begin),
	        TEST(other_tokenizers_are_refused),
	        TEST(merges_of_unknown_tokens),
	        TEST(missing_bytes_matter_when_needed),
	        TEST(ids_outside_the_vocabulary),
	        TEST(stream_holds_back_unfinished_sequences),
	        TEST(merges_as_defined),
	        TEST(pieces_of_hugging_face),
	        TEST(ids_of_hugging_face),
	};
	int file = mkstemp(path);
	if (file < 0)
		return 1;
	close(file);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
