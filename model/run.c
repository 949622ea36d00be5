#include "model/run.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/options.h"
#include "model/check.h"
#include "model/decode_bench.h"
#include "model/export.h"
#include "model/generate.h"
#include "model/inspect.h"
#include "model/prefill_bench.h"
#include "model/profile.h"
#include "model/trace.h"

enum { DEFAULT_CONTEXT = 4096, DEFAULT_N = 128, DEFAULT_CHECKED_N = 16, DEFAULT_LENGTH = 1024 };
enum {
	MAX_LENGTH = 1 << 30,
	MAX_TEMPERATURE = 100,
	FEW_TOKENS = 8 /* of a prompt: steps are as fast */
};

struct arguments {
	const char *model, *random, *prompt, *file, *tokens, *device, *kv, *logits, *ppl, *csv;
	const char *trace_layer, *trace_head, *write_gguf;
	int n, context, top_k, length, prefill, chunk, trace, check_at;
	double temperature, top_p;
	unsigned long long seed;
	bool ignore_eos, bench, plan, profile, window, no_graph, check, inspect, no_bias, print_ids,
	        tokenize;
	bool detokenize, default_rows, unfused, serial, quiet;
};

/* What a command has opened. */
struct session {
	struct arguments args;
	FILE *out;
	struct model model;
	struct tokenizer tokenizer;
	bool has_tokenizer;
	struct device *device;
	struct decoder decoder;
	struct prefill *prefill; /* NULL: prompts go by steps */
	int32_t *prompt;
	size_t n_prompt;
};

