/* Compiling kernels on demand, without a GPU: where there is no NVRTC the tests that need it are
 * skipped. */
#include <elf.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/kernel.h"
#include "core/sources.h"
#include "device/jit.h"
#include "device/jit_cache.h"
#include "tests/toy.h"

#include <cmocka.h>

static char cache[] = "/tmp/warpsmith-jit-XXXXXX"; /* XDG_CACHE_HOME of these tests */

static void need_nvrtc(void)
{
	char version[16];
	if (jit_version(version) == STATUS_OK)
		return;
	print_message("%s\n", fail_message());
	skip();
}

static void sources_are_embedded_whole(void **state)
{
	char path[512], hash[17], again[17], other[17];
	(void)state;
	int n = 0;
	for (const struct source *s = sources; s->path; s++, n++) {
		snprintf(path, sizeof path, "%s/%s", SOURCE_DIR, s->path);
		char *text = toy_read_file(path);
		assert_string_equal(text, s->text);
		assert_int_equal(strlen(text), s->bytes);
		free(text);
	}
	assert_true(n > 5);
	source_hash("gemv", hash);
	source_hash("gemv", again);
	source_hash("gqa_attention", other);
	assert_int_equal(strlen(hash), 16);
	assert_string_equal(hash, again);
	assert_string_not_equal(hash, other);
}

#define N_COPIES 64

/* The embedded sources, of which file i can be changed, and two files that are not embedded. */
static int copy_sources(struct source copy[N_COPIES])
{
	static const struct source more[] = {
	        {"kernels/describe.h", "describe", 8}, {"kernels/subsets.h", "subset", 6}, {0}};
	int n = 0;
	for (const struct source *s = sources; s->path; s++)
		copy[n++] = *s;
	assert_true(n + 3 <= N_COPIES);
	memcpy(copy + n, more, sizeof more);
	return n + 2;
}

/* Whether changing any byte of file i, tried at its start, middle and end, changes a kernel's hash;
 * it must be so for all three or none. */
static bool counts(struct source *copy, int i, const char *kernel)
{
	const struct source whole = copy[i];
	char *text = strdup(whole.text), before[17], after[17];
	const size_t at[] = {0, whole.bytes / 2, whole.bytes - 1};
	int n = 0;
	source_hash_in(copy, kernel, before);
	copy[i].text = text;
	for (int b = 0; b < 3; b++) {
		text[at[b]] ^= 1;
		source_hash_in(copy, kernel, after);
		n += strcmp(before, after) != 0;
		text[at[b]] ^= 1;
	}
	copy[i] = whole;
	free(text);
	assert_true(n == 0 || n == 3);
	return n;
}

static void hash_covers_device_code_alone(void **state)
{
	static const char *const all[] = {"core/dtype.h", "core/param.h", "core/target.h",
	                                  "device/simt.h", NULL};
	static const struct {
		const char *kernel, *own[7];
	} expected[] = {
	        {"gemv",
	         {"kernels/gemv.cu", "kernels/gemv.h", "kernels/vec.h", "kernels/blocks.h",
	          "kernels/argmax_key.h", "kernels/rotate.h"}},
	        {"advance", {"kernels/advance.cu", "kernels/advance.h", "kernels/argmax_key.h"}},
	};
	struct source copy[N_COPIES];
	const int n = copy_sources(copy);
	(void)state;
	for (size_t e = 0; e < sizeof expected / sizeof expected[0]; e++)
		for (int i = 0; i < n; i++) {
			bool covered = false;
			for (const char *const *path = all; *path; path++)
				covered |= !strcmp(copy[i].path, *path);
			for (const char *const *path = expected[e].own; *path; path++)
				covered |= !strcmp(copy[i].path, *path);
			if (counts(copy, i, expected[e].kernel) != covered)
				fail_msg("%s %s in the hash of %s", copy[i].path,
				         covered ? "does not count" : "counts", expected[e].kernel);
		}
}

/* Lists of what to compile ahead of time would make rows stale: they are elsewhere. */
static void sources_hold_no_subsets(void **state)
{
	(void)state;
	for (const struct source *s = sources; s->path; s++)
		if (strcmp(s->path, "core/variants.h") && strstr(s->text, "_SUBSET(X)"))
			fail_msg("%s has a subset: it belongs to kernels/subsets.h", s->path);
}

