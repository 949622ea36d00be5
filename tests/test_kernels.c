/* Compiled instances of every kernel against the double-precision reference, on shapes that fit and
 * on odd ones: a set in which every pair of values of two fields or tunables occurs, or, with
 * WARPSMITH_TEST_ALL set, all of them. WARPSMITH_TEST_PROGRESS names a file that remembers what has
 * passed, so that a long run can be resumed. */
#include "bench/problem.h"
#include "device/host_check.h"
#include "kernels/gemv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_FACTORS = MAX_FIELDS + MAX_PARAMS, SEED = 7 };

static struct device *device;

static int open_device(void **state)
{
	(void)state;
	return device_open(SIMT_WARP == 1 ? "host" : "host32", true, &device);
}

static int close_device(void **state)
{
	(void)state;
	device_close(&device);
	return 0;
}

/* Shapes of a kernel; those that a case cannot run are passed over. Attention: heads and head size
 * come from the case, these are lengths; the generic instance takes the shapes below. */
static const struct {
	const char *kernel, *shapes[8];
} shapes_of[] = {
        {"gemv", {"1x32", "7x96", "38x896", "130x1120", "24x4864", "6x256", "42x1792"}},
        {"rms_norm", {"8", "200", "896", "3584"}},
        {"rope", {"896", "64", "3584"}},
        {"embed", {"32", "896", "1024"}},
        {"argmax", {"1", "3", "1000", "151936"}},
        {"sample", {"1", "3", "1000", "151936"}},
        {"advance", {"1", "16"}},
        {"stream", {"64", "1000"}},
        {"mark", {"1", "3"}},
        {"unpack", {"1x32", "5x896", "130x256"}},
        {"norm_rows", {"1x8", "3x200", "9x896"}},
        {"gemm", {"1x8@1", "7x96@5", "38x200@9", "33x256@4"}},
        {"kv_append", {"1/2/64", "5/3/32", "59/1/256"}},
        {"rope_rows", {"3/1/40@5", "14/2/64@3", "1/1/8@1"}},
        {"swiglu_rows", {"1x8", "5x200", "3x1000"}},
};
static const int lengths[] = {1, 5, 63, 1000};
static const char *const generic_attention[] = {"5/5/40@63", "14/2/80@1000", "3/1/96@5",
                                                "2/2/8@1",   "14/2/64@300",  "9/3/256@33"};

enum { MAX_SHAPES = 16 };

static int attention_shapes(const int *kase, struct shape *shapes)
{
	const int head_dim = kase[0], group = kase[1];
	int n = 0;
	for (size_t i = 0; head_dim && i < sizeof lengths / sizeof *lengths; i++)
		shapes[n++] = (struct shape){2 * group, 2, lengths[i], head_dim};
	for (size_t i = 0; !head_dim && i < sizeof generic_attention / sizeof *generic_attention;
	     i++)
		assert_int_equal(kernel_find("gqa_attention")
		                         ->parse_shape(generic_attention[i], &shapes[n++]),
		                 STATUS_OK);
	return n;
}

/* Of prompts: groups, and chunks that are a whole number of tiles and that are not. */
static int causal_shapes(const int *kase, struct shape *shapes)
{
	static const int dims[] = {32, 40, 80, 256}, groups[] = {1, 7, 3, 5}, n[] = {1, 32, 59, 5};
	for (int i = 0; i < 4; i++)
		shapes[i] = (struct shape){2 * groups[i], 2, n[i], kase[0] ? kase[0] : dims[i]};
	return 4;
}

static int find_shapes(const struct kernel *kernel, const int *kase, struct shape *shapes)
{
	int n = 0;
	if (!strcmp(kernel->name, "gqa_attention"))
		return attention_shapes(kase, shapes);
	if (!strcmp(kernel->name, "causal_attention"))
		return causal_shapes(kase, shapes);
	for (size_t i = 0; i < sizeof shapes_of / sizeof *shapes_of; i++)
		for (int s = 0;
		     !strcmp(kernel->name, shapes_of[i].kernel) && shapes_of[i].shapes[s]; s++)
			assert_int_equal(kernel->parse_shape(shapes_of[i].shapes[s], &shapes[n++]),
			                 STATUS_OK);
	if (n == 0)
		fail_msg("no shapes to test %s with", kernel->name);
	return n;
}

