/* On a GPU: dependent launches wait where they must. compute-sanitizer does not see what two
 * launches do to each other, so the kernels are compiled with delays (planted/delays.h), which
 * leave every result as it was; and without the wait of one kernel, which does not. Skipped where
 * there is no GPU or no NVRTC. */
#include "tests/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/table.h"
#include "device/jit.h"
#include "kernels/gqa_attention.h"

#include <cmocka.h>

enum { MAX_INSTANCES = 256, MAX_KERNELS = 16, STEPS = 4, LENGTH = 1024 };
enum { NO_DELAY = 1, DELAY = 14 }; /* bits */
enum { POSITIONS = 40 };           /* of each fixture */

#define OK(call)                                                   \
	do {                                                       \
		if ((call) != STATUS_OK)                           \
			fail_msg("%s: %s", #call, fail_message()); \
	} while (0)

static struct device *gpu;

/* A decode with the program's own instances, which are noted, then with those compiled anew. */
struct experiment {
	const char *without_wait; /* a kernel; NULL: all wait */
	int delay_bits;
	bool use_tuned;
	bool early; /* attention copies in bulk, the first keys before it knows the position */
	bool compiled;
	struct {
		const struct kernel *kernel;
		struct variant variant;
	} instance[MAX_INSTANCES];
	int n;
	struct jit_module modules[MAX_KERNELS];
	int n_modules;
};

static const struct variant *find(void *user, const struct kernel *kernel, const struct kase *kase,
                                  const struct shape *shape)
{
	struct experiment *e = user;
	const struct variant *own =
	        table_lookup(kernel, device_info(gpu), kase->value, shape, e->use_tuned);
	assert_non_null(own);
	for (int i = 0; i < e->n; i++)
		if (e->instance[i].kernel == kernel &&
		    !memcmp(&e->instance[i].variant.kase, &own->kase, sizeof own->kase) &&
		    !memcmp(&e->instance[i].variant.config, &own->config, sizeof own->config))
			return &e->instance[i].variant;
	assert_false(e->compiled);
	assert_true(e->n < MAX_INSTANCES);
	e->instance[e->n].kernel = kernel;
	e->instance[e->n].variant = *own;
	return &e->instance[e->n++].variant;
}

static char *program_text(const char *kernel, bool waits, int delay_bits)
{
	const size_t room = 1 << 16;
	char *text = malloc(room);
	FILE *file = fopen("tests/planted/delays.h", "r");
	assert_non_null(text);
	assert_non_null(file);
	size_t n = (size_t)snprintf(text, room, "#define DELAY_BITS %d\n%s", delay_bits,
	                            waits ? "" : "#define WITHOUT_WAIT\n");
	n += fread(text + n, 1, room - n - 1, file);
	fclose(file);
	snprintf(text + n, room - n, "#include \"kernels/%s.cu\"\n", kernel);
	return text;
}

/* n instances for sm, that wait and have delays or do neither. */
static void compile_instances(const struct kernel *kernel, bool waits, int delay_bits, int sm,
                              int n, const struct kase *kases, const struct config *configs,
                              struct jit_module *module)
{
	char *text = program_text(kernel->name, waits, delay_bits);
	const struct jit_source source = {.path = "delays.cu", .text = text};
	const struct jit_request request = {.kernel = kernel->name,
	                                    .n = n,
	                                    .kases = kases,
	                                    .configs = configs,
	                                    .n_fields = kernel->n_fields,
	                                    .n_params = kernel->n_params,
	                                    .sm = sm,
	                                    .source = &source};
	OK(jit_compile(&request, module));
	for (int i = 0; i < n; i++)
		if (!module->instances[i].symbol)
			fail_msg("%s: %s", kernel->name, module->instances[i].reason);
	free(text);
}

/* The configuration with early copies where it can have them. They change no sum. */
static struct config with_early_copies(const struct kase *kase, struct config config)
{
	struct gqa_attention_case k;
	struct gqa_attention_config c;
	memcpy(&k, kase, sizeof k);
	memcpy(&c, &config, sizeof c);
	c.copy = COPY_BULK;
	c.early = 1;
	if (gqa_attention_legal(k, c, device_info(gpu)->target))
		memcpy(&config, &c, sizeof c);
	return config;
}

static void compile_kernel(struct experiment *e, const struct kernel *kernel)
{
	static struct kase kases[MAX_INSTANCES];
	static struct config configs[MAX_INSTANCES];
	int at[MAX_INSTANCES], n = 0;
	const bool waits = !e->without_wait || strcmp(e->without_wait, kernel->name);
	for (int i = 0; i < e->n; i++)
		if (e->instance[i].kernel == kernel) {
			kases[n] = e->instance[i].variant.kase;
			configs[n] = e->instance[i].variant.config;
			if (e->early && kernel == kernel_find("gqa_attention"))
				configs[n] = with_early_copies(&kases[n], configs[n]);
			at[n++] = i;
		}
	if (!n)
		return;
	struct jit_module *module = &e->modules[e->n_modules++];
	compile_instances(kernel, waits, e->delay_bits, device_info(gpu)->target.sm, n, kases,
	                  configs, module);
	OK(jit_load(gpu, module));
	for (int i = 0; i < n; i++)
		e->instance[at[i]].variant.entry = module->instances[i].entry;
}

static void compile(struct experiment *e)
{
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++)
		compile_kernel(e, *kernel);
	e->compiled = true;
}

static void end_experiment(struct experiment *e)
{
	for (int i = 0; i < e->n_modules; i++)
		jit_close(&e->modules[i]);
	free(e);
}

static struct experiment *begin_experiment(const char *without_wait, int delay_bits)
{
	struct experiment *e = calloc(1, sizeof *e);
	assert_non_null(e);
	e->without_wait = without_wait;
	e->delay_bits = delay_bits;
	return e;
}