static void bad_instance_costs_only_itself(void **state)
{
	(void)state;
	need_nvrtc();
	char *text = toy_read_file(TOY_PATH);
	struct jit_module module = {0};
	const struct jit_request request = toy_request(text, 7, 90);
	assert_int_equal(jit_compile(&request, &module), STATUS_OK);
	assert_int_equal(module.n_instances, 7);
	for (int i = 0; i < 7; i++)
		if (i == TOY_BAD) {
			assert_null(module.instances[i].symbol);
			assert_non_null(strstr(module.instances[i].reason, "toy.cu"));
			assert_non_null(strstr(module.instances[i].reason, "three warps"));
		} else {
			assert_non_null(module.instances[i].symbol);
			assert_string_equal(module.instances[i].reason, "");
		}
	jit_close(&module);
	jit_close(&module);
	free(text);
}

static void broken_source_names_its_line(void **state)
{
	(void)state;
	need_nvrtc();
	struct jit_module module = {0};
	struct jit_request request = toy_request("struct toy_case { int factor; };\n"
	                                         "int planted = ;\n",
	                                         4, 90);
	assert_int_equal(jit_compile(&request, &module), STATUS_OK);
	for (int i = 0; i < 4; i++) {
		assert_null(module.instances[i].symbol);
		assert_non_null(strstr(module.instances[i].reason, "toy.cu(2): error"));
	}
	jit_close(&module);
}

static void resources_are_read_without_a_gpu(void **state)
{
	static const int sms[] = {80, 90};
	(void)state;
	need_nvrtc();
	char *text = toy_read_file(TOY_PATH);
	for (int i = 0; i < 2; i++) {
		struct jit_module module = {0};
		const struct jit_request request = toy_request(text, TOY_BAD, sms[i]);
		assert_int_equal(jit_compile(&request, &module), STATUS_OK);
		const struct cubin_resources *small = &module.instances[0].resources;
		const struct cubin_resources *spilling = &module.instances[TOY_SPILLING].resources;
		assert_in_range(small->registers, 8, 64);
		assert_int_equal(small->stack_bytes, 0);
		assert_int_equal(small->static_smem_bytes, 256 * sizeof(float));
		assert_int_equal(small->max_threads, 32);
		assert_in_range(spilling->registers, 8, 64);
		assert_true(spilling->stack_bytes > 100);
		assert_int_equal(spilling->max_threads, 1024);
		jit_close(&module);
	}
	free(text);
}

/* Truncations and changed bytes of a real image: an answer or an error, never a crash. What is
 * needed lies within the first part of it, so that a cut behind that changes nothing. */
static void damaged_cubin_is_an_error(void **state)
{
	struct cubin_resources resources;
	int n_refused = 0;
	(void)state;
	need_nvrtc();
	char *text = toy_read_file(TOY_PATH);
	struct jit_module module = {0};
	const struct jit_request request = toy_request(text, 1, 90);
	assert_int_equal(jit_compile(&request, &module), STATUS_OK);
	const struct jit_part *part = &module.parts[0];
	const char *symbol = module.instances[0].symbol;
	assert_int_equal(cubin_read(part->image, part->bytes, "nothing", &resources),
	                 STATUS_FAILED);
	assert_non_null(strstr(fail_message(), "nothing"));
	for (size_t bytes = 0; bytes < part->bytes; bytes += bytes < 2000 ? 1 : 97) {
		char *cut = malloc(bytes ? bytes : 1);
		memcpy(cut, part->image, bytes);
		if (cubin_read(cut, bytes, symbol, &resources) == STATUS_OK)
			assert_memory_equal(&resources, &module.instances[0].resources,
			                    sizeof resources);
		else
			n_refused++;
		free(cut);
	}
	assert_true(n_refused >= 2000);
	unsigned char *image = part->image;
	for (size_t i = 0; i < part->bytes; i++) {
		const unsigned char kept = image[i];
		image[i] = i % 3 ? 0xff : kept ^ 0x80;
		(void)!cubin_read(image, part->bytes, symbol, &resources);
		image[i] = kept;
	}
	jit_close(&module);
	free(text);
}

