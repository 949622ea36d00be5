/* Configurations and cases as text. */
#include "core/kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/gemv.h"
#include "kernels/gqa_attention.h"

static const struct param rows[] = {
        {"w", "a dtype", 0, NAMES_DTYPE, 2, {DTYPE_BF16, DTYPE_Q8_0}},
        {"epilogue", "a name", 0, NAMES_EPILOGUE, 2, {EPILOGUE_NONE, EPILOGUE_SWIGLU}},
        {"unroll", "a number", 2, NAMES_NUMBER, 3, {1, 2, 16}},
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static void text_of_values(void **state)
{
	(void)state;
	char text[CONFIG_TEXT];
	const int values[] = {DTYPE_Q8_0, EPILOGUE_SWIGLU, 16};
	assert_string_equal(params_format(rows, N_ROWS, values, text),
	                    "w=q8_0 epilogue=swiglu unroll=16");
	assert_string_equal(params_format(rows, 0, values, text), "");
}

static void values_of_text(void **state)
{
	(void)state;
	int values[] = {DTYPE_BF16, EPILOGUE_NONE, 2};
	assert_int_equal(params_parse(rows, N_ROWS, "unroll=16 w=q8_0", values), STATUS_OK);
	assert_int_equal(values[0], DTYPE_Q8_0);
	assert_int_equal(values[1], EPILOGUE_NONE);
	assert_int_equal(values[2], 16);
	assert_int_equal(params_parse(rows, N_ROWS, "", values), STATUS_OK);
	assert_int_equal(values[2], 16);
}

static void refuses(const char *text, const char *named)
{
	int values[] = {DTYPE_BF16, EPILOGUE_NONE, 2};
	assert_int_not_equal(params_parse(rows, N_ROWS, text, values), STATUS_OK);
	assert_non_null(strstr(fail_message(), named));
}

static void refusals_name_their_cause(void **state)
{
	(void)state;
	refuses("warps=4", "warps");
	refuses("unroll=3", "unroll");
	refuses("unroll=", "unroll");
	refuses("unroll=1x", "1x");
	refuses("unroll", "unroll");
	refuses("w=f32", "f32");
}

/* Of every kernel: names are unique, defaults are listed, each value survives the way to text and
 * back. */
static void kernels_lists_are_sound(void **state)
{
	(void)state;
	for (const struct kernel *const *k = kernels; *k; k++) {
		assert_in_range((*k)->n_params, 1, MAX_PARAMS);
		assert_in_range((*k)->n_fields, 1, MAX_FIELDS);
		for (int p = 0; p < (*k)->n_params; p++) {
			const struct param *param = &(*k)->params[p];
			char text[CONFIG_TEXT];
			assert_true(param_allows(param, param->default_value));
			for (int other = 0; other < p; other++)
				assert_string_not_equal(param->name, (*k)->params[other].name);
			for (int i = 0; i < param->n_values; i++) {
				int value = param->values[i], back = value + 1;
				params_format(param, 1, &value, text);
				assert_int_equal(params_parse(param, 1, text, &back), STATUS_OK);
				assert_int_equal(back, value);
			}
		}
	}
}

static void shapes_survive_the_way_to_text(void **state)
{
	(void)state;
	static const char *const shapes[][2] = {
	        {"gemv", "896x4864"},
	        {"gqa_attention", "14/2/64@1024"},
	        {"gqa_attention", "14/2/64@1024 beside q8_0"},
	        {"gqa_attention", "28/4/128@131072 beside f32"},
	        {"rms_norm", "896"},
	        {"rope", "3584"},
	        {"embed", "896"},
	        {"argmax", "151936"},
	        {"sample", "151936"},
	        {"unpack", "512x896"},
	        {"norm_rows", "512x896"},
	        {"gemm", "896x4864@512"},
	        {"kv_append", "1/2/64"},
	        {"rope_rows", "14/2/64@512"},
	        {"swiglu_rows", "512x4864"},
	        {"causal_attention", "14/2/64@512"},
	};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		const struct kernel *kernel = kernel_find(shapes[i][0]);
		struct shape shape;
		char text[64];
		assert_int_equal(kernel_read_shape(kernel, shapes[i][1], &shape), STATUS_OK);
		kernel_write_shape(kernel, &shape, text);
		assert_string_equal(text, shapes[i][1]);
		assert_int_not_equal(kernel_read_shape(kernel, "x", &shape), STATUS_OK);
		assert_non_null(strstr(fail_message(), "'x'"));
		/* 2^32 + 896, which an int may hold as 896 */
		snprintf(text, sizeof text, "4294968192%s",
		         shapes[i][1] + strspn(shapes[i][1], "0123456789"));
		assert_int_not_equal(kernel_read_shape(kernel, text, &shape), STATUS_OK);
		assert_non_null(strstr(fail_message(), text));
	}
}

