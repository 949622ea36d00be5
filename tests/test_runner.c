/* The command line of warpsmith-run: what it prints, what it refuses, and with which exit code. */
#include "bench/csv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/command.h"

#define RUN       BINARY_DIR "/bin/warpsmith-run"
#define DATA      SOURCE_DIR "/tests/data/golden/"
#define MODEL     DATA "q8_0-g2-d64-long.gguf"
#define OUTPUT    BINARY_DIR "/test_runner.csv"
#define NAN_MODEL BINARY_DIR "/test_runner.gguf"
#define TEXT      BINARY_DIR "/test_runner.txt"
#define CSV_DIR   BINARY_DIR "/test_runner"
#if SIMT_WARP == 1
#define HOST "host"
#else
#define HOST "host32"
#endif
#define CSV_FILE CSV_DIR "/" HOST "/prefill.csv"

static struct command_result result;

/* Runs warpsmith-run with these arguments; the previous result is freed. */
#define RUN_WITH(...) run_with((const char *const[]){RUN, "--quiet", __VA_ARGS__, NULL})

static int run_with(const char *const *argv)
{
	command_free(&result);
	result = command_run(argv);
	return result.exit_code;
}

static void expect_error(int exit_code, const char *message)
{
	if (result.exit_code != exit_code || !strstr(result.err, message)) {
		print_error("exit code %d, expected %d; message '%s', expected '%s'\n",
		            result.exit_code, exit_code, result.err, message);
		fail();
	}
	assert_string_equal(result.out, "");
}