static void unknown_gpu_gets_ptx(void **state)
{
	(void)state;
	need_nvrtc();
	char *text = toy_read_file(TOY_PATH);
	struct jit_module module = {0};
	struct jit_request request = toy_request(text, 2, 990);
	assert_int_equal(jit_compile(&request, &module), STATUS_OK);
	const char *ptx = module.parts[0].image;
	assert_int_equal(ptx[module.parts[0].bytes - 1], '\0');
	assert_non_null(strstr(ptx, ".target sm_"));
	assert_non_null(strstr(ptx, module.instances[1].symbol));
	assert_int_equal(module.instances[1].resources.registers, 0);
	jit_close(&module);
	request.sm = 10;
	assert_int_equal(jit_compile(&request, &module), STATUS_UNSUPPORTED);
	assert_non_null(strstr(fail_message(), "sm_10"));
	free(text);
}

static void unknown_kernel_is_an_error(void **state)
{
	(void)state;
	need_nvrtc();
	struct jit_module module = {0};
	struct jit_request request = toy_request(NULL, 1, 90);
	assert_int_equal(jit_compile(&request, &module), STATUS_USAGE);
	assert_non_null(strstr(fail_message(), "kernels/toy.cu"));
}

/* What the cache holds for KEY: two symbols and an image. */
static bool read_entry(const char *key, bool check)
{
	struct jit_instance instances[3] = {0};
	struct jit_part part = {.first = 1, .n = 2};
	const bool found = jit_cache_read(key, &part, instances);
	if (found && check) {
		assert_null(instances[0].symbol);
		assert_string_equal(instances[1].symbol, "one");
		assert_string_equal(instances[2].symbol, "");
		assert_int_equal(part.bytes, 5);
		assert_memory_equal(part.image, "imag\0", 5);
	}
	for (int i = 0; i < 3; i++)
		free(instances[i].symbol);
	free(part.image);
	return found;
}

static void cache_uses_only_what_is_whole(void **state)
{
	char path[512], key[] = "a key", image[] = "imag", one[] = "one", none[] = "";
	struct jit_instance instances[3] = {{0}, {.symbol = one}, {.symbol = none}};
	const struct jit_part part = {.image = image, .bytes = sizeof image, .first = 1, .n = 2};
	(void)state;
	assert_false(read_entry(key, true));
	jit_cache_write(key, &part, instances);
	assert_true(read_entry(key, true));
	assert_false(read_entry("another", true));
	snprintf(path, sizeof path, "%s/warpsmith/%016llx.cubin", cache,
	         (unsigned long long)fnv1a(FNV1A_START, key, strlen(key)));
	FILE *file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	const long bytes = ftell(file);
	for (long i = 0; i < bytes; i++) {
		fseek(file, i, SEEK_SET);
		const int kept = fgetc(file);
		fseek(file, i, SEEK_SET);
		fputc(kept ^ 1, file);
		fflush(file);
		assert_false(read_entry(key, false));
		fseek(file, i, SEEK_SET);
		fputc(kept, file);
		fflush(file);
	}
	fclose(file);
	assert_true(read_entry(key, true));
	for (long n = bytes - 1; n >= 0; n--) {
		assert_int_equal(truncate(path, n), 0);
		assert_false(read_entry(key, false));
	}
}

static int empty_cache(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s/warpsmith'", cache);
	return system(command);
}

/* Serial number of the only file in the cache. A file that is written again gets another. */
static ino_t only_file(char path[512])
{
	char pattern[64];
	glob_t found;
	struct stat stat_of;
	snprintf(pattern, sizeof pattern, "%s/warpsmith/*", cache);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 1);
	snprintf(path, 512, "%s", found.gl_pathv[0]);
	assert_int_equal(stat(path, &stat_of), 0);
	globfree(&found);
	return stat_of.st_ino;
}

static void assert_same_modules(const struct jit_module *a, const struct jit_module *b)
{
	assert_int_equal(a->n_parts, b->n_parts);
	assert_int_equal(a->parts[0].bytes, b->parts[0].bytes);
	for (int i = 0; i < a->n_instances; i++) {
		assert_string_equal(a->instances[i].symbol, b->instances[i].symbol);
		assert_memory_equal(&a->instances[i].resources, &b->instances[i].resources,
		                    sizeof(struct cubin_resources));
	}
}