/* Fixture `row`, or with -1 the bundled model, whose attention takes the other path. */
static bool decode(struct experiment *e, int row, bool unfused, char why[GOLDEN_WHY])
{
	const struct golden_run run = {.device = gpu,
	                               .use_tuned = e->use_tuned,
	                               .graphs = true,
	                               .unfused = unfused,
	                               .positions = POSITIONS,
	                               .find = find,
	                               .find_user = e};
	return row < 0 ? golden_answers(&run, why) : golden_fixture(&run, row, why);
}

static void delays_leave_logits_golden(void **state)
{
	struct experiment *e = begin_experiment(NULL, DELAY);
	char why[GOLDEN_WHY] = "";
	const int n = golden_open();
	(void)state;
	for (int pass = 0; pass < 2; pass++) {
		for (int row = -1; row < n; row++)
			for (int unfused = 0; unfused < 2; unfused++)
				if (!decode(e, row, unfused, why))
					fail_msg("%s: %s", pass ? "with delays" : "without", why);
		if (!pass)
			compile(e);
	}
	print_message("%d fixtures and the bundled model with delays in %d instances\n", n, e->n);
	end_experiment(e);
}

/* Logits of a few steps behind random keys and values. */
static void decode_random(const struct model *model, struct experiment *e, float *logits)
{
	const struct decoder_options options = {.capacity = LENGTH + STEPS,
	                                        .kv = DTYPE_BF16,
	                                        .use_bias = true,
	                                        .use_tuned = true,
	                                        .graphs = true,
	                                        .quiet = true,
	                                        .find = find,
	                                        .find_user = e};
	struct decoder d;
	OK(decoder_open(gpu, model, &options, &d));
	OK(decoder_fill_cache(&d, LENGTH, NULL, NULL));
	OK(decoder_seek(&d, LENGTH - 1));
	for (int i = 0; i < STEPS; i++) {
		OK(decoder_step(&d, i ? -1 : 1, NULL, 0));
		OK(decoder_logits(&d, logits + (size_t)i * (size_t)model->hparams.vocab));
	}
	decoder_close(&d);
}

/* With the rows and shapes that are meant to be fast: a step has the same bits with delays as with
 * next to none, in what is the same code otherwise, and with early copies of keys, which meet the
 * launch that writes the newest. */
static void delays_leave_a_tuned_step_alone(void **state)
{
	static const char *const names[] = {"qwen2.5-0.5b", "qwen2.5-0.5b:q8_0"};
	static const struct {
		int bits;
		bool early;
	} ways[] = {{NO_DELAY, false}, {DELAY, false}, {DELAY, true}};
	enum { WAYS = sizeof ways / sizeof ways[0] };
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct model model;
		float *logits[WAYS];
		OK(model_open_random(names[i], &model));
		const size_t n = STEPS * (size_t)model.hparams.vocab;
		for (int way = 0; way < WAYS; way++) {
			struct experiment *e = begin_experiment(NULL, ways[way].bits);
			e->use_tuned = true;
			e->early = ways[way].early;
			logits[way] = malloc(n * sizeof *logits[way]);
			assert_non_null(logits[way]);
			decode_random(&model, e, logits[way]);
			compile(e);
			decode_random(&model, e, logits[way]);
			end_experiment(e);
			assert_memory_equal(logits[0], logits[way], n * sizeof *logits[0]);
		}
		for (int way = 0; way < WAYS; way++)
			free(logits[way]);
		model_close(&model);
	}
}

/* But for embed's: the first launch of a step is not dependent. */
static void no_wait_can_be_left_out(void **state)
{
	static const struct {
		const char *kernel;
		bool unfused;
		int row;
	} waits[] = {{"gemv", false, 0},           {"gqa_attention", false, 0},
	             {"gqa_attention", false, -1}, {"advance", false, -1},
	             {"rms_norm", true, 0},        {"rope", true, 0},
	             {"argmax", true, -1}};
	(void)state;
	for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
		struct experiment *e = begin_experiment(waits[i].kernel, DELAY);
		char why[GOLDEN_WHY] = "";
		if (!decode(e, waits[i].row, waits[i].unfused, why))
			fail_msg("with all waits: %s", why);
		compile(e);
		if (decode(e, waits[i].row, waits[i].unfused, why))
			fail_msg("without the wait of %s the logits are golden all the same",
			         waits[i].kernel);
		print_message("without the wait of %s: %s\n", waits[i].kernel, why);
		end_experiment(e);
	}
}

/* What can be said without a GPU. */
static void the_sources_compile(void **state)
{
	(void)state;
	golden_open();
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++)
		for (int waits = 0; waits < 2; waits++) {
			const struct kernel *k = *kernel;
			struct kase kase = {0};
			const struct config config = config_default(k);
			struct jit_module module = {0};
			for (int f = 0; f < k->n_fields; f++)
				kase.value[f] = k->fields[f].values[0];
			compile_instances(k, waits, DELAY, 90, 1, &kase, &config, &module);
			jit_close(&module);
		}
}

int main(void)
{
	const struct CMUnitTest compiling[] = {cmocka_unit_test(the_sources_compile)};
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(delays_leave_logits_golden),
	        cmocka_unit_test(delays_leave_a_tuned_step_alone),
	        cmocka_unit_test(no_wait_can_be_left_out),
	};
	char version[16];
	if (jit_version(version) != STATUS_OK || device_open("cuda", true, &gpu) != STATUS_OK) {
		print_message("skipped: %s\n", fail_message());
		return jit_version(version) == STATUS_OK &&
		                       cmocka_run_group_tests(compiling, NULL, NULL)
		               ? 1
		               : 77;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	golden_close();
	device_close(&gpu);
	return failed;
}