static enum status parse(int argc, char **argv, struct arguments *a, bool *done)
{
	const struct option_row rows[] = {
	        {"model", 'm', OPTION_TEXT, &a->model, "FILE", "GGUF file (Qwen2, Qwen2.5)"},
	        {"random", 0, OPTION_TEXT, &a->random, "SIZE[:TYPE]",
	         "random weights: qwen2.5-0.5b, -1.5b, -3b, -7b, -14b, -32b, -72b; bf16, q8_0"},
	        {"write-gguf", 0, OPTION_TEXT, &a->write_gguf, "FILE",
	         "write the random weights to a file and end"},
	        {"prompt", 'p', OPTION_TEXT, &a->prompt, "TEXT",
	         "prompt; special tokens are parsed"},
	        {"file", 'f', OPTION_TEXT, &a->file, "FILE", "prompt from a file"},
	        {"tokens", 0, OPTION_TEXT, &a->tokens, "1,2,3", "prompt as token ids"},
	        {"n", 'n', OPTION_COUNT, &a->n, "N",
	         "tokens to generate at most (128; checked: 16)"},
	        {"context", 'c', OPTION_COUNT, &a->context, "CTX",
	         "tokens that the cache holds (the model's context, at most 4096)"},
	        {"kv", 0, OPTION_TEXT, &a->kv, "TYPE",
	         "cache dtype: bf16 (default), f16, f32, q8_0"},
	        {"temp", 0, OPTION_NUMBER, &a->temperature, "T",
	         "temperature; 0 (default): greedy"},
	        {"top-k", 0, OPTION_INT, &a->top_k, "K", "sample from the K likeliest; 0: all"},
	        {"top-p", 0, OPTION_NUMBER, &a->top_p, "P", "sample from the likeliest of sum P"},
	        {"seed", 0, OPTION_U64, &a->seed, "S", "of sampling (0)"},
	        {"ignore-eos", 0, OPTION_FLAG, &a->ignore_eos, NULL, "go on after an end token"},
	        {"print-ids", 0, OPTION_FLAG, &a->print_ids, NULL,
	         "last line: the generated token ids"},
	        {"logits", 0, OPTION_TEXT, &a->logits, "OUT.csv",
	         "write the logits of every forward"},
	        {"bench", 0, OPTION_FLAG, &a->bench, NULL, "measure tokens/s"},
	        {"profile", 0, OPTION_FLAG, &a->profile, NULL,
	         "where the time of a replayed step goes, by operation"},
	        {"at", 0, OPTION_COUNT, &a->length, "LENGTH",
	         "cache length of --bench and --profile (1024)"},
	        {"prefill", 0, OPTION_COUNT, &a->prefill, "N",
	         "with --bench: of a prompt of N tokens"},
	        {"chunk", 0, OPTION_COUNT, &a->chunk, "N",
	         "prompt tokens computed at a time; 1: one by one (1024; on the host 1)"},
	        {"csv", 0, OPTION_TEXT, &a->csv, "DIR",
	         "add their figures to DIR/DEVICE/decode.csv, prefill.csv, profile.csv"},
	        {"plan", 0, OPTION_FLAG, &a->plan, NULL, "print the launches of one step"},
	        {"default-rows", 0, OPTION_FLAG, &a->default_rows, NULL,
	         "default configurations instead of the tuned ones"},
	        {"unfused", 0, OPTION_FLAG, &a->unfused, NULL,
	         "norms, rotation and argmax as launches of their own"},
	        {"serial", 0, OPTION_FLAG, &a->serial, NULL,
	         "begin each launch when the one before has ended: no dependent launches"},
	        {"no-graph", 0, OPTION_FLAG, &a->no_graph, NULL,
	         "launch one by one, under NVTX ranges"},
	        {"window", 0, OPTION_FLAG, &a->window, NULL,
	         "open a profiler's capture window behind the prompt"},
	        {"trace", 0, OPTION_COUNT, &a->trace, "N",
	         "CSV of what attention did in the first N forwards"},
	        {"trace-layer", 0, OPTION_TEXT, &a->trace_layer, "0,3-5", "layers to trace (0)"},
	        {"trace-head", 0, OPTION_TEXT, &a->trace_head, "0,3-5",
	         "heads to trace (all of them)"},
	        {"check", 0, OPTION_FLAG, &a->check, NULL,
	         "compare every operation with a double-precision reference"},
	        {"check-at", 0, OPTION_COUNT, &a->check_at, "POS",
	         "the same from position POS on, after random keys and values"},
	        {"inspect", 0, OPTION_FLAG, &a->inspect, NULL, "statistics of every tensor"},
	        {"no-bias", 0, OPTION_FLAG, &a->no_bias, NULL, "leave the QKV biases out"},
	        {"tokenize", 0, OPTION_FLAG, &a->tokenize, NULL, "print the prompt's token ids"},
	        {"detokenize", 0, OPTION_FLAG, &a->detokenize, NULL, "print the text of --tokens"},
	        {"ppl", 0, OPTION_TEXT, &a->ppl, "FILE",
	         "perplexity of a text, in windows of CTX tokens"},
	        COMMON_OPTIONS(&a->device, &a->quiet),
	};
	const struct command command = {
	        .name = "warpsmith-run",
	        .summary = "decodes with a Qwen2.5 model, and shows what every launch does",
	        .examples = "  warpsmith-run -m model.gguf -p 'Once upon a time' -n 64\n"
	                    "  warpsmith-run -m model.gguf -p 'Hello' --check\n"
	                    "  warpsmith-run -m model.gguf -p 'Hello' --trace 3\n"
	                    "  warpsmith-run --random qwen2.5-7b --bench --at 1024\n",
	        .rows = rows,
	        .n_rows = sizeof rows / sizeof *rows,
	};
	return options_parse(&command, argc, argv, done);
}