static void cache_is_used_until_damaged(void **state)
{
	char path[512];
	(void)state;
	need_nvrtc();
	char *text = toy_read_file(TOY_PATH);
	struct jit_module first = {0}, second = {0}, third = {0};
	const struct jit_request request = toy_request(text, 2, 86);
	assert_int_equal(jit_compile(&request, &first), STATUS_OK);
	const ino_t written = only_file(path);
	/* Held open, so that its number is not given to another. */
	FILE *held = fopen(path, "rb");
	assert_int_equal(jit_compile(&request, &second), STATUS_OK);
	assert_int_equal(only_file(path), written);
	assert_same_modules(&first, &second);
	assert_int_equal(truncate(path, 1000), 0);
	assert_int_equal(jit_compile(&request, &third), STATUS_OK);
	assert_int_not_equal(only_file(path), written);
	assert_same_modules(&first, &third);
	fclose(held);
	jit_close(&first);
	jit_close(&second);
	jit_close(&third);
	free(text);
}

static int use_own_cache(void **state)
{
	(void)state;
	return mkdtemp(cache) && setenv("XDG_CACHE_HOME", cache, 1) == 0 ? 0 : -1;
}

static int remove_cache(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf '%s'", cache);
	return system(command);
}

/* Of one instance, for a Hopper. */
static struct jit_request request_of(const struct kernel *k, const struct kase *kase,
                                     const struct config *config)
{
	return (struct jit_request){.kernel = k->name,
	                            .n = 1,
	                            .kases = kase,
	                            .configs = config,
	                            .n_fields = k->n_fields,
	                            .n_params = k->n_params,
	                            .sm = 90};
}

/* Of each kernel, as it is compiled plainly and with stamps: the same launch bounds, and 8 bytes to
 * remember when the wait was over. What a step is made of has hardly another register; loops of the
 * smaller kernels may be unrolled otherwise. */
static void stamped_instances_are_like_the_plain_ones(void **state)
{
	enum { MORE_REGISTERS = 12 };
	(void)state;
	need_nvrtc();
	for (const struct kernel *const *at = kernels; *at; at++) {
		const struct kernel *k = *at;
		struct kase kase = {0};
		const struct config config = config_default(k);
		struct jit_module plain = {0}, stamped = {0};
		for (int f = 0; f < k->n_fields; f++)
			kase.value[f] = k->fields[f].values[0];
		const struct jit_request request = request_of(k, &kase, &config);
		assert_int_equal(jit_compile(&request, &plain), STATUS_OK);
		const struct cubin_resources *a = &plain.instances[0].resources;
		assert_int_equal(jit_stamped(&request, (unsigned)a->max_threads, 1, &stamped),
		                 STATUS_OK);
		const struct cubin_resources *b = &stamped.instances[0].resources;
		print_message("%s: %d registers, with stamps %d\n", k->name, a->registers,
		              b->registers);
		if (!stamped.instances[0].symbol)
			fail_msg("%s: %s", k->name, stamped.instances[0].reason);
		assert_int_equal(b->max_threads, a->max_threads);
		assert_int_equal(b->stack_bytes, a->stack_bytes);
		if (k->n_step_params)
			assert_in_range(b->registers, 1, a->registers + MORE_REGISTERS);
		assert_in_range(b->static_smem_bytes, a->static_smem_bytes,
		                a->static_smem_bytes + 16);
		jit_close(&plain);
		jit_close(&stamped);
	}
}

/* Blocks that find registers on a Hopper multiprocessor, which gives them out by eight. */
static int blocks_that_fit(const struct cubin_resources *r)
{
	return 65536 / ((r->registers + 7) / 8 * 8 * r->max_threads);
}

/* Here three blocks share a multiprocessor, and two would if the stamps had their way. */
static void stamps_need_no_more_room(void **state)
{
	(void)state;
	need_nvrtc();
	const struct kernel *k = kernel_find("gemv");
	struct kase kase;
	struct config config = config_default(k);
	struct jit_module plain = {0}, stamped = {0};
	assert_int_equal(params_parse(k->fields, k->n_fields, "w=bf16 x=f32 norm=1 epilogue=swiglu",
	                              kase.value),
	                 STATUS_OK);
	assert_int_equal(params_parse(k->params, k->n_params,
	                              "rows=4 lanes=32 slices=4 tiles=3 unroll=1 held=1 blocks=3",
	                              config.value),
	                 STATUS_OK);
	const struct jit_request request = request_of(k, &kase, &config);
	assert_int_equal(jit_compile(&request, &plain), STATUS_OK);
	const struct cubin_resources *a = &plain.instances[0].resources;
	const int room = blocks_that_fit(a);
	assert_int_equal(jit_stamped(&request, (unsigned)a->max_threads, room, &stamped),
	                 STATUS_OK);
	assert_in_range(blocks_that_fit(&stamped.instances[0].resources), room, 32);
	jit_close(&plain);
	jit_close(&stamped);
}