static void refuses_bad_usage(void **state)
{
	(void)state;
	static const struct {
		const char *argv[6], *message;
	} cases[] = {
	        {{"-p", "x"}, "give one of -m FILE and --random SIZE"},
	        {{"-m", MODEL, "--random", "qwen2.5-0.5b"}, "give one of -m FILE and --random"},
	        {{"-m", MODEL}, "nothing to decode"},
	        {{"-m", MODEL, "--frobnicate"}, "unknown option '--frobnicate'"},
	        {{"-m", MODEL, "--tokens", "1,x"}, "--tokens: '1,x' is not a list of ids"},
	        {{"-m", MODEL, "--tokens", "1,"}, "is not a list of ids"},
	        {{"-m", MODEL, "--tokens", "-1"}, "is not a list of ids"},
	        {{"-m", MODEL, "--tokens", "288"}, "token 288 is outside the vocabulary of 288"},
	        {{"-m", MODEL, "--detokenize", "--tokens", "288"}, "token 288 is outside"},
	        {{"-m", MODEL, "--ppl", "x", "-p", "x"}, "only one of -p, -f, --tokens and --ppl"},
	        {{"-m", MODEL, "-p", "x", "--device", "cuda:x"}, "--device cuda:x: expected auto"},
	        {{"-m", MODEL, "--bench", "--at", "2147483647"}, "--at: a cache length of 1 to"},
	        {{"-m", MODEL, "--profile", "-c", "1"}, "--profile --at 1024 needs a context of"},
	        {{"-m", MODEL, "-n", "-1", "-p", "x"}, "--n: '-1' is not a whole number"},
	        {{"-m", MODEL, "--kv", "q4_0", "-p", "x"}, "--kv: 'q4_0' is none of"},
	        {{"-m", MODEL, "-c", "0", "-p", "x"}, "-c: a context of at least 1 token"},
	        {{"-m", MODEL, "--top-p", "0", "-p", "x"}, "--top-p 0: expected more than 0"},
	        {{"-m", MODEL, "--top-p", "1.5", "-p", "x"}, "--top-p 1.5: expected"},
	        {{"-m", MODEL, "--top-p", "nan", "-p", "x"}, "--top-p"},
	        {{"-m", MODEL, "--top-k", "-1", "-p", "x"}, "--top-k -1: expected 0"},
	        {{"-m", MODEL, "--temp", "-1", "-p", "x"}, "--temp -1: expected 0 to 100"},
	        {{"-m", MODEL, "--temp", "inf", "-p", "x"}, "--temp"},
	        {{"-m", MODEL, "--seed", "-1", "-p", "x"}, "--seed: '-1' is not"},
	        {{"-m", MODEL, "--chunk", "0", "-p", "x"}, "--chunk: 1 to 32768 tokens"},
	        {{"-m", MODEL, "--chunk", "32769", "-p", "x"}, "--chunk: 1 to 32768 tokens"},
	        {{"-m", MODEL, "--prefill", "5", "-p", "x"},
	         "--prefill: 1 to 1073741824 tokens, "
	         "with --bench"},
	        {{"-m", MODEL, "--prefill", "0", "--bench"}, "--prefill: 1 to"},
	        {{"-m", MODEL, "--tokenize"}, "--tokenize needs -p TEXT"},
	        {{"-m", MODEL, "--trace", "1", "--trace-layer", "9"}, "nothing to decode"},
	        {{"-m", MODEL, "--write-gguf", OUTPUT}, "--write-gguf needs --random SIZE"},
	        {{"--random", "qwen3-1b"}, "unknown model 'qwen3-1b'"},
	        {{"--random", "qwen2.5-0.5b:q2"}, "unknown type 'q2'"},
	        {{"--random", "qwen2.5-0.5b", "-p", "x"}, "--random has no vocabulary"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *argv[8] = {RUN};
		memcpy(argv + 1, cases[i].argv, sizeof cases[i].argv);
		run_with(argv);
		expect_error(2, cases[i].message);
	}
}

static void names_what_fails(void **state)
{
	(void)state;
	RUN_WITH("-m", "/nonexistent.gguf", "-p", "x");
	expect_error(1, "/nonexistent.gguf: No such file");
	RUN_WITH("-m", SOURCE_DIR "/README.md", "-p", "x");
	expect_error(1, "README.md: ");
	RUN_WITH("-m", MODEL, "-f", "/nonexistent.txt");
	expect_error(1, "/nonexistent.txt: No such file");
	RUN_WITH("-m", MODEL, "-p", "x", "--logits", "/nonexistent/x.csv");
	expect_error(1, "--logits /nonexistent/x.csv");
	RUN_WITH("-m", MODEL, "-p", "x", "--logits", "/dev/full");
	assert_int_equal(result.exit_code, 1);
	assert_non_null(strstr(result.err, "--logits /dev/full: No space left"));
	RUN_WITH("--random", "qwen2.5-0.5b", "--write-gguf", "/nonexistent/x.gguf");
	expect_error(1, "/nonexistent/x.gguf: No such file");
	RUN_WITH("-m", MODEL, "-p", "x", "--device", "cuda:99");
	assert_int_equal(result.exit_code, 1);
	/* before anything is measured */
	command_free(&result);
	result = command_run((const char *const[]){RUN, "-m", MODEL, "--bench", "--at", "8",
	                                           "--csv", "/dev/null", "--device", "auto", NULL});
	expect_error(1, "/dev/null/");
	assert_null(strstr(result.err, "decoding"));
}

/* Under a shell, which redirects or closes streams. */
static void run_shell(const char *arguments)
{
	char line[1024];
	snprintf(line, sizeof line, "%s -m %s --quiet %s", RUN, MODEL, arguments);
	command_free(&result);
	result = command_run((const char *const[]){"/bin/sh", "-c", line, NULL});
}

static void lost_output_is_a_failure(void **state)
{
	static const char *const full[] = {"-p x -n 2", "--tokenize -p x",     "--inspect",
	                                   "--plan",    "-p x -n 2 --trace 1", "--version"};
	char line[256];
	(void)state;
	for (size_t i = 0; i < sizeof full / sizeof *full; i++) {
		snprintf(line, sizeof line, "%s > /dev/full", full[i]);
		run_shell(line);
		assert_int_equal(result.exit_code, 1);
		assert_non_null(strstr(result.err, "warpsmith-run: "));
	}
	/* the text does not go into a file that got the number of stdout */
	run_shell("--tokens 5 -n 1 --ignore-eos --logits " OUTPUT " >&-");
	assert_int_equal(result.exit_code, 1);
	assert_non_null(strstr(result.err, "cannot write the text: Bad file descriptor"));
	run_shell("--tokens 5 -n 1 2>&-");
	assert_int_equal(result.exit_code, 0);
	unlink(OUTPUT);
}

static void perplexity_needs_two_tokens(void **state)
{
	FILE *file = fopen(TEXT, "w");
	(void)state;
	assert_non_null(file);
	fputs("x", file);
	fclose(file);
	RUN_WITH("-m", MODEL, "--ppl", TEXT);
	expect_error(1, TEXT ": perplexity needs 2 tokens, the text has 1");
	unlink(TEXT);
	RUN_WITH("-m", MODEL, "--ppl", "/nonexistent.txt");
	expect_error(1, "/nonexistent.txt: No such file");
}

/* A cache of q8_0 is within the same 0.5 %, but for models of random weights, whose attention is so
 * sharp that the rounding of keys shows; by steps and by chunks a quant may round the other way. */
static void quantised_caches_agree(const char *model, const char *text, const char *window,
                                   double expected)
{
	const double allowed = strstr(model, "warpsmith-tiny") ? 0.005 : 0.05;
	double nats[2];
	for (int i = 0; i < 2; i++) {
		const char *const way = i ? "--chunk" : "-n", *const value = i ? "150" : "1";
		RUN_WITH("-m", model, "--ppl", text, "-c", window, "--kv", "q8_0", way, value);
		assert_int_equal(result.exit_code, 0);
		const char *at = strstr(result.out, " nats");
		while (at && at > result.out && at[-1] != ' ')
			at--;
		nats[i] = at ? atof(at) : NAN;
		if (!(fabs(exp(nats[i] - expected) - 1) <= allowed))
			fail_msg("%s: %g nats with q8_0, transformers %g", model, nats[i],
			         expected);
	}
	if (!(fabs(nats[1] - nats[0]) <= 2e-3))
		fail_msg("%s: q8_0: %.6f nats by steps, %.6f by chunks", model, nats[0], nats[1]);
}

/* exp(nats) within 0.5 % of what transformers computes, with the default cache of bf16; by chunks
 * the same but for the order of sums. */
static void perplexity_matches_the_oracle(void **state)
{
	FILE *rows = fopen(SOURCE_DIR "/tests/data/perplexity.csv", "r");
	char model[64], text[64], window[16], paths[2][512];
	unsigned long expected_n, n;
	double expected, nats, by_chunks;
	int n_rows = 0, capacity, chunk;
	(void)state;
	assert_non_null(rows);
	assert_int_equal(fscanf(rows, "%*[^\n]"), 0);
	while (fscanf(rows, " %63[^,],%63[^,],%15[^,],%lu,%lf", model, text, window, &expected_n,
	              &expected) == 5) {
		snprintf(paths[0], sizeof paths[0], SOURCE_DIR "/tests/data/%s", model);
		snprintf(paths[1], sizeof paths[1], SOURCE_DIR "/tests/data/%s", text);
		RUN_WITH("-m", paths[0], "--ppl", paths[1], "-c", window);
		assert_int_equal(result.exit_code, 0);
		assert_int_equal(sscanf(result.out,
		                        "%lu tokens predicted in windows of %d: %lf nats", &n,
		                        &capacity, &nats),
		                 3);
		assert_int_equal(n, expected_n);
		assert_int_equal(capacity, atoi(window));
		if (fabs(exp(nats - expected) - 1) > 0.005)
			fail_msg("%s: %g nats, transformers %g", model, nats, expected);
		RUN_WITH("-m", paths[0], "--ppl", paths[1], "-c", window, "--chunk", "150");
		assert_int_equal(sscanf(result.out,
		                        "%lu tokens predicted in windows of %*d, %d at a time: "
		                        "%lf nats",
		                        &n, &chunk, &by_chunks),
		                 3);
		assert_int_equal(n, expected_n);
		assert_int_equal(chunk, capacity < 150 ? capacity : 150);
		if (fabs(by_chunks - nats) > 1e-4)
			fail_msg("%s: %.6f nats by steps, %.6f by chunks", model, nats, by_chunks);
		quantised_caches_agree(paths[0], paths[1], window, expected);
		n_rows++;
	}
	fclose(rows);
	assert_int_equal(n_rows, 4);
}

static void the_end_of_the_context_is_an_error(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--tokens", "1,2,3,4,5", "-c", "4");
	expect_error(1, "a prompt of 5 tokens exceeds the context of 4");
	/* A cache of 8 rows takes 5 + 3 forwards, which choose 4 tokens. */
	RUN_WITH("-m", MODEL, "--tokens", "1,2,3,4,5", "-c", "8", "-n", "4", "--ignore-eos");
	assert_int_equal(result.exit_code, 0);
	RUN_WITH("-m", MODEL, "--tokens", "1,2,3,4,5", "-c", "8", "-n", "5", "--ignore-eos");
	assert_int_equal(result.exit_code, 1);
	assert_non_null(strstr(result.err, "the context of 8 tokens is full"));
}

static char *last_line(void)
{
	char *text = result.out, *end = text + strlen(text);
	assert_true(end > text && end[-1] == '\n');
	*--end = 0;
	char *line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

static void seeds_are_deterministic(void **state)
{
	char *texts[3];
	const char *seeds[] = {"1", "1", "2"};
	(void)state;
	for (int i = 0; i < 3; i++) {
		RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "--temp", "1", "-n", "24",
		         "--ignore-eos", "--seed", seeds[i], "--print-ids");
		assert_int_equal(result.exit_code, 0);
		texts[i] = strdup(last_line());
	}
	assert_string_equal(texts[0], texts[1]);
	assert_string_not_equal(texts[0], texts[2]);
	/* on every way of launching, checked against the reference */
	static const char *const ways[] = {"--no-graph", "--unfused", "--serial", "--default-rows",
	                                   "--check"};
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "--temp", "1", "-n", "24",
		         "--ignore-eos", "--seed", "1", "--print-ids", ways[i]);
		assert_int_equal(result.exit_code, 0);
		assert_string_equal(texts[0], last_line());
	}
	/* one candidate is greedy whatever the temperature */
	RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "-n", "8", "--print-ids");
	char *greedy = strdup(last_line());
	RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "-n", "8", "--print-ids", "--temp", "5",
	         "--top-k", "1");
	assert_string_equal(greedy, last_line());
	free(greedy);
	for (int i = 0; i < 3; i++)
		free(texts[i]);
}