/* Fields and tunables of an instance as one list of values. */
static int factor(const struct kernel *kernel, const struct variant *v, int f)
{
	return f < kernel->n_fields ? v->kase.value[f] : v->config.value[f - kernel->n_fields];
}

static int value_index(const struct kernel *kernel, const struct variant *v, int f)
{
	const struct param *p =
	        f < kernel->n_fields ? &kernel->fields[f] : &kernel->params[f - kernel->n_fields];
	for (int i = 0; i < p->n_values; i++)
		if (p->values[i] == factor(kernel, v, f))
			return i;
	fail_msg("%s: an instance has a value that %s does not list", kernel->name, p->name);
	return -1;
}

static bool seen[MAX_FACTORS][MAX_VALUES][MAX_FACTORS][MAX_VALUES];

/* Pairs of values of v that are new; marks them when asked. */
static int new_pairs(const struct kernel *kernel, const struct variant *v, bool mark)
{
	const int n_factors = kernel->n_fields + kernel->n_params;
	int index[MAX_FACTORS], n = 0;
	for (int f = 0; f < n_factors; f++)
		index[f] = value_index(kernel, v, f);
	for (int a = 0; a < n_factors; a++)
		for (int b = a + 1; b < n_factors; b++) {
			bool *pair = &seen[a][index[a]][b][index[b]];
			n += !*pair;
			*pair |= mark;
		}
	return n;
}

/* Marks instances of a small set that covers all pairs; returns how many. */
static int choose(const struct kernel *kernel, const struct variant *variants, int n, bool *chosen)
{
	int n_chosen = 0;
#ifdef WARPSMITH_SPACE_PAIRS
	const bool all = true; /* no others were compiled */
#else
	const bool all = getenv("WARPSMITH_TEST_ALL") != NULL;
#endif
	memset(seen, 0, sizeof seen);
	for (;; n_chosen++) {
		int best = -1, most = 0;
		for (int i = 0; i < n; i++) {
			const int gain = chosen[i] ? 0
			                 : all     ? 1
			                           : new_pairs(kernel, &variants[i], false);
			if (gain > most) {
				most = gain;
				best = i;
			}
		}
		if (best < 0)
			return n_chosen;
		new_pairs(kernel, &variants[best], true);
		chosen[best] = true;
	}
}

/* One instance under every schedule. */
static enum status check_schedules(struct problem *problem, const struct variant *v)
{
	enum status status = STATUS_OK;
	const struct host_check before = host_check_get();
	for (int s = SCHEDULE_FORWARD; s <= SCHEDULE_RANDOM; s++) {
		struct host_check check = before;
		check.schedule = (enum schedule)s;
		check.seed = SEED;
		host_check_set(check);
		TRY(problem_check(problem, v->entry, v->config.value));
	}
done:
	host_check_set(before);
	return status;
}

static const char *describe(const struct kernel *kernel, const struct variant *v,
                            const struct shape *shape)
{
	static char text[1024];
	char kase[CONFIG_TEXT], config[CONFIG_TEXT], where[64];
	kernel->format_shape(shape, where);
	snprintf(text, sizeof text, "%s %s, %s, %s", kernel->name, where,
	         params_format(kernel->fields, kernel->n_fields, v->kase.value, kase),
	         params_format(kernel->params, kernel->n_params, v->config.value, config));
	return text;
}

/* Whether the progress file has this line. */
static bool passed_before(const char *line)
{
	const char *path = getenv("WARPSMITH_TEST_PROGRESS");
	FILE *file = path ? fopen(path, "r") : NULL;
	char read[1024];
	bool found = false;
	while (file && !found && fgets(read, sizeof read, file)) {
		read[strcspn(read, "\n")] = 0;
		found = !strcmp(read, line);
	}
	if (file)
		fclose(file);
	return found;
}

static void remember(const char *line)
{
	const char *path = getenv("WARPSMITH_TEST_PROGRESS");
	FILE *file = path ? fopen(path, "a") : NULL;
	if (!file)
		return;
	fprintf(file, "%s\n", line);
	fclose(file);
}

