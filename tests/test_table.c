/* Which instance the table answers with, on made-up rows of the devices of planted/table. */
#define _POSIX_C_SOURCE 200809L
#include "core/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "kernels/gemv.h"

#define BF16_BIAS                                               \
	{                                                       \
		{                                               \
			DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_BIAS \
		}                                               \
	}
#define BF16_NONE                                               \
	{                                                       \
		{                                               \
			DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_NONE \
		}                                               \
	}
#define ATTENTION                         \
	{                                 \
		{                         \
			64, 7, DTYPE_BF16 \
		}                         \
	}

/* Tunables that a configuration does not name have their defaults. */
struct made_up {
	const char *device;
	int m, k, len_min, len_max;
	const char *config, *name;
	int beside;
};
static const struct made_up gemv_made_up[] = {
        {NULL, 0, 0, 0, 0, "", "default"},
        {"Old GPU", 896, 896, 0, 0, "rows=1 tiles=1 unroll=1", "old"},
        {"New GPU", 896, 896, 0, 0, "math=1 rows=4 slices=7 tiles=1 unroll=2 blocks=0", "small"},
        {"New GPU", 9728, 896, 0, 0, "rows=4 unroll=2", "large"},
        {"New GPU", 896, 9728, 0, 0, "rows=4 unroll=2", "turned"},
        /* not legal: too many loads in flight */
        {"New GPU", 512, 512, 0, 0, "rows=8 unroll=8", "illegal"},
};
static const struct made_up attention_made_up[] = {
        {NULL, 0, 0, 0, 0, "splits=8", "default"},
        {"New GPU", 14, 2, 1, 1024, "splits=4 lanes=8 math=0", "short"},
        {"New GPU", 14, 2, 1025, 8192, "splits=32 stages=3 prefetch=0", "long"},
        {"New GPU", 21, 3, 1, 724, "splits=2 math=0", "alone"},
        {"New GPU", 21, 3, 725, 1448, "splits=2 math=0", "q4_1", BESIDE_Q4_1},
        {"New GPU", 21, 3, 725, 1448, "splits=4 math=0", "q8_0", BESIDE_Q8_0},
        {"New GPU", 21, 3, 1449, 8192, "splits=4 math=0", "alone too"},
        {"New GPU", 21, 3, 8193, 32768, "splits=32 math=0", "f32", BESIDE_F32},
        {"New GPU", 21, 3, 8193, 32768, "splits=16 math=0", "loop"},
        {"New GPU", 21, 3, 8193, 32768, "splits=8 math=0", "f16", BESIDE_F16},
        {"New GPU", 21, 3, 8193, 32768, "splits=1 math=0", "bf16", BESIDE_BF16},
};
enum { N_GEMV = sizeof gemv_made_up / sizeof *gemv_made_up };
enum { N_ATTENTION = sizeof attention_made_up / sizeof *attention_made_up };
static struct variant gemv_rows[N_GEMV], attention_rows[N_ATTENTION];

static void make_rows(const char *name, struct kase kase, const struct made_up *from, int n,
                      struct variant *row)
{
	const struct kernel *kernel = kernel_find(name);
	for (int i = 0; i < n; i++) {
		row[i] = (struct variant){.device = from[i].device,
		                          .kase = kase,
		                          .config = config_default(kernel),
		                          .m = from[i].m,
		                          .k = from[i].k,
		                          .len_min = from[i].len_min,
		                          .len_max = from[i].len_max,
		                          .beside = from[i].beside,
		                          .entry = from[i].name};
		assert_int_equal(params_parse(kernel->params, kernel->n_params, from[i].config,
		                              row[i].config.value),
		                 STATUS_OK);
	}
}

static int make_all(void **state)
{
	(void)state;
	make_rows("gemv", (struct kase)BF16_NONE, gemv_made_up, N_GEMV, gemv_rows);
	make_rows("gqa_attention", (struct kase)ATTENTION, attention_made_up, N_ATTENTION,
	          attention_rows);
	return 0;
}

int kernel_variants(const struct kernel *kernel, const struct device_info *info,
                    const struct variant **variants)
{
	(void)info;
	const bool gemv = !strcmp(kernel->name, "gemv");
	*variants = gemv ? gemv_rows : attention_rows;
	return gemv ? N_GEMV : N_ATTENTION;
}

static struct device_info gpu(const char *name, int sm, double bus_gbps)
{
	struct device_info info = {.target = {sm, 32}, .bus_gbps = bus_gbps, .driver = "1"};
	snprintf(info.name, sizeof info.name, "%s", name);
	return info;
}

static const char *answer(const char *kernel, const struct device_info *info, struct kase kase,
                          struct shape shape, bool use_tuned)
{
	const struct variant *v =
	        table_lookup(kernel_find(kernel), info, kase.value, &shape, use_tuned);
	return v ? v->entry : "none";
}

#define GEMV(info, m, k) \
	answer("gemv", info, (struct kase)BF16_NONE, (struct shape){m, k, 0, 0}, true)