static enum status check_arguments(const struct arguments *a)
{
	int sources = !!a->prompt + !!a->file + !!a->tokens + !!a->ppl;
	if (!a->model == !a->random)
		return fail(STATUS_USAGE, "give one of -m FILE and --random SIZE (see --help)");
	if (sources > 1)
		return fail(STATUS_USAGE, "give only one of -p, -f, --tokens and --ppl");
	if (a->random && (a->prompt || a->file || a->ppl || a->tokenize || a->detokenize))
		return fail(STATUS_USAGE, "--random has no vocabulary: give --tokens");
	if (a->write_gguf && !a->random)
		return fail(STATUS_USAGE, "--write-gguf needs --random SIZE");
	if (a->tokenize && !a->prompt && !a->file)
		return fail(STATUS_USAGE, "--tokenize needs -p TEXT or -f FILE");
	if (a->detokenize && !a->tokens)
		return fail(STATUS_USAGE, "--detokenize needs --tokens");
	if (a->length < 1 || a->length > MAX_LENGTH)
		return fail(STATUS_USAGE, "--at: a cache length of 1 to %d", MAX_LENGTH);
	if (a->prefill == 0 || (a->prefill > 0 && !a->bench) || a->prefill > MAX_LENGTH)
		return fail(STATUS_USAGE, "--prefill: 1 to %d tokens, with --bench", MAX_LENGTH);
	if (a->chunk == 0 || a->chunk > PREFILL_MAX_CHUNK)
		return fail(STATUS_USAGE, "--chunk: 1 to %d tokens", PREFILL_MAX_CHUNK);
	if (a->context == 0)
		return fail(STATUS_USAGE, "-c: a context of at least 1 token");
	if (!(a->temperature >= 0 && a->temperature <= MAX_TEMPERATURE))
		return fail(STATUS_USAGE, "--temp %g: expected 0 to %d", a->temperature,
		            MAX_TEMPERATURE);
	if (a->top_k < 0)
		return fail(STATUS_USAGE, "--top-k %d: expected 0 (all) or more", a->top_k);
	if (!(a->top_p > 0 && a->top_p <= 1))
		return fail(STATUS_USAGE, "--top-p %g: expected more than 0, at most 1", a->top_p);
	int kv;
	return kernel_parse_field(kernel_find("gqa_attention"), "kv", "kv", a->kv, &kv);
}

static enum status read_file(const char *path, char **text, size_t *len)
{
	enum status status = STATUS_OK;
	size_t room = 4096;
	FILE *file = fopen(path, "rb");
	*text = NULL;
	*len = 0;
	if (!file)
		return fail_errno(STATUS_FAILED, "%s", path);
	do {
		char *more = realloc(*text, room *= 2);
		if (!more) {
			status = fail(STATUS_NO_MEMORY, "%s: out of host memory", path);
			break;
		}
		*text = more;
		*len += fread(*text + *len, 1, room - *len, file);
	} while (*len == room);
	if (status == STATUS_OK && ferror(file))
		status = fail_errno(STATUS_FAILED, "%s", path);
	fclose(file);
	return status;
}

/* "1,2,3" */
static enum status parse_tokens(const char *text, int32_t **ids, size_t *n)
{
	*n = 0;
	*ids = malloc((strlen(text) / 2 + 1) * sizeof **ids);
	if (!*ids)
		return fail(STATUS_NO_MEMORY, "out of host memory");
	for (const char *at = text;; at++) {
		char *end;
		errno = 0;
		long id = strtol(at, &end, 10);
		if (end == at || errno || id < 0 || id > INT_MAX || (*end && *end != ','))
			return fail(STATUS_USAGE, "--tokens: '%s' is not a list of ids", text);
		(*ids)[(*n)++] = (int32_t)id;
		if (!*end)
			return STATUS_OK;
		at = end;
	}
}

static enum status open_tokens(struct session *s)
{
	enum status status;
	int vocab = s->model.hparams.vocab;
	TRY(parse_tokens(s->args.tokens, &s->prompt, &s->n_prompt));
	for (size_t i = 0; i < s->n_prompt; i++)
		if (s->prompt[i] >= vocab)
			return fail(STATUS_USAGE,
			            "--tokens: token %d is outside the vocabulary of %d",
			            s->prompt[i], vocab);
done:
	return status;
}

static enum status tokenize_file(struct session *s, const char *path)
{
	enum status status;
	char *text;
	size_t len;
	TRY(read_file(path, &text, &len));
	status = tokenizer_encode(&s->tokenizer, text, len, &s->prompt, &s->n_prompt);
done:
	free(text);
	return status;
}

