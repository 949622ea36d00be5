/* Prompts by chunks: the same logits, ids and cache as token by token. Products of f32 operands
 * differ by the order of their sums alone, so that whatever is wrong shows; those of bf16 are held
 * to what that rounds. */
#include "tests/golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

static struct device *device;

/* A build that verifies takes turns: with f32 every other model, with bf16 the rest. */
static bool has_turn(int i, int product)
{
	return !VERIFIES || getenv("WARPSMITH_TEST_ALL") || i % 2 == (product == DTYPE_BF16);
}

/* Every fixture, by chunks that end before, with and behind the prompt and by several. */
static void logits_match_the_oracle(void **state)
{
	static const int chunks[] = {7, 22, 23, 24};
	const int product = *(const int *)*state, n = golden_open();
	for (int row = 0; row < n; row++) {
		if (!has_turn(row, product))
			continue;
		const struct golden_run run = {.device = device,
		                               .graphs = true,
		                               .chunk = chunks[row % 4],
		                               .product = product};
		char why[GOLDEN_WHY];
		const bool right = golden_fixture(&run, row, why);
		print_message("%s\n", why);
		assert_true(right);
	}
}

/* With a bf16 cache, answers that stand up to 200 tokens back. */
static void the_bundled_model_answers(void **state)
{
	const struct golden_run run = {.device = device,
	                               .use_tuned = true,
	                               .graphs = true,
	                               .chunk = 64,
	                               .product = *(const int *)*state};
	char why[GOLDEN_WHY];
	golden_open();
	if (has_turn(1, run.product) && !golden_answers(&run, why))
		fail_msg("%s", why);
}

/* Two decoders of one model, the first for steps. */
struct pair {
	struct model model;
	struct decoder step, chunk;
	struct prefill *prefill;
	int product;
	double worst; /* error of the allowed */
};

static void open_pair(struct pair *p, const char *path, int chunk, bool use_bias)
{
	const struct decoder_options options = {.capacity = 64,
	                                        .kv = DTYPE_F32,
	                                        .use_bias = use_bias,
	                                        .graphs = true,
	                                        .quiet = true};
	p->worst = 0;
	OK(model_open(path, &p->model));
	OK(decoder_open(device, &p->model, &options, &p->step));
	OK(decoder_open(device, &p->model, &options, &p->chunk));
	OK(prefill_open(&p->chunk, chunk, p->product, &p->prefill));
}

static void close_pair(struct pair *p)
{
	prefill_close(&p->prefill);
	decoder_close(&p->chunk);
	decoder_close(&p->step);
	model_close(&p->model);
}

static float *read_floats(const void *memory, size_t n)
{
	float *values = malloc(n * sizeof *values);
	OK(device_read(device, values, memory, n * sizeof *values));
	return values;
}

static void compare(struct pair *p, const float *a, const float *b, size_t n, double allowed,
                    const char *what)
{
	for (size_t i = 0; i < n; i++) {
		const double error = fabs((double)a[i] - (double)b[i]);
		p->worst = fmax(p->worst, error / allowed);
		if (!(error <= allowed))
			fail_msg("%s, element %zu: by steps %g, by chunks %g, allowed %g", what, i,
			         (double)a[i], (double)b[i], allowed);
	}
}

/* All rows, those behind the prompt included, which are zeros still. */
static void compare_caches(struct pair *p)
{
	const struct state *a = &p->step.state, *b = &p->chunk.state;
	const size_t n = a->cache_layer_bytes / sizeof(float);
	char what[32];
	for (int l = 0; l < p->model.hparams.layers; l++)
		for (int is_value = 0; is_value < 2; is_value++) {
			const size_t at = (size_t)l * a->cache_layer_bytes;
			float *x = read_floats((is_value ? a->v_cache : a->k_cache) + at, n);
			float *y = read_floats((is_value ? b->v_cache : b->k_cache) + at, n);
			snprintf(what, sizeof what, "layer %d, %s", l,
			         is_value ? "values" : "keys");
			compare(p, x, y, n,
			        golden_cache_tolerance(&p->model, l, is_value, a->capacity,
			                               p->product),
			        what);
			free(x);
			free(y);
		}
}

