/* On a GPU: every pair of values of every kernel's fields and tunables, compiled on demand, and
 * every instance of this program agree with the reference. Skipped where there is no GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/problem.h"
#include "core/dtype.h"
#include "device/jit.h"
#include "kernels/gemv.h"
#include "kernels/gqa_attention.h"
#include "tests/cover.h"

#include <cmocka.h>

enum { MAX_SHAPES = 6 };

static struct device *gpu;

/* Of all instances this process takes number `slice` of every n_slices: a compiler per process. */
static int slice = 0, n_slices = 1;

/* Shapes that a kernel is tried with; attention's follow from the case. */
static const struct {
	const char *kernel, *shapes[MAX_SHAPES];
} shape_table[] = {
        {"gemv", {"2x32", "34x96", "1152x896", "896x4864", "1030x3584"}},
        {"rms_norm", {"8", "896", "1000", "3584"}},
        {"rope", {"896", "3584", "64"}},
        {"embed", {"32", "896", "3584"}},
        {"argmax", {"1", "5", "4097", "151936"}},
        {"sample", {"1", "5", "4097", "151936"}},
        {"advance", {"7", "16"}},
        {"stream", {"1", "37", "4096"}},
        {"mark", {"1", "99"}},
        {"unpack", {"1x32", "130x896", "64x3584"}},
        {"norm_rows", {"1x8", "3x200", "512x896", "33x3584"}},
        {"gemm", {"1x8@1", "38x200@9", "1152x896@33", "896x4864@7"}},
        {"kv_append", {"1/2/64", "5/3/32", "1000/4/128"}},
        {"rope_rows", {"3/1/40@5", "14/2/64@300", "28/4/128@33"}},
        {"swiglu_rows", {"1x8", "5x200", "33x4864"}},
};

static const int lengths[] = {1, 5, 63, 1000, 4097};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

/* Shape i for a kernel and case; false when there are no more. */
static bool shape_at(const struct kernel *kernel, const int *kase, int i, struct shape *shape)
{
	if (!strcmp(kernel->name, "gqa_attention")) {
		const struct gqa_attention_case *k = (const void *)kase;
		*shape = k->head_dim ? (struct shape){2 * k->group, 2, 0, k->head_dim}
		                     : (struct shape){15, 3, 0, 8 * (3 + 4 * i)};
		if (i < N_LENGTHS)
			shape->len = lengths[i];
		return i < N_LENGTHS;
	}
	if (!strcmp(kernel->name, "causal_attention")) {
		static const int dims[] = {8, 40, 96, 160}, groups[] = {1, 7, 3, 5},
		                 tokens[] = {1, 64, 300, 37};
		if (i < 4)
			*shape = (struct shape){2 * groups[i], 2, tokens[i],
			                        kase[0] ? kase[0] : dims[i]};
		return i < 4;
	}
	for (size_t t = 0; t < sizeof shape_table / sizeof shape_table[0]; t++)
		if (!strcmp(shape_table[t].kernel, kernel->name) && i < MAX_SHAPES &&
		    shape_table[t].shapes[i])
			return kernel->parse_shape(shape_table[t].shapes[i], shape) == STATUS_OK;
	return false;
}

static int report(const struct kernel *kernel, const struct kase *kase, const struct config *config)
{
	char kase_text[CONFIG_TEXT], config_text[CONFIG_TEXT];
	params_format(kernel->fields, kernel->n_fields, kase->value, kase_text);
	params_format(kernel->params, kernel->n_params, config->value, config_text);
	print_error("%s %s: %s: %s\n", kernel->name, kase_text, config_text, fail_message());
	return 1;
}

/* Checks those of n instances that have this case, on all shapes. Returns how many checks failed;
 * counts them in *done. */
static int check_case(const struct kernel *kernel, const struct kase *kase, int n,
                      const struct kase *kases, const struct config *configs,
                      const struct jit_instance *instances, int *done)
{
	struct shape shape;
	int n_bad = 0;
	for (int i = 0; shape_at(kernel, kase->value, i, &shape); i++) {
		struct problem *problem = NULL;
		int c = 0;
		while (c < n &&
		       (memcmp(&kases[c], kase, sizeof *kase) ||
		        !kernel->valid(&shape, kase->value, configs[c].value, device_info(gpu))))
			c++;
		if (c == n)
			continue;
		if (problem_open(gpu, kernel, kase->value, &shape, 1, 1, &problem) != STATUS_OK)
			return n_bad + report(kernel, kase, &configs[0]);
		for (; c < n; c++) {
			if (memcmp(&kases[c], kase, sizeof *kase) || !instances[c].entry ||
			    !kernel->valid(&shape, kase->value, configs[c].value, device_info(gpu)))
				continue;
			++*done;
			if (problem_check(problem, instances[c].entry, configs[c].value) !=
			    STATUS_OK)
				n_bad += report(kernel, kase, &configs[c]);
		}
		problem_close(&problem);
	}
	return n_bad;
}