static enum status open_prompt(struct session *s)
{
	const struct arguments *a = &s->args;
	bool needs_text = a->prompt || a->file || a->ppl || a->detokenize;
	if (needs_text && !s->has_tokenizer)
		return fail(STATUS_FAILED, "%s: has no vocabulary, give --tokens", a->model);
	if (a->prompt)
		return tokenizer_encode(&s->tokenizer, a->prompt, strlen(a->prompt), &s->prompt,
		                        &s->n_prompt);
	if (a->file || a->ppl)
		return tokenize_file(s, a->file ? a->file : a->ppl);
	if (a->tokens)
		return open_tokens(s);
	if (a->random || a->check_at >= 0)
		return parse_tokens("0", &s->prompt, &s->n_prompt);
	return STATUS_OK;
}

static void print_ids(FILE *to, const int32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fprintf(to, "%s%d", i ? " " : "", ids[i]);
	fprintf(to, "\n");
}

static enum status detokenize(const struct session *s)
{
	enum status status;
	char *text;
	size_t len;
	TRY(tokenizer_decode(&s->tokenizer, s->prompt, s->n_prompt, &text, &len));
	fwrite(text, 1, len, s->out);
	fprintf(s->out, "\n");
	free(text);
done:
	return status;
}

static int measured_capacity(const struct arguments *a)
{
	const int bench = !a->bench        ? 0
	                  : a->prefill > 0 ? a->prefill
	                                   : decode_bench_capacity(a->length);
	const int profile = a->profile ? profile_capacity(a->length) : 0;
	return bench > profile ? bench : profile;
}

/* Rows of the cache: -c, else the model's context up to DEFAULT_CONTEXT, or more where a
 * measurement needs it. */
static int choose_context(const struct session *s)
{
	const struct arguments *a = &s->args;
	int context = s->model.hparams.context;
	long long needed = 0;
	if (a->context > 0)
		return a->context;
	if (context > DEFAULT_CONTEXT)
		context = DEFAULT_CONTEXT;
	if (a->bench || a->profile)
		needed = measured_capacity(a);
	if (a->check_at >= 0)
		needed = (long long)a->check_at + (long long)s->n_prompt + a->n;
	if (needed > INT_MAX)
		return INT_MAX;
	return context > needed ? context : (int)needed;
}

static struct sampling sampling_of(const struct arguments *a)
{
	return (struct sampling){a->temperature, a->top_k, a->top_p, a->seed};
}

static enum status open_decoder(struct session *s)
{
	enum status status;
	const struct arguments *a = &s->args;
	const struct hparams *h = &s->model.hparams;
	struct decoder_options options = {.capacity = choose_context(s),
	                                  .kv = dtype_parse(a->kv),
	                                  .use_bias = !a->no_bias,
	                                  .use_tuned = !a->default_rows,
	                                  .unfused = a->unfused,
	                                  .serial = a->serial,
	                                  .sampling = sampling_of(a),
	                                  .graphs = !a->no_graph,
	                                  .quiet = a->quiet};
	TRY(device_open(a->device, a->quiet, &s->device));
	TRY(decoder_open(s->device, &s->model, &options, &s->decoder));
	if (!a->quiet)
		fprintf(stderr,
		        "%s: %d layers, %s, %.1f MB of weights on %s; context %d of %d tokens, "
		        "cache %s\n",
		        h->name, h->layers, s->model.types, (double)s->decoder.weights.bytes / 1e6,
		        device_info(s->device)->name, options.capacity, h->context, a->kv);
	if (options.capacity > h->context)
		warn_once("a context of %d tokens is more than the model's %d", options.capacity,
		          h->context);
done:
	return status;
}

/* For a prompt of `n` tokens, of which chunks take all but the last. */
static enum status open_prefill(struct session *s, size_t n, int dtype)
{
	const struct device_info *info = device_info(s->device);
	int chunk = s->args.chunk > 0 ? s->args.chunk : prefill_default_chunk(info);
	if (chunk == 1 || n <= FEW_TOKENS)
		return STATUS_OK;
	chunk = (size_t)chunk < n ? chunk : (int)n - 1;
	return prefill_open(&s->decoder, chunk, dtype, &s->prefill);
}