/* The ids of a text's golden continuation, the end token among them; none of it is text. */
static void an_end_token_ends(void **state)
{
	static const char model[] = SOURCE_DIR "/models/warpsmith-tiny.gguf";
	char ids[512], longer[1024];
	FILE *file = fopen(DATA "tiny-ball.ids.txt", "r");
	(void)state;
	assert_non_null(file);
	assert_non_null(fgets(ids, sizeof ids, file));
	fclose(file);
	ids[strcspn(ids, "\n")] = 0;
	RUN_WITH("-m", model, "-f", SOURCE_DIR "/tests/data/tiny/ball.txt", "-n", "64",
	         "--print-ids");
	assert_int_equal(result.exit_code, 0);
	assert_null(strstr(result.out, "<|endoftext|>"));
	assert_string_equal(last_line(), ids);
	RUN_WITH("-m", model, "-f", SOURCE_DIR "/tests/data/tiny/ball.txt", "-n", "64",
	         "--print-ids", "--ignore-eos");
	snprintf(longer, sizeof longer, "%s", last_line());
	assert_true(strlen(longer) > 2 * strlen(ids));
	assert_int_equal(strncmp(longer, ids, strlen(ids)), 0);
}

/* Bytes in no order (a seed without NUL and special tokens, the last byte begins a code point):
 * what is printed token by token is the text of the ids. */
