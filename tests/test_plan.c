/* The plan as data, and decoding of small random models of many shapes in
 * lockstep with the reference. */
#include "core/table.h"
#include "model/check.h"
#include "model/trace.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
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

static struct hparams shape_of(int heads, int kv_heads, int head_dim)
{
	return (struct hparams){.name = "random",
	                        .layers = 2,
	                        .hidden = 96,
	                        .heads = heads,
	                        .kv_heads = kv_heads,
	                        .head_dim = head_dim,
	                        .ffn = 160,
	                        .vocab = 70,
	                        .context = 64,
	                        .rope_base = 10000,
	                        .eps = 1e-6,
	                        .tied = head_dim == 64};
}

static struct decoder_options options_of(int kv)
{
	return (struct decoder_options){.capacity = 40,
	                                .kv = kv,
	                                .use_bias = true,
	                                .use_tuned = true,
	                                .graphs = true,
	                                .quiet = true};
}

/* A step of the plan and of the one without fusion, greedy and not: embed, layers, end. */
static const struct step {
	bool unfused;
	struct sampling sampling;
	int kv;
	const char *way;
	int n_layer, n_end;
	enum op layer[9], end[5];
} steps[] = {
        {false,
         {0},
         DTYPE_BF16,
         "tuned",
         5,
         2,
         {OP_QKV, OP_ATTENTION, OP_ATTN_OUT, OP_GATE_UP, OP_DOWN},
         {OP_HEAD, OP_ADVANCE}},
        {false,
         {1, 20, 0.9, 3},
         DTYPE_BF16,
         "tuned sampled",
         5,
         3,
         {OP_QKV, OP_ATTENTION, OP_ATTN_OUT, OP_GATE_UP, OP_DOWN},
         {OP_HEAD, OP_SAMPLE, OP_ADVANCE}},
        {true,
         {0},
         DTYPE_BF16,
         "tuned unfused",
         8,
         4,
         {OP_ATTN_NORM, OP_QKV, OP_ROPE, OP_ATTENTION, OP_ATTN_OUT, OP_FFN_NORM, OP_GATE_UP,
          OP_DOWN},
         {OP_FINAL_NORM, OP_HEAD, OP_ARGMAX, OP_ADVANCE}},
        {true,
         {1, 0, 1, 4},
         DTYPE_BF16,
         "tuned unfused sampled",
         8,
         5,
         {OP_ATTN_NORM, OP_QKV, OP_ROPE, OP_ATTENTION, OP_ATTN_OUT, OP_FFN_NORM, OP_GATE_UP,
          OP_DOWN},
         {OP_FINAL_NORM, OP_HEAD, OP_ARGMAX, OP_SAMPLE, OP_ADVANCE}},
        {false,
         {0},
         DTYPE_Q8_0,
         "tuned",
         6,
         2,
         {OP_QKV, OP_KV_APPEND, OP_ATTENTION, OP_ATTN_OUT, OP_GATE_UP, OP_DOWN},
         {OP_HEAD, OP_ADVANCE}},
        {true,
         {0},
         DTYPE_Q8_0,
         "tuned unfused",
         9,
         4,
         {OP_ATTN_NORM, OP_QKV, OP_ROPE, OP_KV_APPEND, OP_ATTENTION, OP_ATTN_OUT, OP_FFN_NORM,
          OP_GATE_UP, OP_DOWN},
         {OP_FINAL_NORM, OP_HEAD, OP_ARGMAX, OP_ADVANCE}},
};

static int step_launches(const struct step *step, int layers)
{
	return 1 + layers * step->n_layer + step->n_end;
}

static void expect_step(const struct plan *plan, const struct step *step)
{
	const struct launch *l = plan->launches;
	assert_int_equal(plan->n, step_launches(step, 2));
	assert_int_equal((l++)->op, OP_EMBED);
	for (int i = 0; i < 2 * step->n_layer; i++, l++) {
		assert_int_equal(l->op, step->layer[i % step->n_layer]);
		assert_int_equal(l->layer, i / step->n_layer);
	}
	for (int i = 0; i < step->n_end; i++)
		assert_int_equal((l++)->op, step->end[i]);
	for (l = plan->launches; l < plan->launches + plan->n; l++)
		assert_true(launch_bytes(l, 10) > 0 && l->grid.x > 0 && l->grid.threads > 0);
}

/* In place of table_warn_stale(). */
static int n_warned;
void __wrap_table_warn_stale(const struct device_info *info);
void __wrap_table_warn_stale(const struct device_info *info)
{
	(void)info;
	n_warned++;
}