static int check_cover(const struct kernel *kernel)
{
	struct cover cover = cover_pairs(kernel, device_info(gpu)->target);
	struct jit_module module = {0};
	int n_bad = 0, done = 0, n = 0;
	for (int i = slice; i < cover.n; i += n_slices, n++) {
		cover.kases[n] = cover.kases[i];
		cover.configs[n] = cover.configs[i];
	}
	const struct jit_request request = {
	        .kernel = kernel->name,
	        .n = n,
	        .kases = cover.kases,
	        .configs = cover.configs,
	        .n_fields = kernel->n_fields,
	        .n_params = kernel->n_params,
	        .sm = device_info(gpu)->target.sm,
	};
	if (n &&
	    (jit_compile(&request, &module) != STATUS_OK || jit_load(gpu, &module) != STATUS_OK)) {
		print_error("%s: %s\n", kernel->name, fail_message());
		n_bad = 1;
	}
	for (int i = 0; i < n && !n_bad; i++) {
		bool first = true;
		for (int j = 0; j < i; j++)
			first &= memcmp(&cover.kases[i], &cover.kases[j], sizeof cover.kases[i]) !=
			         0;
		if (first)
			n_bad += check_case(kernel, &cover.kases[i], n, cover.kases, cover.configs,
			                    module.instances, &done);
	}
	print_message("%s: %d instances, %d checks, %d wrong\n", kernel->name, n, done, n_bad);
	jit_close(&module);
	cover_close(&cover);
	return n_bad;
}

static void every_pair_of_values_is_right(void **state)
{
	int n_bad = 0;
	(void)state;
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++)
		n_bad += check_cover(*kernel);
	assert_int_equal(n_bad, 0);
}

static void every_instance_of_the_program_is_right(void **state)
{
	int n_bad = 0;
	(void)state;
	for (const struct kernel *const *kernel = kernels; *kernel; kernel++) {
		const struct variant *variants;
		int n = kernel_variants(*kernel, device_info(gpu), &variants), done = 0;
		for (int i = slice; i < n; i += n_slices) {
			const struct jit_instance instance = {.entry = variants[i].entry};
			if (!instance.entry &&
			    (*kernel)->legal(variants[i].kase.value, variants[i].config.value,
			                     device_info(gpu)->target))
				fail_msg("%s: instance %d has no code", (*kernel)->name, i);
			n_bad += check_case(*kernel, &variants[i].kase, 1, &variants[i].kase,
			                    &variants[i].config, &instance, &done);
		}
		print_message("%s: %d instances of the program, %d checks\n", (*kernel)->name, n,
		              done);
	}
	assert_int_equal(n_bad, 0);
}

/* test_cuda_kernels [--compiled] [SLICE/SLICES] */
int main(int argc, char **argv)
{
	const struct CMUnitTest both[] = {cmocka_unit_test(every_instance_of_the_program_is_right),
	                                  cmocka_unit_test(every_pair_of_values_is_right)};
	const struct CMUnitTest compiled[] = {
	        cmocka_unit_test(every_instance_of_the_program_is_right)};
	if (device_open("cuda", true, &gpu) != STATUS_OK) {
		print_message("skipped: %s\n", fail_message());
		return 77;
	}
	const bool is_compiled = argc > 1 && !strcmp(argv[1], "--compiled");
	const char *which = argv[argc - 1];
	if (argc > 1 + is_compiled &&
	    (sscanf(which, "%d/%d", &slice, &n_slices) != 2 || slice < 0 || slice >= n_slices)) {
		print_error("'%s': expected a slice such as 0/8\n", which);
		return 2;
	}
	/* compute-sanitizer runs it with --compiled: a cover is too much for it */
	return is_compiled ? cmocka_run_group_tests(compiled, NULL, NULL)
	                   : cmocka_run_group_tests(both, NULL, NULL);
}