#define LENGTH(info, n) \
	answer("gqa_attention", info, (struct kase)ATTENTION, (struct shape){14, 2, n, 64}, true)

static void a_row_serves_its_shape(void **state)
{
	(void)state;
	const struct device_info info = gpu("New GPU", 90, 4800);
	assert_string_equal(GEMV(&info, 896, 896), "small");
	assert_string_equal(GEMV(&info, 9728, 896), "large");
	assert_string_equal(GEMV(&info, 896, 9728), "turned");
}

/* A shape without a row gets that of the nearest one, by the quotients of m and k; only of its
 * device and case, only where that can run, and no other kernel's rows are lent. */
static void the_nearest_row_is_lent(void **state)
{
	(void)state;
	struct device_info info = gpu("New GPU", 90, 4800);
	const struct device_info old = gpu("Old GPU", 80, 2000);
	assert_string_equal(GEMV(&info, 1024, 1024), "small");
	assert_string_equal(GEMV(&info, 2944, 896), "small");
	assert_string_equal(GEMV(&info, 2976, 896), "large"); /* beyond sqrt(896 * 9728) */
	assert_string_equal(GEMV(&info, 896, 2976), "turned");
	assert_string_equal(GEMV(&info, 4096, 2048), "large");
	assert_string_equal(GEMV(&info, 2048, 4096), "turned");
	assert_string_equal(GEMV(&old, 9728, 896), "old");
	assert_string_equal(GEMV(&info, 896, 12000), "turned");
	info.sm_count = 132;
	info.smem_block_bytes = 40 << 10; /* x as floats does not fit */
	assert_string_equal(GEMV(&info, 896, 12000), "default");
	assert_string_equal(answer("gqa_attention", &info, (struct kase)ATTENTION,
	                           (struct shape){28, 4, 100, 64}, true),
	                    "default");
	const struct shape lent = {1024, 1024, 0, 0}, own = {896, 896, 0, 0};
	assert_true(table_is_lent(&gemv_rows[2], &lent));
	assert_false(table_is_lent(&gemv_rows[2], &own));
	assert_false(table_is_lent(&gemv_rows[0], &own));
}

static void a_row_that_cannot_run_is_passed_over(void **state)
{
	(void)state;
	const struct device_info info = gpu("New GPU", 90, 4800);
	assert_string_equal(GEMV(&info, 512, 512), "small");
}

static void nearest_device_of_the_same_kind(void **state)
{
	(void)state;
	const struct device_info ada = gpu("Ada", 89, 900), blackwell = gpu("Blackwell", 100, 8000),
	                         ampere = gpu("Ampere", 80, 1500),
	                         host = {.name = "host", .target = {0, 1}};
	assert_string_equal(GEMV(&ampere, 896, 896), "old");
	assert_string_equal(GEMV(&blackwell, 896, 896), "small");
	assert_string_equal(GEMV(&ada, 896, 896), "old");
	assert_string_equal(GEMV(&host, 896, 896), "default");
}

static void default_without_row_none_without_case(void **state)
{
	(void)state;
	const struct device_info info = gpu("New GPU", 90, 4800), old = gpu("Old GPU", 80, 2000);
	const struct shape shape = {896, 896, 0, 0};
	assert_string_equal(answer("gemv", &info, (struct kase)BF16_NONE, shape, false), "default");
	assert_string_equal(answer("gemv", &info, (struct kase)BF16_BIAS, shape, true), "none");
	assert_string_equal(LENGTH(&old, 100), "default");
}

static void attention_by_length(void **state)
{
	(void)state;
	const struct device_info info = gpu("New GPU", 90, 4800);
	assert_string_equal(LENGTH(&info, 1), "short");
	assert_string_equal(LENGTH(&info, 1024), "short");
	assert_string_equal(LENGTH(&info, 1025), "long");
	assert_string_equal(LENGTH(&info, 8193), "default");
}

/* The attention of 21 heads at length n, beside weights of a type. */
static const char *beside(int n, int weights)
{
	const struct device_info info = gpu("New GPU", 90, 4800);
	return answer("gqa_attention", &info, (struct kase)ATTENTION,
	              (struct shape){21, 3, n, 64, weights}, true);
}

/* A row that the loop confirmed beside the same weights, else the nearest by the bytes of a weight,
 * else one that says nothing. */
static void attention_by_what_runs_beside_it(void **state)
{
	(void)state;
	assert_string_equal(beside(1024, BESIDE_Q4_1), "q4_1");
	assert_string_equal(beside(1024, BESIDE_Q8_0), "q8_0");
	assert_string_equal(beside(1024, BESIDE_Q4_K), "q4_1");
	assert_string_equal(beside(1024, BESIDE_Q5_K), "q4_1"); /* 176, between 160 and 272 */
	assert_string_equal(beside(1024, BESIDE_Q6_K), "q8_0"); /* 210: 208.6 is half way */
	assert_string_equal(beside(1024, BESIDE_BF16), "q8_0");
	assert_string_equal(beside(724, BESIDE_Q8_0), "alone");
	assert_string_equal(beside(1449, BESIDE_Q8_0), "alone too");
	assert_string_equal(beside(10000, BESIDE_F16), "f16");
	assert_string_equal(beside(10000, BESIDE_BF16), "bf16"); /* as many bytes as f16 */
	assert_string_equal(beside(10000, BESIDE_Q8_0), "f16");  /* as near, and the first */
	assert_string_equal(beside(10000, BESIDE_F32), "f32");
	assert_string_equal(beside(40000, BESIDE_Q8_0), "default");
}