/* Whoever decodes with tuned rows is told when they are stale. */
static void tuned_rows_are_checked(void **state)
{
	struct hparams h = shape_of(7, 1, 64);
	struct decoder_options options = options_of(DTYPE_BF16);
	struct model model;
	struct decoder d;
	(void)state;
	OK(model_make_random(&qwen2, &h, DTYPE_BF16, &model));
	for (int tuned = 0; tuned < 2; tuned++) {
		options.use_tuned = tuned;
		n_warned = 0;
		OK(decoder_open(device, &model, &options, &d));
		decoder_close(&d);
		assert_int_equal(n_warned, tuned);
	}
	model_close(&model);
}

/* Each launch says where its configuration is from: the rows of some are lent. */
static void plan_names_the_nearest_row(void **state)
{
	struct hparams h = shape_of(7, 1, 64);
	const struct decoder_options options = options_of(DTYPE_BF16);
	struct model model;
	struct decoder d;
	char *text, expected[32];
	size_t bytes;
	int n_lent = 0;
	(void)state;
	OK(model_make_random(&qwen2, &h, DTYPE_BF16, &model));
	OK(decoder_open(device, &model, &options, &d));
	FILE *to = open_memstream(&text, &bytes);
	plan_print(&d.plans[0], to);
	fclose(to);
	char *line = text;
	for (int i = 0; i < d.plans[0].n; i++) {
		const struct launch *l = &d.plans[0].launches[i];
		line = strchr(line, '\n') + 1;
		char *end = strchr(line, '\n');
		*end = 0;
		bool lent = l->variant->device && l->variant->m != l->shape.m;
		snprintf(expected, sizeof expected, "  nearest %dx%d ", l->variant->m,
		         l->variant->k);
		assert_int_equal(strstr(line, expected) != NULL, lent);
		assert_int_equal(strstr(line, "  default ") != NULL, !l->variant->device);
		*end = '\n';
		n_lent += lent;
	}
	const bool has_rows = table_lookup(kernel_find("gemv"), device_info(device),
	                                   (int[]){DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_RESIDUAL},
	                                   &(struct shape){.m = 896, .k = 896}, true)
	                              ->device != NULL;
	assert_int_equal(n_lent > 0, has_rows);
	free(text);
	decoder_close(&d);
	model_close(&model);
}

/* Its row may be one that was confirmed beside the weights of the product behind it. */
static void attention_knows_the_product_behind_it(void **state)
{
	static const int types[] = {DTYPE_BF16, DTYPE_Q8_0};
	struct hparams h = shape_of(7, 1, 64);
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct model model;
		struct decoder d;
		OK(model_make_random(&qwen2, &h, types[i], &model));
		const struct decoder_options options = options_of(DTYPE_BF16);
		OK(decoder_open(device, &model, &options, &d));
		const struct plan *plan = &d.plans[0];
		for (int l = 0; l < plan->n; l++) {
			const struct launch *launch = &plan->launches[l];
			const bool attention = launch->op == OP_ATTENTION;
			assert_int_equal(launch->kernel->tells_beside, attention);
			assert_int_equal(launch->shape.beside,
			                 attention ? beside_weights(launch[1].kase.value[0])
			                           : BESIDE_NONE);
		}
		assert_int_equal(plan->launches[2].shape.beside, beside_weights(types[i]));
		decoder_close(&d);
		model_close(&model);
	}
}

static const struct variant *find_beside(void *user, const struct kernel *kernel,
                                         const struct kase *kase, const struct shape *shape)
{
	struct variant *row = user;
	const struct variant *v =
	        table_lookup(kernel, device_info(device), kase->value, shape, false);
	if (!kernel->tells_beside)
		return v;
	*row = *v;
	row->device = device_info(device)->name;
	row->m = shape->m;
	row->k = shape->k;
	row->beside = BESIDE_Q4_K;
	return row;
}

/* The row's weights, whatever those of the step. */
static void plan_says_what_a_row_was_confirmed_beside(void **state)
{
	struct hparams h = shape_of(7, 1, 64);
	struct decoder_options options = options_of(DTYPE_BF16);
	struct variant row;
	struct model model;
	struct decoder d;
	char *text;
	size_t bytes;
	int n = 0;
	(void)state;
	options.find = find_beside;
	options.find_user = &row;
	OK(model_make_random(&qwen2, &h, DTYPE_BF16, &model));
	OK(decoder_open(device, &model, &options, &d));
	FILE *to = open_memstream(&text, &bytes);
	plan_print(&d.plans[0], to);
	fclose(to);
	for (const char *at = text; (at = strstr(at, "  tuned beside q4_k  ")); at++)
		n++;
	assert_int_equal(n, h.layers);
	assert_null(strstr(text, "beside bf16"));
	free(text);
	decoder_close(&d);
	model_close(&model);
}