static void what_a_shape_runs_beside_is_part_of_its_text(void **state)
{
	static const char *const wrong[][2] = {
	        {"gqa_attention", "14/2/64@1024 beside "},
	        {"gqa_attention", "14/2/64@1024 beside q9"},
	        {"gqa_attention", "14/2/64@1024 beside i32"},
	        {"gqa_attention", "14/2/64@1024 beside q8_0 beside q8_0"},
	        {"gqa_attention", "14/2/64 beside q8_0"},
	        /* as far as 64 bytes: 10 keys */
	        {"gqa_attention", "                                                     "
	                          "14/2/64@1024 beside q8_0"},
	        {"gemv", "896x4864 beside q8_0"},
	        {"rope", "3584 beside q8_0"},
	};
	const struct kernel *attention = kernel_find("gqa_attention");
	struct shape shape;
	char text[64];
	(void)state;
	assert_int_equal(kernel_read_shape(attention, "14/2/64@1024 beside q8_0", &shape),
	                 STATUS_OK);
	assert_int_equal(shape.len, 1024);
	assert_int_equal(shape.beside, BESIDE_Q8_0);
	assert_int_equal(shape.beside, beside_weights(DTYPE_Q8_0));
	assert_int_equal(kernel_read_shape(attention, "14/2/64@1024", &shape), STATUS_OK);
	assert_int_equal(shape.beside, BESIDE_NONE);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_int_equal(kernel_read_shape(kernel_find(wrong[i][0]), wrong[i][1], &shape),
		                 STATUS_USAGE);
		assert_non_null(strstr(fail_message(), shape_alone(wrong[i][1], text)));
	}
	assert_string_equal(shape_alone("14/2/64@1024 beside q8_0", text), "14/2/64@1024");
	assert_string_equal(shape_alone("896x4864", text), "896x4864");
	assert_true(shape_alike("14/2/64@1024 beside q8_0", "14/2/64@1024 beside q4_k"));
	assert_true(shape_alike("14/2/64@1024", "14/2/64@1024 beside q4_k"));
	assert_false(shape_alike("14/2/64@1024 beside q8_0", "14/2/64@102 beside q8_0"));
	assert_false(shape_alike("14/2/64@1024", "14/2/64@10240"));
}

/* Blocks that wait for the last of theirs must leave room for it. */
static void combiners_need_room(void **state)
{
	(void)state;
	const struct kernel *kernel = kernel_find("gqa_attention");
	struct device_info info = {.target = {90, 32}, .sm_count = 29};
	const int kase[MAX_FIELDS] = {128, 7, DTYPE_BF16};
	struct config config = config_default(kernel);
	struct shape shape;
	assert_int_equal(kernel->parse_shape("28/4/128@1024", &shape), STATUS_OK);
	assert_int_equal(params_parse(kernel->params, kernel->n_params, "splits=64 combiners=8",
	                              config.value),
	                 STATUS_OK);
	assert_true(kernel->valid(&shape, kase, config.value, &info));
	info.sm_count = 28; /* 4 heads, 7 of the 8 wait */
	assert_false(kernel->valid(&shape, kase, config.value, &info));
}

/* Who polls holds a place that another may need. */
static void polling_needs_room_for_all(void **state)
{
	(void)state;
	const struct kernel *kernel = kernel_find("gqa_attention");
	struct device_info info = {
	        .target = {90, 32}, .sm_count = 132, .smem_block_bytes = 227 << 10};
	const int kase[MAX_FIELDS] = {128, 7, DTYPE_BF16};
	struct shape shape;
	static const struct {
		const char *config;
		int sm_count;
		bool valid;
	} cases[] = {{"poll=1 splits=33", 132, true},
	             {"poll=1 splits=33", 131, false},
	             {"poll=0 splits=33", 131, true},
	             {"poll=1 splits=66 min_blocks=2", 132, true},
	             /* 16 KB of a stage: two blocks do not fit a multiprocessor */
	             {"poll=1 splits=66 min_blocks=2 warps=8 stages=1", 132, true},
	             {"poll=1 splits=66 min_blocks=2 warps=8 stages=2", 132, false},
	             {"poll=1 splits=33 warps=8 stages=2", 132, true}};
	assert_int_equal(kernel->parse_shape("28/4/128@1024", &shape), STATUS_OK);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config config = config_default(kernel);
		assert_int_equal(params_parse(kernel->params, kernel->n_params, cases[i].config,
		                              config.value),
		                 STATUS_OK);
		info.sm_count = cases[i].sm_count;
		if (kernel->valid(&shape, kase, config.value, &info) != cases[i].valid)
			fail_msg("%s on %d multiprocessors", cases[i].config, cases[i].sm_count);
	}
}