static void streams_the_text_of_the_ids(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "--temp", "100", "-n", "44", "--seed", "7",
	         "--ignore-eos", "--print-ids");
	assert_int_equal(result.exit_code, 0);
	char *ids = strdup(last_line()), *text = strdup(result.out);
	text[strlen(text) - strlen(ids)] = 0;
	for (char *c = ids; *c; c++)
		*c = *c == ' ' ? ',' : *c;
	RUN_WITH("-m", MODEL, "--detokenize", "--tokens", ids);
	assert_string_equal(result.out, text);
	free(ids);
	free(text);
}

static void ways_of_launching_agree(void **state)
{
	(void)state;
	static const char *const ways[] = {"--no-graph", "--default-rows", "--window", "--check"};
	RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "-n", "12", "--print-ids");
	char *ids = strdup(last_line());
	assert_string_not_equal(ids, "");
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "-n", "12", "--print-ids", ways[i]);
		assert_int_equal(result.exit_code, 0);
		assert_string_equal(ids, last_line());
	}
	free(ids);
}

static void parses_special_tokens_in_prompts(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--tokenize", "-p", "<|im_start|>the");
	assert_int_equal(result.exit_code, 0);
	assert_int_equal(strncmp(result.out, "286 ", 4), 0);
	char ids[64];
	snprintf(ids, sizeof ids, "%s", last_line());
	for (char *c = ids; *c; c++)
		*c = *c == ' ' ? ',' : *c;
	RUN_WITH("-m", MODEL, "--detokenize", "--tokens", ids);
	assert_string_equal(result.out, "<|im_start|>the\n");
}