/* In place of table_ranges(): what it was asked. */
static int asked_beside[4], n_asked;
int __wrap_table_ranges(const struct kernel *kernel, const struct device_info *info,
                        const int *kase, const struct shape *shapes, int n_shapes, int max_len,
                        int *upper, int max);
int __real_table_ranges(const struct kernel *kernel, const struct device_info *info,
                        const int *kase, const struct shape *shapes, int n_shapes, int max_len,
                        int *upper, int max);
int __wrap_table_ranges(const struct kernel *kernel, const struct device_info *info,
                        const int *kase, const struct shape *shapes, int n_shapes, int max_len,
                        int *upper, int max)
{
	n_asked = n_shapes;
	for (int i = 0; i < n_shapes && i < 4; i++)
		asked_beside[i] = shapes[i].beside;
	return __real_table_ranges(kernel, info, kase, shapes, n_shapes, max_len, upper, max);
}

/* Layers may differ in the type of that product: a plan's range must be one for all. */
static void ranges_are_those_of_all_layers(void **state)
{
	struct hparams h = shape_of(7, 1, 64);
	struct layer_weights layers[] = {
	        {.o.dtype = DTYPE_Q8_0}, {.o.dtype = DTYPE_Q4_K}, {.o.dtype = DTYPE_Q8_0}};
	const struct weights weights = {.layers = layers};
	const struct state cache = {.capacity = 40, .kv = DTYPE_BF16};
	const struct builder b = {.hparams = &h,
	                          .weights = &weights,
	                          .state = &cache,
	                          .info = device_info(device),
	                          .use_tuned = true};
	int upper[PLAN_MAX_RANGES];
	(void)state;
	h.layers = 3;
	const int n = plan_ranges(&b, upper);
	assert_int_equal(upper[n - 1], 40);
	assert_int_equal(n_asked, 2);
	assert_int_equal(asked_beside[0], BESIDE_Q8_0);
	assert_int_equal(asked_beside[1], BESIDE_Q4_K);
}

/* Of every layer, whatever its number of rows. */
static void caches_are_aligned(void **state)
{
	static const int types[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q8_0};
	struct hparams h = shape_of(3, 1, 32);
	struct model model;
	struct decoder d;
	(void)state;
	OK(model_make_random(&qwen2, &h, DTYPE_BF16, &model));
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		struct decoder_options options = options_of(types[i]);
		options.capacity = 37;
		OK(decoder_open(device, &model, &options, &d));
		for (int l = 0; l < d.plans[0].n; l++) {
			const struct launch *launch = &d.plans[0].launches[l];
			if (launch->op != OP_ATTENTION)
				continue;
			assert_int_equal((uintptr_t)launch->args.attention.k % 16, 0);
			assert_int_equal((uintptr_t)launch->args.attention.v % 16, 0);
		}
		decoder_close(&d);
	}
	model_close(&model);
}

/* All launches but the first may begin before the one before has ended, or none. */
static void serial_launches_do_not_overlap(void **state)
{
	struct hparams h = shape_of(7, 1, 64);
	struct decoder_options options = options_of(DTYPE_BF16);
	struct model model;
	struct decoder d;
	char way[DECODER_WAY];
	(void)state;
	OK(model_make_random(&qwen2, &h, DTYPE_BF16, &model));
	for (int serial = 0; serial < 2; serial++) {
		options.serial = serial;
		OK(decoder_open(device, &model, &options, &d));
		assert_string_equal(decoder_way(&d, way), serial ? "tuned serial" : "tuned");
		for (int i = 0; i < d.plans[0].n; i++)
			assert_int_equal(d.plans[0].launches[i].dependent, !serial && i > 0);
		decoder_close(&d);
	}
	model_close(&model);
}