static void compare_logits(struct pair *p)
{
	const size_t n = (size_t)p->model.hparams.vocab;
	float *a = read_floats(p->step.state.logits, n), *b = read_floats(p->chunk.state.logits, n);
	compare(p, a, b, n,
	        golden_logit_tolerance(&p->model, p->step.state.capacity, p->product, a), "logits");
	free(a);
	free(b);
}

/* n tokens both ways, then one step. */
static void run_both(struct pair *p, int n)
{
	int32_t ids[64];
	for (int i = 0; i < n; i++)
		ids[i] = (p->step.position + i) * 31 % p->model.hparams.vocab;
	for (int i = 0; i < n; i++)
		OK(decoder_step(&p->step, ids[i], NULL, 0));
	OK(prefill_run(p->prefill, ids, (size_t)n));
	assert_int_equal(p->chunk.position, p->step.position);
	OK(decoder_step(&p->step, 3, NULL, 0));
	OK(decoder_step(&p->chunk, 3, NULL, 0));
	compare_caches(p);
	compare_logits(p);
}

/* T - 1, T, T + 1 and 2 T tokens, each behind the others and from an empty cache. */
static void chunks_have_no_edges(void **state)
{
	enum { T = 8 };
	static const char *const models[] = {
	        "f32-g5-d40-untied",  "bf16-g1-d128-tied",  "q8_0-g7-d64-tied",
	        "q5_1-g3-d32-untied", "q6_k-g4-d64-untied", "q4_k_m-g3-d64-odd",
	};
	static const int lengths[] = {T - 1, T, T + 1, 2 * T};
	struct pair p = {.product = *(const int *)*state};
	char path[128];
	golden_open();
	for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
		snprintf(path, sizeof path, "tests/data/golden/%s.gguf", models[i]);
		if (!has_turn((int)i, p.product))
			continue;
		open_pair(&p, path, T, i % 3 != 1);
		for (int j = 0; j < 4; j++)
			run_both(&p, lengths[j]);
		for (int j = 0; j < 4; j++) {
			OK(decoder_seek(&p.step, 0));
			OK(decoder_seek(&p.chunk, 0));
			run_both(&p, lengths[j]);
		}
		print_message("%-20s %s: %.3f of the allowed\n", models[i], dtype_name(p.product),
		              p.worst);
		close_pair(&p);
	}
}

/* Where logits by chunks are compared with those by steps. */
struct reading {
	struct pair *pair;
	const float *by_steps; /* of the next token */
	int n;                 /* tokens read */
};

static enum status read_logits(void *context, const float *logits, int n)
{
	struct reading *r = context;
	const size_t vocab = (size_t)r->pair->model.hparams.vocab;
	for (int i = 0; i < n; i++, r->n++, r->by_steps += vocab) {
		/* the head is one product more than the four and more of layers */
		const double allowed =
		        sqrt(5. / 4) * golden_logit_tolerance(&r->pair->model,
		                                              r->pair->step.state.capacity,
		                                              r->pair->product, r->by_steps);
		compare(r->pair, r->by_steps, logits + (size_t)i * vocab, vocab, allowed,
		        "logits of a chunk");
	}
	return STATUS_OK;
}