/* The chosen instances of one case on one shape; returns how many were checked. */
static int check_case(const struct kernel *kernel, const struct kase *kase,
                      const struct shape *shape, const struct variant *variants, int n,
                      const bool *chosen, int *n_wrong)
{
	struct problem *problem = NULL;
	int n_checked = 0;
	for (int i = 0; i < n; i++) {
		const struct variant *v = &variants[i];
		const char *text = describe(kernel, v, shape);
		if (!chosen[i] || memcmp(&v->kase, kase, sizeof *kase) ||
		    !kernel->valid(shape, kase->value, v->config.value, device_info(device)) ||
		    passed_before(text))
			continue;
		if (!problem && problem_open(device, kernel, kase->value, shape, SEED, 1, &problem))
			fail_msg("%s", fail_message());
		n_checked++;
		if (check_schedules(problem, v) == STATUS_OK) {
			remember(text);
		} else {
			print_error("%s\n\t%s\n", text, fail_message());
			(*n_wrong)++;
		}
	}
	problem_close(&problem);
	return n_checked;
}

static void check_kernel(const struct kernel *kernel)
{
	const struct variant *variants;
	const int n = kernel_variants(kernel, device_info(device), &variants);
	bool *chosen = calloc((size_t)n, sizeof *chosen);
	int n_wrong = 0, n_checked = 0;
	assert_non_null(chosen);
	assert_true(n > 0);
	const int n_chosen = choose(kernel, variants, n, chosen);
	for (int i = 0; i < n; i++) {
		struct shape shapes[MAX_SHAPES];
		/* variants of a case are neighbours */
		if (i > 0 && !memcmp(&variants[i].kase, &variants[i - 1].kase, sizeof(struct kase)))
			continue;
		const int n_shapes = find_shapes(kernel, variants[i].kase.value, shapes);
		for (int s = 0; s < n_shapes; s++)
			n_checked += check_case(kernel, &variants[i].kase, &shapes[s], variants, n,
			                        chosen, &n_wrong);
	}
	print_message("%s: %d of %d instances, %d checks\n", kernel->name, n_chosen, n, n_checked);
	free(chosen);
	assert_int_equal(n_wrong, 0);
}

static void kernels_agree_with_reference(void **state)
{
	check_kernel(*state);
}

/* The first instance of bf16 with an epilogue. */
static const struct variant *gemv_with(const struct kernel *kernel, enum epilogue epilogue)
{
	const struct gemv_case wanted = {DTYPE_BF16, DTYPE_F32, 0, (int)epilogue};
	const struct variant *variants;
	const int n = kernel_variants(kernel, device_info(device), &variants);
	for (int i = 0; i < n; i++)
		if (!memcmp(variants[i].kase.value, &wanted, sizeof wanted))
			return &variants[i];
	fail_msg("no gemv with epilogue %d", (int)epilogue);
	return NULL;
}

/* An instance that leaves the bias out is launched where one with a bias is checked. */
static void a_wrong_result_is_found(void **state)
{
	(void)state;
	const struct kernel *kernel = kernel_find("gemv");
	const struct variant *right = gemv_with(kernel, EPILOGUE_BIAS);
	const struct variant *wrong = gemv_with(kernel, EPILOGUE_NONE);
	struct shape shape;
	struct problem *problem;
	assert_int_equal(kernel->parse_shape("512x64", &shape), STATUS_OK);
	assert_int_equal(problem_open(device, kernel, right->kase.value, &shape, SEED, 1, &problem),
	                 STATUS_OK);
	assert_int_equal(problem_check(problem, right->entry, right->config.value), STATUS_OK);
	assert_int_equal(problem_check(problem, wrong->entry, wrong->config.value),
	                 STATUS_VIOLATION);
	assert_non_null(strstr(fail_message(), "y["));
	problem_close(&problem);
}

/* test_kernels [KERNEL]: one, or all. */
int main(int argc, char **argv)
{
	struct CMUnitTest tests[32];
	size_t n = 0;
	for (const struct kernel *const *k = kernels; *k; k++)
		if (argc < 2 || !strcmp((*k)->name, argv[1]))
			tests[n++] = (struct CMUnitTest){(*k)->name, kernels_agree_with_reference,
			                                 NULL, NULL, (void *)*k};
	if (argc < 2 || !strcmp("gemv", argv[1]))
		tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_wrong_result_is_found);
	if (!n) {
		print_error("no kernel %s\n", argv[1]);
		return 2;
	}
	return _cmocka_run_group_tests("kernels", tests, n, open_device, close_device);
}