static void plan_is_the_step(void **state)
{
	const struct step *step = *state;
	struct hparams h = shape_of(6, 2, step->kv == DTYPE_Q8_0 ? 32 : 16);
	struct decoder_options options = options_of(step->kv);
	struct model model;
	struct decoder d;
	char way[DECODER_WAY];
	options.unfused = step->unfused;
	options.sampling = step->sampling;
	OK(model_make_random(&qwen2, &h, DTYPE_BF16, &model));
	OK(decoder_open(device, &model, &options, &d));
	assert_string_equal(decoder_way(&d, way), step->way);
	assert_int_equal(d.plans[d.n_plans - 1].len_max, options.capacity);
	for (int p = 0; p < d.n_plans; p++)
		expect_step(&d.plans[p], step);
	/* a longer cache adds its keys and values and nothing else */
	double more = plan_bytes(&d.plans[0], 20) - plan_bytes(&d.plans[0], 10);
	const size_t row = dtype_bytes(step->kv, 2 * (size_t)h.head_dim);
	assert_true(fabs(more - 10 * 2 * 2 * (double)row) < 1e-6);
	/* of two ranges, the position after key n sees n + 1 keys */
	struct decoder two = d;
	two.n_plans = 2;
	two.plans[0].len_max = 16;
	assert_ptr_equal(decoder_plan(&two, 0), &two.plans[0]);
	assert_ptr_equal(decoder_plan(&two, 15), &two.plans[0]);
	assert_ptr_equal(decoder_plan(&two, 16), &two.plans[1]);
	assert_ptr_equal(decoder_plan(&two, 39), &two.plans[1]);
	decoder_close(&d);
	decoder_close(&d);
	model_close(&model);
}

static void the_cache_ends_in_an_error(void **state)
{
	struct hparams h = shape_of(2, 1, 32);
	struct decoder_options options = options_of(DTYPE_F16);
	struct model model;
	struct decoder d;
	int position;
	(void)state;
	options.capacity = 3;
	OK(model_make_random(&qwen2, &h, DTYPE_F16, &model));
	OK(decoder_open(device, &model, &options, &d));
	for (int i = 0; i < 3; i++)
		OK(decoder_step(&d, i ? -1 : 7, NULL, 0));
	assert_int_equal(decoder_step(&d, -1, NULL, 0), STATUS_FAILED);
	assert_non_null(strstr(fail_message(), "context of 3 tokens is full"));
	OK(device_read(device, &position, d.state.position, sizeof position));
	assert_int_equal(position, 3);
	assert_int_equal(decoder_seek(&d, 3), STATUS_USAGE);
	assert_int_equal(decoder_step(&d, 70, NULL, 0), STATUS_FAILED); /* still full */
	OK(decoder_seek(&d, 0));
	assert_int_equal(decoder_step(&d, 70, NULL, 0), STATUS_USAGE);
	OK(decoder_step(&d, 69, NULL, 0));
	decoder_close(&d);
	model_close(&model);
}

/* Replayed, launched one by one and traced, a model chooses the same tokens. */
static void replay_is_the_same_as_launching(void **state)
{
	const struct step *step = *state;
	struct hparams h = shape_of(7, 1, 64);
	struct model model;
	int tokens[2][30];
	OK(model_make_random(&qwen2, &h, DTYPE_BF16, &model));
	for (int way = 0; way < 2; way++) {
		struct decoder_options options = options_of(DTYPE_BF16);
		struct decoder d;
		options.graphs = way == 0;
		options.unfused = step->unfused;
		options.sampling = step->sampling;
		OK(decoder_open(device, &model, &options, &d));
		for (int i = 0; i < 30; i++) {
			OK(decoder_step(&d, i ? -1 : 3, NULL, 0));
			OK(decoder_token(&d, &tokens[way][i]));
		}
		decoder_close(&d);
	}
	assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
	model_close(&model);
}

static void check_and_trace(const struct hparams *h, const struct step *step, int dtype, int kv,
                            int position)
{
	struct decoder_options options = options_of(kv);
	struct model model;
	struct decoder d;
	struct check check;
	struct trace trace;
	FILE *csv = fopen("/dev/null", "w");
	options.unfused = step->unfused;
	options.sampling = step->sampling;
	OK(model_make_random(&qwen2, h, dtype, &model));
	OK(decoder_open(device, &model, &options, &d));
	OK(check_open(&d, &check));
	OK(trace_open(&d, "1", NULL, csv, &trace));
	OK(check_seek(&check, &d, position));
	struct observer observers[] = {check_observer(&check), trace_observer(&trace)};
	for (int i = 0; i < 10; i++)
		if (decoder_step(&d, i < 5 ? 11 * i : -1, observers, 2) != STATUS_OK)
			fail_msg("%d/%d/%d %s, cache %s: %s", h->heads, h->kv_heads, h->head_dim,
			         dtype_name(dtype), dtype_name(kv), fail_message());
	assert_int_equal(check.forwards, 10);
	assert_int_equal(check.operations, 10 * step_launches(step, h->layers));
	for (int op = 0; op < N_OPS; op++)
		assert_true(check.worst[op] >= 0 && check.worst[op] <= 1);
	trace_close(&trace);
	check_close(&check);
	decoder_close(&d);
	model_close(&model);
	fclose(csv);
}