/* Those of every token, of whole chunks and of the rest. */
static void all_logits_are_those_of_steps(void **state)
{
	enum { T = 8, N = 2 * T + 3 };
	static const char *const models[] = {
	        "f32-g5-d40-untied",  "bf16-g1-d128-tied",  "q8_0-g7-d64-tied",
	        "q5_1-g3-d32-untied", "q6_k-g4-d64-untied", "q4_k_m-g3-d64-odd",
	};
	struct pair p = {.product = *(const int *)*state};
	char path[128];
	int32_t ids[N];
	golden_open();
	for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
		snprintf(path, sizeof path, "tests/data/golden/%s.gguf", models[i]);
		if (!has_turn((int)i, p.product))
			continue;
		open_pair(&p, path, T, true);
		const size_t vocab = (size_t)p.model.hparams.vocab;
		float *by_steps = malloc(N * vocab * sizeof *by_steps);
		struct reading reading = {&p, by_steps, 0};
		const struct logits_reader reader = {read_logits, &reading};
		for (int t = 0; t < N; t++) {
			ids[t] = t * 31 % (int)vocab;
			OK(decoder_step(&p.step, ids[t], NULL, 0));
			OK(decoder_logits(&p.step, by_steps + (size_t)t * vocab));
		}
		OK(prefill_logits(p.prefill, ids, N, &reader));
		assert_int_equal(reading.n, N);
		assert_int_equal(p.chunk.position, N);
		compare_caches(&p);
		print_message("%-20s %s: %.3f of the allowed\n", models[i], dtype_name(p.product),
		              p.worst);
		free(by_steps);
		close_pair(&p);
	}
}

/* Nothing is written by a prompt that does not fit, or has an unknown token. */
static void the_cache_ends_in_an_error(void **state)
{
	struct pair p = {.product = DTYPE_F32};
	int32_t ids[65] = {0};
	int position;
	(void)state;
	golden_open();
	open_pair(&p, "tests/data/golden/q8_0-g2-d64-long.gguf", 32, true);
	const size_t bytes = p.chunk.state.cache_layer_bytes;
	float *before = read_floats(p.chunk.state.k_cache, bytes / sizeof(float));
	assert_int_equal(prefill_run(p.prefill, ids, 65), STATUS_FAILED);
	assert_non_null(strstr(fail_message(), "context of 64 tokens is full"));
	ids[40] = p.model.hparams.vocab;
	assert_int_equal(prefill_run(p.prefill, ids, 64), STATUS_USAGE);
	assert_non_null(strstr(fail_message(), "outside the vocabulary"));
	ids[40] = -1;
	assert_int_equal(prefill_run(p.prefill, ids, 64), STATUS_USAGE);
	float *after = read_floats(p.chunk.state.k_cache, bytes / sizeof(float));
	assert_memory_equal(before, after, bytes);
	assert_int_equal(p.chunk.position, 0);
	ids[40] = 0;
	OK(prefill_run(p.prefill, ids, 64)); /* to the last row */
	OK(device_read(device, &position, p.chunk.state.position, sizeof position));
	assert_int_equal(position, 64);
	assert_int_equal(decoder_step(&p.chunk, 1, NULL, 0), STATUS_FAILED);
	assert_int_equal(prefill_run(p.prefill, ids, 1), STATUS_FAILED);
	free(before);
	free(after);
	close_pair(&p);
}

#define OF_PRODUCT(test, dtype)                                                                 \
	{                                                                                       \
#test " with " #dtype, test, NULL, NULL, (void *)&products[dtype == DTYPE_BF16] \
	}

int main(void)
{
	static const int products[] = {DTYPE_F32, DTYPE_BF16};
	const struct CMUnitTest tests[] = {
	        OF_PRODUCT(logits_match_the_oracle, DTYPE_F32),
	        OF_PRODUCT(logits_match_the_oracle, DTYPE_BF16),
	        OF_PRODUCT(the_bundled_model_answers, DTYPE_F32),
	        OF_PRODUCT(the_bundled_model_answers, DTYPE_BF16),
	        OF_PRODUCT(chunks_have_no_edges, DTYPE_F32),
	        OF_PRODUCT(chunks_have_no_edges, DTYPE_BF16),
	        OF_PRODUCT(all_logits_are_those_of_steps, DTYPE_F32),
	        OF_PRODUCT(all_logits_are_those_of_steps, DTYPE_BF16),
	        cmocka_unit_test(the_cache_ends_in_an_error),
	};
	const char *spec = getenv("WARPSMITH_TEST_DEVICE");
	if (device_open(spec ? spec : "auto", true, &device) != STATUS_OK) {
		fprintf(stderr, "%s\n", fail_message());
		return 1;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	device_close(&device);
	golden_close();
	return failed;
}