static size_t count_lines(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void logits_of_every_forward(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "-n", "2", "--ignore-eos", "--logits", OUTPUT);
	assert_int_equal(result.exit_code, 0);
	FILE *file = fopen(OUTPUT, "r");
	char line[128];
	size_t rows = 0;
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof line, file));
	assert_string_equal(line, "position,token,logit\n");
	while (fgets(line, sizeof line, file)) {
		int position, token;
		double logit;
		assert_int_equal(sscanf(line, "%d,%d,%lf", &position, &token, &logit), 3);
		assert_int_equal(position, (int)(rows / 288));
		assert_int_equal(token, (int)(rows % 288));
		rows++;
	}
	assert_int_equal(rows, 4 * 288); /* three of the prompt, one of a generated token */
	fclose(file);
	unlink(OUTPUT);
}

static void trace_is_csv_on_stdout(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "-n", "3", "--trace", "2", "--trace-layer", "1");
	assert_int_equal(result.exit_code, 0);
	assert_int_equal(count_lines(result.out), 1 + 2 * 4); /* header, 2 forwards of 4 heads */
	const char *line = strchr(result.out, '\n') + 1;
	for (int i = 0; i < 8; i++, line = strchr(line, '\n') + 1) {
		int forward, layer, head, token, position, length, scores;
		assert_int_equal(sscanf(line, "%d,%d,%d,%d,%d,%d,%d,", &forward, &layer, &head,
		                        &token, &position, &length, &scores),
		                 7);
		assert_int_equal(forward, i / 4);
		assert_int_equal(layer, 1);
		assert_int_equal(head, i % 4);
		assert_int_equal(token, 5 + i / 4);
		assert_int_equal(position, forward);
		assert_int_equal(length, forward + 1);
		assert_int_equal(scores, forward + 1);
	}
	assert_true(strlen(result.err) > 0); /* the text */
	RUN_WITH("-m", MODEL, "--tokens", "5", "--trace", "1", "--trace-layer", "2");
	expect_error(2, "--trace-layer: 2, but the model has layers 0 to 1");
}

/* Rows come in the order of forwards, layers and heads, whatever the order of the lists. */
static void trace_prints_chosen_layers_and_heads(void **state)
{
	static const char *const wrong[] = {"", "x", "0,", ",0", "0-", "1-0", "-1", "0,,1", "0 1"};
	static const int heads[] = {0, 2, 3};
	(void)state;
	RUN_WITH("-m", MODEL, "--tokens", "5,6", "-n", "1", "--trace", "2", "--trace-layer", "0-1",
	         "--trace-head", "2-3,0");
	assert_int_equal(result.exit_code, 0);
	const char *row = result.out;
	for (int i = 0; i < 2 * 2 * 3; i++) {
		char start[32];
		snprintf(start, sizeof start, "%d,%d,%d,", i / 6, i / 3 % 2, heads[i % 3]);
		row = strchr(row, '\n') + 1;
		assert_int_equal(strncmp(row, start, strlen(start)), 0);
	}
	assert_string_equal(strchr(row, '\n'), "\n");
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		RUN_WITH("-m", MODEL, "--tokens", "5", "--trace", "1", "--trace-head", wrong[i]);
		expect_error(2, "' is not a list such as 0,2-4");
	}
	RUN_WITH("-m", MODEL, "--tokens", "5", "--trace", "1", "--trace-head", "1,4");
	expect_error(2, "--trace-head: 4, but the model has heads 0 to 3");
}