static void any_shape_agrees_with_the_reference(void **state)
{
	static const int heads[][3] = {{1, 1, 8},   {3, 3, 40},  {14, 2, 64}, {4, 1, 64},
	                               {6, 1, 64},  {6, 2, 128}, {7, 1, 128}, {5, 1, 128},
	                               {8, 1, 128}, {2, 2, 256}, {12, 3, 16}, {4, 4, 64}};
	static const int dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0};
	static const int caches[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
	for (int i = 0; i < (int)(sizeof heads / sizeof *heads); i++) {
		struct hparams h = shape_of(heads[i][0], heads[i][1], heads[i][2]);
		/* a q8_0 row is whole blocks */
		int dtype = dtypes[h.heads * h.head_dim % 32 ? i % 3 : i % 4];
		check_and_trace(&h, *state, dtype, caches[i % 3], i % 2 ? 0 : 29);
	}
}

static enum status break_x(void *context, const struct decoder *d, const struct launch *l)
{
	float x = 1e3f;
	(void)context;
	if (l->layer == 1 && l->op == OP_DOWN && d->position == 2)
		return device_write(d->device, d->state.x + 5, &x, sizeof x);
	return STATUS_OK;
}

static enum status begin_nothing(void *context, const struct decoder *d, int token)
{
	(void)context;
	(void)d;
	(void)token;
	return STATUS_OK;
}

/* What is overwritten behind a launch is laid to that launch. */
static void check_names_the_first_wrong_operation(void **state)
{
	const struct step *step = *state;
	struct hparams h = shape_of(4, 2, 32);
	struct decoder_options options = options_of(DTYPE_BF16);
	struct model model;
	struct decoder d;
	struct check check;
	options.unfused = step->unfused;
	options.sampling = step->sampling;
	OK(model_make_random(&qwen2, &h, DTYPE_BF16, &model));
	OK(decoder_open(device, &model, &options, &d));
	OK(check_open(&d, &check));
	struct observer observers[] = {{.begin = begin_nothing, .after = break_x},
	                               check_observer(&check)};
	OK(decoder_step(&d, 1, observers, 2));
	OK(decoder_step(&d, -1, observers, 2));
	assert_int_equal(decoder_step(&d, -1, observers, 2), STATUS_VIOLATION);
	assert_non_null(strstr(fail_message(),
	                       "position 2, layer 1, operation down (gemv): 1 of 96 elements of x "
	                       "differ, worst at 5"));
	check_close(&check);
	decoder_close(&d);
	model_close(&model);
}

#define OF_STEP(test, i)                                                  \
	{                                                                 \
#test " of step " #i, test, NULL, NULL, (void *)&steps[i] \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        OF_STEP(plan_is_the_step, 0),
	        OF_STEP(plan_is_the_step, 1),
	        OF_STEP(plan_is_the_step, 2),
	        OF_STEP(plan_is_the_step, 3),
	        OF_STEP(plan_is_the_step, 4),
	        OF_STEP(plan_is_the_step, 5),
	        cmocka_unit_test(tuned_rows_are_checked),
	        cmocka_unit_test(plan_names_the_nearest_row),
	        cmocka_unit_test(attention_knows_the_product_behind_it),
	        cmocka_unit_test(plan_says_what_a_row_was_confirmed_beside),
	        cmocka_unit_test(ranges_are_those_of_all_layers),
	        cmocka_unit_test(caches_are_aligned),
	        cmocka_unit_test(serial_launches_do_not_overlap),
	        cmocka_unit_test(the_cache_ends_in_an_error),
	        OF_STEP(replay_is_the_same_as_launching, 0),
	        OF_STEP(replay_is_the_same_as_launching, 1),
	        OF_STEP(replay_is_the_same_as_launching, 2),
	        OF_STEP(replay_is_the_same_as_launching, 3),
	        OF_STEP(any_shape_agrees_with_the_reference, 0),
	        OF_STEP(any_shape_agrees_with_the_reference, 1),
	        OF_STEP(any_shape_agrees_with_the_reference, 2),
	        OF_STEP(any_shape_agrees_with_the_reference, 3),
	        OF_STEP(check_names_the_first_wrong_operation, 0),
	        OF_STEP(check_names_the_first_wrong_operation, 2),
	};
	const char *spec = getenv("WARPSMITH_TEST_DEVICE");
	if (device_open(spec ? spec : "auto", true, &device) != STATUS_OK) {
		fprintf(stderr, "%s\n", fail_message());
		return 1;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	device_close(&device);
	return failed;
}