static enum status run_plan(const struct session *s)
{
	for (int i = 0; i < s->decoder.n_plans; i++) {
		fprintf(s->out, "%splan for cache lengths up to %d on %s\n", i ? "\n" : "",
		        s->decoder.plans[i].len_max, device_info(s->device)->name);
		plan_print(&s->decoder.plans[i], s->out);
	}
	return STATUS_OK;
}

static enum status run_measure(struct session *s)
{
	enum status status = STATUS_OK;
	const struct arguments *a = &s->args;
	const int needed = measured_capacity(a);
	if (s->decoder.state.capacity < needed)
		return fail(STATUS_USAGE, "%s %d needs a context of %d (-c)",
		            a->prefill > 0 ? "--bench --prefill"
		            : a->bench     ? "--bench --at"
		                           : "--profile --at",
		            a->prefill > 0 ? a->prefill : a->length, needed);
	if (a->prefill > 0) {
		TRY(open_prefill(s, (size_t)a->prefill,
		                 prefill_default_dtype(device_info(s->device))));
		TRY(prefill_bench(&s->decoder, s->prefill, a->prefill, a->quiet, a->csv, s->out));
	} else if (a->bench)
		TRY(decode_bench(&s->decoder, a->length, a->quiet, a->csv, s->out));
	if (a->profile)
		TRY(profile(&s->decoder, a->length, a->quiet, a->csv, s->out));
done:
	return status;
}

static enum status run_ppl(struct session *s)
{
	enum status status;
	double nats;
	const size_t capacity = (size_t)s->decoder.state.capacity;
	if (s->n_prompt < 2)
		return fail(STATUS_FAILED, "%s: perplexity needs 2 tokens, the text has %zu",
		            s->args.ppl, s->n_prompt);
	/* the figure of the model, not of rounded products */
	TRY(open_prefill(s, s->n_prompt < capacity ? s->n_prompt : capacity + 1, DTYPE_F32));
	TRY(perplexity(&s->decoder, s->prefill, s->prompt, s->n_prompt, s->args.quiet, &nats));
	fprintf(s->out, "%zu tokens predicted in windows of %d", s->n_prompt - 1,
	        s->decoder.state.capacity);
	if (s->prefill)
		fprintf(s->out, ", %d at a time", prefill_chunk(s->prefill));
	fprintf(s->out, ": %.6f nats per token, perplexity %.4f, on %s\n", nats, exp(nats),
	        device_info(s->device)->name);
done:
	return status;
}

static void print_speed(const struct session *s, const struct generation *g)
{
	fprintf(stderr, "prompt: %zu tokens, %.1f tokens/s; generated: %zu tokens", g->n_prompt,
	        (double)g->n_prompt / g->prompt_seconds, g->n_ids);
	if (g->forwards)
		fprintf(stderr, ", %.1f tokens/s", g->forwards / g->seconds);
	fprintf(stderr, "; on %s\n", device_info(s->device)->name);
}

static enum status open_logits(const char *path, FILE **file)
{
	if (!path)
		return STATUS_OK;
	*file = fopen(path, "w");
	if (!*file)
		return fail_errno(STATUS_FAILED, "--logits %s", path);
	fprintf(*file, "position,token,logit\n");
	return STATUS_OK;
}