static void check_at_a_position(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--check-at", "4096", "-n", "2");
	assert_int_equal(result.exit_code, 0);
	assert_non_null(strstr(result.err, "check: 2 forwards, 26 operations agree"));
	RUN_WITH("-m", MODEL, "--check-at", "4096", "-n", "2", "-c", "4096");
	assert_non_null(strstr(result.err, "position 4096 is outside the context of 4096 tokens"));
}

/* Every launch with a quantised cache, whose rows a launch of its own appends. */
static void a_cache_may_be_quantised(void **state)
{
	static const char *const ways[] = {"--check", "--unfused"};
	(void)state;
	for (int i = 0; i < 2; i++) {
		RUN_WITH("-m", MODEL, "--check-at", "4095", "-n", "3", "--kv", "q8_0", "--check",
		         ways[i]);
		assert_int_equal(result.exit_code, 0);
		assert_non_null(strstr(result.err, i ? "3 forwards, 69 operations agree"
		                                     : "3 forwards, 45 operations agree"));
		assert_null(strstr(result.err, "kv_append 0.000"));
	}
	RUN_WITH("-m", DATA "bf16-g1-d128-tied.gguf", "--tokens", "5,6,7", "-n", "30", "--kv",
	         "q8_0", "--check", "--ignore-eos");
	assert_int_equal(result.exit_code, 0);
	RUN_WITH("-m", DATA "f32-g5-d40-untied.gguf", "--tokens", "5", "--kv", "q8_0");
	expect_error(1, "a cache of q8_0 needs heads of a multiple of 32 elements; those of this "
	                "model have 40");
}

static void trace_warns_of_suspicious_runs(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--tokens", "5,5,5,5,5,5,5,5", "-n", "1", "--trace", "8");
	assert_int_equal(result.exit_code, 0);
	assert_non_null(strstr(result.err, "token 5 came 8 times in a row"));
	RUN_WITH("-m", MODEL, "--tokens", "5,6,5,5,5,5,5,5", "-n", "1", "--trace", "8");
	assert_null(strstr(result.err, "in a row"));
}

static void inspect_calls_large_biases_legitimate(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--inspect");
	assert_int_equal(result.exit_code, 0);
	const char *first = strchr(result.out, '\n') + 1;
	assert_int_equal(strncmp(first, "blk.0.attn_q.bias", 17), 0);
	assert_non_null(strstr(first, "=-14  legitimate: Qwen2 QKV biases reach such values"));
	assert_non_null(strstr(first, "=-34  legitimate: Qwen2 QKV biases reach such values"));
	/* by their distance from the mean: two of -14 and two of -34 */
	assert_non_null(strstr(first, "\n6 to 8                 0\n8 to 12                2  ###"));
	assert_non_null(strstr(first, "\n12 to 16               2  ###"));
	assert_non_null(strstr(first, "\n64 and more            0\n"));
}

/* A model whose last norm has 16 weights that are NaN: so is every logit. */
static void make_nan_model(void)
{
	enum { NAN_BYTES = 64 };
	char bytes[4096];
	size_t n;
	FILE *from = fopen(DATA "f32-g1-d64-tied.gguf", "rb"), *to = fopen(NAN_MODEL, "wb");
	assert_true(from && to);
	while ((n = fread(bytes, 1, sizeof bytes, from)) > 0)
		assert_int_equal(fwrite(bytes, 1, n, to), n);
	fseek(to, -NAN_BYTES, SEEK_END);
	memset(bytes, 0xff, NAN_BYTES);
	fwrite(bytes, 1, NAN_BYTES, to);
	fclose(from);
	fclose(to);
}