/* The machine code of an instance. */
static const unsigned char *code_in(const struct jit_module *module, int i, size_t *bytes)
{
	const unsigned char *image = module->parts[0].image;
	Elf64_Ehdr header;
	Elf64_Shdr names, section;
	char wanted[512];
	snprintf(wanted, sizeof wanted, ".text.%s", module->instances[i].symbol);
	memcpy(&header, image, sizeof header);
	memcpy(&names, image + header.e_shoff + header.e_shstrndx * sizeof names, sizeof names);
	for (unsigned s = 0; s < header.e_shnum; s++) {
		memcpy(&section, image + header.e_shoff + s * sizeof section, sizeof section);
		if (!strcmp((const char *)image + names.sh_offset + section.sh_name, wanted)) {
			*bytes = section.sh_size;
			return image + section.sh_offset;
		}
	}
	fail_msg("no section %s", wanted);
	return NULL;
}

/* Compiles a configuration beside the one that stands for its code. */
static void check_code(const struct kernel *kernel, const struct kase *kase,
                       const struct config *config)
{
	struct config configs[2] = {*config, *config};
	const struct kase kases[2] = {*kase, *kase};
	struct jit_module module = {0};
	size_t bytes[2];
	char text[CONFIG_TEXT];
	kernel->code_of(configs[1].value);
	if (!memcmp(&configs[0], &configs[1], sizeof configs[0]))
		return;
	const struct jit_request request = {.kernel = kernel->name,
	                                    .n = 2,
	                                    .kases = kases,
	                                    .configs = configs,
	                                    .n_fields = kernel->n_fields,
	                                    .n_params = kernel->n_params,
	                                    .sm = 90,
	                                    .no_cache = true};
	assert_int_equal(jit_compile(&request, &module), STATUS_OK);
	assert_int_equal(module.n_parts, 1);
	const unsigned char *one = code_in(&module, 0, &bytes[0]),
	                    *other = code_in(&module, 1, &bytes[1]);
	if (bytes[0] != bytes[1] || memcmp(one, other, bytes[0]))
		fail_msg("%s: other code for %s", kernel->name,
		         params_format(kernel->params, kernel->n_params, config->value, text));
	jit_close(&module);
}

/* The least and the greatest value of each tunable, and one between: a configuration that is run by
 * the instance of another has that instance's code. */
static void what_shares_an_instance_has_one_code(void **state)
{
	static const struct {
		const char *kernel, *kase;
	} cases[] = {{"gemv", "w=bf16 x=f32 norm=0 epilogue=none"},
	             {"gqa_attention", "head_dim=64 group=7 kv=bf16"}};
	(void)state;
	need_nvrtc();
	for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
		const struct kernel *kernel = kernel_find(cases[c].kernel);
		struct kase kase = {0};
		assert_int_equal(
		        params_parse(kernel->fields, kernel->n_fields, cases[c].kase, kase.value),
		        STATUS_OK);
		struct config plain = config_default(kernel);
		kernel->code_of(plain.value);
		for (int p = 0; p < kernel->n_params; p++) {
			const struct param *param = &kernel->params[p];
			const int at[] = {0, param->n_values / 2, param->n_values - 1};
			for (int i = 0; i < 3; i++) {
				struct config config = plain;
				config.value[p] = param->values[at[i]];
				check_code(kernel, &kase, &config);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(sources_are_embedded_whole),
	        cmocka_unit_test(hash_covers_device_code_alone),
	        cmocka_unit_test(sources_hold_no_subsets),
	        cmocka_unit_test(what_shares_an_instance_has_one_code),
	        cmocka_unit_test(cache_uses_only_what_is_whole),
	        cmocka_unit_test(bad_instance_costs_only_itself),
	        cmocka_unit_test(broken_source_names_its_line),
	        cmocka_unit_test(resources_are_read_without_a_gpu),
	        cmocka_unit_test(damaged_cubin_is_an_error),
	        cmocka_unit_test(unknown_gpu_gets_ptx),
	        cmocka_unit_test(unknown_kernel_is_an_error),
	        cmocka_unit_test_setup(cache_is_used_until_damaged, empty_cache),
	        cmocka_unit_test(stamped_instances_are_like_the_plain_ones),
	        cmocka_unit_test(stamps_need_no_more_room),
	};
	return cmocka_run_group_tests(tests, use_own_cache, remove_cache);
}