/* What GEMV suggests for products of real models can run, and its tunables fit each other. */
static void suggestions_can_run(void **state)
{
	(void)state;
	static const int dtypes[] = {DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q6_K},
	                 columns[] = {896, 3584, 4864, 8192, 18944};
	const struct kernel *kernel = kernel_find("gemv");
	const struct device_info info = {
	        .target = {90, 32}, .sm_count = 132, .smem_block_bytes = 227 << 10};
	struct config config[MAX_SUGGESTIONS];
	for (int d = 0; d < 4; d++)
		for (int i = 0; i < 5; i++) {
			const struct gemv_case kase = {dtypes[d], DTYPE_F32, 0, EPILOGUE_RESIDUAL};
			const struct shape shape = {.m = 3584, .k = columns[i]};
			if (columns[i] % dtype_block(dtypes[d]))
				continue;
			const int n = kernel->suggest(&shape, (const int *)&kase, &info, config);
			assert_in_range(n, 4, MAX_SUGGESTIONS);
			for (int c = 0; c < n; c++) {
				struct gemv_config at;
				memcpy(&at, config[c].value, sizeof at);
				assert_true(kernel->valid(&shape, (const int *)&kase,
				                          config[c].value, &info));
				assert_true(at.held && at.slices * at.tiles * at.blocks > 4);
				for (int other = 0; other < c; other++)
					assert_memory_not_equal(&config[c], &config[other],
					                        sizeof config[c]);
			}
		}
	const struct gemv_case kase = {DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_RESIDUAL};
	const struct shape too_long = {.m = 64, .k = 1 << 20};
	assert_int_equal(kernel->suggest(&too_long, (const int *)&kase, &info, config), 0);
}

/* What attention suggests can run; up to a step of eight warps one split has all keys, which leaves
 * nothing to sum. */
static void attention_suggests_one_trip(void **state)
{
	(void)state;
	static const int lengths[] = {1, 64, 359, 512, 513, 4096, 131072};
	const struct kernel *kernel = kernel_find("gqa_attention");
	const struct device_info info = {
	        .target = {90, 32}, .sm_count = 132, .smem_block_bytes = 227 << 10};
	struct config config[MAX_SUGGESTIONS];
	for (int i = 0; i < (int)(sizeof lengths / sizeof *lengths); i++) {
		const struct gqa_attention_case kase = {64, 7, DTYPE_BF16};
		const struct shape shape = {14, 2, .head_dim = 64, .len = lengths[i]};
		const int n = kernel->suggest(&shape, (const int *)&kase, &info, config);
		bool alone = false;
		assert_int_equal(n, MAX_SUGGESTIONS);
		for (int c = 0; c < n; c++) {
			struct gqa_attention_config at;
			memcpy(&at, config[c].value, sizeof at);
			assert_true(
			        kernel->valid(&shape, (const int *)&kase, config[c].value, &info));
			const int step = at.warps * at.unroll * ATTENTION_TILE;
			if (at.splits * step < lengths[i])
				assert_true(at.splits >= 64 && !at.poll);
			alone |= at.splits == 1;
		}
		assert_int_equal(alone, lengths[i] <= 512);
	}
	const struct gqa_attention_case fma = {128, 7, DTYPE_Q8_0};
	const struct shape shape = {28, 4, .head_dim = 128, .len = 64};
	assert_int_equal(kernel->suggest(&shape, (const int *)&fma, &info, config), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(text_of_values),
	        cmocka_unit_test(values_of_text),
	        cmocka_unit_test(refusals_name_their_cause),
	        cmocka_unit_test(kernels_lists_are_sound),
	        cmocka_unit_test(shapes_survive_the_way_to_text),
	        cmocka_unit_test(what_a_shape_runs_beside_is_part_of_its_text),
	        cmocka_unit_test(combiners_need_room),
	        cmocka_unit_test(polling_needs_room_for_all),
	        cmocka_unit_test(suggestions_can_run),
	        cmocka_unit_test(attention_suggests_one_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