static void inspect_and_trace_find_nan(void **state)
{
	(void)state;
	make_nan_model();
	RUN_WITH("-m", NAN_MODEL, "--inspect");
	assert_int_equal(result.exit_code, 3);
	assert_non_null(strstr(result.err, "16 values are NaN or infinite, the first in tensor "
	                                   "'output_norm.weight'"));
	assert_non_null(strstr(result.out, "VIOLATION: NaN or infinite"));
	RUN_WITH("-m", NAN_MODEL, "--tokens", "5,6", "-n", "2", "--trace", "2");
	assert_int_equal(result.exit_code, 3);
	assert_non_null(strstr(result.err, "position 0: 288 of 288 logits are NaN or infinite, the "
	                                   "first of token 0"));
	assert_non_null(strstr(result.out, "\n0,0,0,5,0,1,1,")); /* the row is printed first */
	RUN_WITH("-m", NAN_MODEL, "--tokens", "5,6", "-n", "2", "--temp", "1", "--trace", "2");
	assert_int_equal(result.exit_code, 3);
	assert_non_null(strstr(result.err, "288 of 288 logits are NaN or infinite"));
	RUN_WITH("-m", NAN_MODEL, "--tokens", "5,6", "-n", "2", "--temp", "1", "--top-p", "0.5",
	         "--ignore-eos", "--print-ids");
	assert_int_equal(result.exit_code, 0);
	assert_string_equal(last_line(), "0 0"); /* as greedily */
	RUN_WITH("-m", NAN_MODEL, "--ppl", SOURCE_DIR "/tests/data/tiny/open.txt");
	expect_error(3, "the logits give token 1 of the text no probability");
	RUN_WITH("-m", NAN_MODEL, "--chunk", "16", "--ppl", SOURCE_DIR "/tests/data/tiny/open.txt");
	expect_error(3, "the logits give token 1 of the text no probability");
	unlink(NAN_MODEL);
}

/* A prompt by chunks is another way to the same ids; it ends with the context. */
static void prompts_go_by_chunks(void **state)
{
	static const char prompt[] = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20";
	(void)state;
	RUN_WITH("-m", MODEL, "--tokens", prompt, "-n", "8", "--print-ids", "--chunk", "1",
	         "--device", HOST);
	assert_int_equal(result.exit_code, 0);
	char *ids = strdup(last_line());
	RUN_WITH("-m", MODEL, "--tokens", prompt, "-n", "8", "--print-ids", "--chunk", "7",
	         "--device", HOST);
	assert_int_equal(result.exit_code, 0);
	assert_string_equal(ids, last_line());
	free(ids);
	RUN_WITH("-m", MODEL, "--tokens", prompt, "-n", "8", "--chunk", "7", "-c", "19");
	expect_error(1, "a prompt of 20 tokens exceeds the context of 19");
	RUN_WITH("-m", MODEL, "--tokens", prompt, "-n", "1", "--print-ids", "--chunk", "7", "-c",
	         "20");
	assert_int_equal(result.exit_code, 0);
	/* where forwards are watched, each token of the prompt is one */
	RUN_WITH("-m", MODEL, "--tokens", prompt, "-n", "1", "--chunk", "7", "--logits", OUTPUT);
	assert_int_equal(result.exit_code, 0);
	struct csv_table logits;
	assert_int_equal(csv_read(OUTPUT, &logits), STATUS_OK);
	assert_int_equal(logits.n_rows, 20 * 288);
	csv_close(&logits);
	unlink(OUTPUT);
}

/* A line, and a row that says by what it was multiplied. */
static void a_prompt_is_measured(void **state)
{
	static const char *const chunks[] = {"1", "16"}, *const products[] = {"steps", "gemm f32"};
	struct csv_table t;
	(void)state;
	unlink(CSV_FILE);
	for (int i = 0; i < 2; i++) {
		RUN_WITH("-m", MODEL, "--bench", "--prefill", "33", "--chunk", chunks[i],
		         "--device", HOST, "--csv", CSV_DIR);
		assert_int_equal(result.exit_code, 0);
		assert_non_null(strstr(result.out, "prompt of 33 tokens, "));
		assert_non_null(strstr(result.out, " tokens/s"));
	}
	assert_int_equal(csv_read(CSV_FILE, &t), STATUS_OK);
	assert_int_equal(t.n_rows, 2);
	for (int i = 0; i < 2; i++) {
		double tok_s;

		assert_string_equal(csv_cell(&t, i, csv_column(&t, "prompt")), "33");
		assert_string_equal(csv_cell(&t, i, csv_column(&t, "chunk")), chunks[i]);
		assert_string_equal(csv_cell(&t, i, csv_column(&t, "product")), products[i]);
		assert_int_equal(csv_number(&t, i, csv_column(&t, "tok_s"), &tok_s), STATUS_OK);
		assert_true(tok_s > 0);
	}
	csv_close(&t);
	RUN_WITH("-m", MODEL, "--bench", "--prefill", "33", "-c", "32");
	expect_error(2, "--bench --prefill 33 needs a context of 33 (-c)");
}