static enum status run_generate(struct session *s)
{
	enum status status;
	const struct arguments *a = &s->args;
	struct trace trace = {0};
	struct check check = {0};
	bool traces = a->trace > 0, checks = a->check || a->check_at >= 0;
	struct generation g = {.decoder = &s->decoder,
	                       .tokenizer = s->has_tokenizer ? &s->tokenizer : NULL,
	                       .prompt = s->prompt,
	                       .n_prompt = s->n_prompt,
	                       .n = a->n,
	                       .ignore_end = a->ignore_eos,
	                       .profile = a->window,
	                       .text = traces ? stderr : s->out,
	                       .logits_path = a->logits};
	if (s->n_prompt > (size_t)s->decoder.state.capacity)
		return fail(STATUS_FAILED,
		            "a prompt of %zu tokens exceeds the context of %d (see -c)",
		            s->n_prompt, s->decoder.state.capacity);
	TRY(open_logits(a->logits, &g.logits));
	if (traces) {
		TRY(trace_open(&s->decoder, a->trace_layer, a->trace_head, s->out, &trace));
		g.observed[g.n_observers] = a->trace;
		g.observers[g.n_observers++] = trace_observer(&trace);
	}
	if (checks) {
		TRY(check_open(&s->decoder, &check));
		g.observed[g.n_observers] = INT_MAX;
		g.observers[g.n_observers++] = check_observer(&check);
	}
	if (!traces && !checks && !a->logits)
		TRY(open_prefill(s, s->n_prompt, prefill_default_dtype(device_info(s->device))));
	g.prefill = s->prefill;
	if (a->check_at >= 0)
		TRY(check_seek(&check, &s->decoder, a->check_at));
	status = generate(&g);
	if (a->print_ids)
		print_ids(s->out, g.ids, g.n_ids);
	TRY(status);
	if (checks)
		check_summary(&check, stderr);
	else if (!a->quiet)
		print_speed(s, &g);
done:
	if (g.logits && fclose(g.logits) && status == STATUS_OK)
		status = fail_errno(STATUS_FAILED, "--logits %s", a->logits);
	generation_close(&g);
	trace_close(&trace);
	check_close(&check);
	return status;
}

static enum status open_model(struct session *s)
{
	enum status status;
	if (s->args.random)
		return model_open_random(s->args.random, &s->model);
	TRY(model_open(s->args.model, &s->model));
	if (gguf_find(&s->model.file, "tokenizer.ggml.model")) {
		TRY(tokenizer_open(&s->model.file, &s->tokenizer));
		s->has_tokenizer = true;
	}
done:
	return status;
}

static enum status run_session(struct session *s)
{
	enum status status;
	struct arguments *a = &s->args;
	if (a->n < 0)
		a->n = a->check || a->check_at >= 0 ? DEFAULT_CHECKED_N : DEFAULT_N;
	TRY(open_model(s));
	if (a->inspect)
		return inspect(&s->model, s->out);
	if (a->write_gguf)
		return export_gguf(&s->model, a->write_gguf, a->quiet);
	TRY(open_prompt(s));
	if (a->tokenize) {
		print_ids(s->out, s->prompt, s->n_prompt);
		return STATUS_OK;
	}
	if (a->detokenize)
		return detokenize(s);
	if (!a->plan && !a->bench && !a->profile && !a->ppl && s->n_prompt == 0)
		return fail(STATUS_USAGE, "nothing to decode: give -p, -f or --tokens");
	TRY(open_decoder(s));
	if (a->plan)
		return run_plan(s);
	if (a->bench || a->profile)
		return run_measure(s);
	if (a->ppl)
		return run_ppl(s);
	return run_generate(s);
done:
	return status;
}

enum status run(int argc, char **argv, FILE *out)
{
	enum status status;
	bool done;
	struct session s = {.out = out,
	                    .args = {.device = "auto",
	                             .kv = "bf16",
	                             .trace_layer = "0",
	                             .n = -1,
	                             .context = -1,
	                             .top_p = 1,
	                             .length = DEFAULT_LENGTH,
	                             .prefill = -1,
	                             .chunk = -1,
	                             .check_at = -1}};
	TRY(parse(argc, argv, &s.args, &done));
	if (done)
		return STATUS_OK;
	TRY(check_arguments(&s.args));
	status = run_session(&s);
done:
	prefill_close(&s.prefill);
	decoder_close(&s.decoder);
	device_close(&s.device);
	tokenizer_close(&s.tokenizer);
	model_close(&s.model);
	free(s.prompt);
	return status;
}