/* As the bench asks: a row that says nothing either, else the first. */
static void attention_beside_nothing(void **state)
{
	(void)state;
	assert_string_equal(beside(10000, BESIDE_NONE), "loop");
	assert_string_equal(beside(1024, BESIDE_NONE), "q4_1");
}

/* To two models the same lengths are different ranges; where two rows have one configuration, none
 * ends. */
static void ranges_are_those_of_what_runs_beside(void **state)
{
	static const struct {
		int beside[2], n, n_upper, upper[4];
	} cases[] = {{{BESIDE_Q4_1}, 1, 3, {1448, 8192, 20000}},
	             {{BESIDE_Q8_0}, 1, 3, {724, 8192, 20000}},
	             {{BESIDE_Q4_1, BESIDE_Q8_0}, 2, 4, {724, 1448, 8192, 20000}}};
	const struct device_info info = gpu("New GPU", 90, 4800);
	const struct kase kase = ATTENTION;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct shape shapes[] = {{21, 3, 0, 64, cases[i].beside[0]},
		                               {21, 3, 0, 64, cases[i].beside[1]}};
		int upper[8];
		assert_int_equal(table_ranges(kernel_find("gqa_attention"), &info, kase.value,
		                              shapes, cases[i].n, 20000, upper, 8),
		                 cases[i].n_upper);
		assert_memory_equal(upper, cases[i].upper,
		                    (size_t)cases[i].n_upper * sizeof *upper);
	}
}

static void ranges_end_where_the_answer_changes(void **state)
{
	(void)state;
	const struct device_info info = gpu("New GPU", 90, 4800), old = gpu("Old GPU", 80, 2000);
	const struct kernel *kernel = kernel_find("gqa_attention");
	const struct kase kase = ATTENTION;
	const struct shape shape = {14, 2, 0, 64};
	int upper[8];
	assert_int_equal(table_ranges(kernel, &info, kase.value, &shape, 1, 32768, upper, 8), 3);
	assert_int_equal(upper[0], 1024);
	assert_int_equal(upper[1], 8192);
	assert_int_equal(upper[2], 32768);
	assert_int_equal(table_ranges(kernel, &info, kase.value, &shape, 1, 1000, upper, 8), 1);
	assert_int_equal(upper[0], 1000);
	assert_int_equal(table_ranges(kernel, &old, kase.value, &shape, 1, 32768, upper, 8), 1);
	assert_int_equal(upper[0], 32768);
}

/* What table_warn_stale() says, called twice. */
static const char *warning(const struct device_info *info)
{
	static char text[1024];
	FILE *file = tmpfile();
	fflush(stderr);
	const int saved = dup(STDERR_FILENO);
	assert_non_null(file);
	dup2(fileno(file), STDERR_FILENO);
	table_warn_stale(info);
	table_warn_stale(info);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	text[fread(text, 1, sizeof text - 1, file)] = 0;
	fclose(file);
	return text;
}

static void warns_once_of_what_is_foreign_or_stale(void **state)
{
	(void)state;
	struct device_info foreign = gpu("Blackwell", 100, 8000), own = gpu("New GPU", 90, 4800),
	                   host = {.name = "host", .target = {0, 1}};
	const char *text = warning(&foreign);
	assert_non_null(strstr(text, "Blackwell"));
	assert_non_null(strstr(text, "New GPU"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	strcpy(own.driver, "2");
	text = warning(&own);
	assert_non_null(strstr(text, "other kernel sources (feed, now "));
	assert_non_null(strstr(text, "other tunables (beef, now "));
	assert_non_null(strstr(text, "driver 1, now 2"));
	assert_non_null(strstr(warning(&host), "no rows for host"));
	assert_string_equal(warning(&host), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_row_serves_its_shape),
	        cmocka_unit_test(the_nearest_row_is_lent),
	        cmocka_unit_test(a_row_that_cannot_run_is_passed_over),
	        cmocka_unit_test(nearest_device_of_the_same_kind),
	        cmocka_unit_test(default_without_row_none_without_case),
	        cmocka_unit_test(attention_by_length),
	        cmocka_unit_test(attention_by_what_runs_beside_it),
	        cmocka_unit_test(attention_beside_nothing),
	        cmocka_unit_test(ranges_are_those_of_what_runs_beside),
	        cmocka_unit_test(ranges_end_where_the_answer_changes),
	        cmocka_unit_test(warns_once_of_what_is_foreign_or_stale),
	};
	return cmocka_run_group_tests(tests, make_all, NULL);
}