static void no_bias_is_an_ablation(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "-n", "12", "--print-ids");
	char *ids = strdup(last_line());
	RUN_WITH("-m", MODEL, "--tokens", "5,6,7", "-n", "12", "--print-ids", "--no-bias",
	         "--check");
	assert_int_equal(result.exit_code, 0); /* the reference leaves them out too */
	assert_string_not_equal(ids, last_line());
	free(ids);
}

static void plan_lists_every_launch(void **state)
{
	(void)state;
	RUN_WITH("-m", MODEL, "--plan");
	assert_int_equal(result.exit_code, 0);
	/* embed, 5 for each of 2 layers, head, advance */
	assert_non_null(strstr(result.out, "\n13 launches"));
	assert_non_null(strstr(result.out, "norm=1 epilogue=qkv"));
	RUN_WITH("-m", MODEL, "--plan", "--unfused");
	assert_int_equal(result.exit_code, 0);
	/* embed, 8 per layer, norm, head, argmax, advance */
	assert_non_null(strstr(result.out, "\n21 launches"));
	assert_non_null(strstr(result.out, "norm=0 epilogue=bias"));
	assert_null(strstr(result.out, "norm=1"));
	RUN_WITH("-m", MODEL, "--plan", "--temp", "0.8", "--top-k", "40");
	assert_non_null(strstr(result.out, "\n14 launches"));
	assert_non_null(strstr(result.out, "x=f32 cut=1"));
	RUN_WITH("-m", MODEL, "--plan", "--unfused", "--no-bias");
	assert_null(strstr(result.out, "epilogue=bias"));
}

static void help_and_version(void **state)
{
	(void)state;
	assert_int_equal(RUN_WITH("--help"), 0);
	assert_non_null(strstr(result.out, "Examples:"));
	assert_non_null(strstr(result.out, "-q, --quiet"));
	assert_int_equal(RUN_WITH("-q", "--version"), 0);
	assert_int_equal(strncmp(result.out, "warpsmith-run ", 14), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(refuses_bad_usage),
	        cmocka_unit_test(names_what_fails),
	        cmocka_unit_test(lost_output_is_a_failure),
	        cmocka_unit_test(perplexity_needs_two_tokens),
	        cmocka_unit_test(perplexity_matches_the_oracle),
	        cmocka_unit_test(the_end_of_the_context_is_an_error),
	        cmocka_unit_test(seeds_are_deterministic),
	        cmocka_unit_test(an_end_token_ends),
	        cmocka_unit_test(streams_the_text_of_the_ids),
	        cmocka_unit_test(ways_of_launching_agree),
	        cmocka_unit_test(parses_special_tokens_in_prompts),
	        cmocka_unit_test(logits_of_every_forward),
	        cmocka_unit_test(trace_is_csv_on_stdout),
	        cmocka_unit_test(trace_prints_chosen_layers_and_heads),
	        cmocka_unit_test(check_at_a_position),
	        cmocka_unit_test(a_cache_may_be_quantised),
	        cmocka_unit_test(trace_warns_of_suspicious_runs),
	        cmocka_unit_test(inspect_calls_large_biases_legitimate),
	        cmocka_unit_test(inspect_and_trace_find_nan),
	        cmocka_unit_test(prompts_go_by_chunks),
	        cmocka_unit_test(a_prompt_is_measured),
	        cmocka_unit_test(no_bias_is_an_ablation),
	        cmocka_unit_test(plan_lists_every_launch),
	        cmocka_unit_test(help_and_version),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	command_free(&result);
	return failed;
}
