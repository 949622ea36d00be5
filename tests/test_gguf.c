/* Reading GGUF files: values, types and ranges, and messages for what is wrong. Damage as such:
 * test_damage.c. */
#include "model/gguf.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/gguf_make.h"

#include <cmocka.h>

static char path[] = "/tmp/warpsmith-gguf-XXXXXX";
static struct gguf_make m;
static struct gguf g;

static int begin(void **state)
{
	(void)state;
	make_open(&m);
	return 0;
}

static int end(void **state)
{
	(void)state;
	make_close(&m);
	gguf_close(&g);
	return 0;
}

static enum status open_made(void)
{
	struct blob file;
	make_write(&m, &file);
	blob_save(&file, path);
	blob_free(&file);
	gguf_close(&g);
	return gguf_open(path, &g);
}

static void must_open(void)
{
	if (open_made() != STATUS_OK)
		fail_msg("%s", fail_message());
}

/* The call failed, and its message names the file and contains `says`. */
static void refused(enum status status, const char *says)
{
	assert_int_not_equal(status, STATUS_OK);
	if (!strstr(fail_message(), path) || !strstr(fail_message(), says))
		fail_msg("'%s' does not name the file or say '%s'", fail_message(), says);
}

static void empty_file_opens(void **state)
{
	(void)state;
	must_open();
	assert_int_equal(g.version, 3);
	assert_int_equal(g.n_pairs, 0);
	assert_int_equal(g.n_tensors, 0);
	m.version = 2;
	must_open();
	assert_int_equal(g.version, 2);
	gguf_close(&g);
	gguf_close(&g); /* twice is fine */
}

static void every_integer_type(void **state)
{
	(void)state;
	const int64_t value = 77, negative = -3;
	const uint32_t widths[] = {1, 1, 2, 2, 4, 4}, type64[] = {GGUF_U64, GGUF_I64};
	for (uint32_t type = GGUF_U8; type <= GGUF_I32; type++) {
		make_raw(&m, "plus", type, &value, widths[type]);
		make_raw(&m, "minus", type, &negative, widths[type]);
		must_open();
		uint32_t found = 0;
		assert_int_equal(gguf_u32(&g, GGUF_REQUIRED, "plus", 0, 100, &found), STATUS_OK);
		assert_int_equal(found, 77);
		refused(gguf_u32(&g, GGUF_REQUIRED, "minus", 0, 100, &found),
		        type % 2 ? "key 'minus' is -3, expected 0 to 100" : "key 'minus' is ");
	}
	for (int i = 0; i < 2; i++) {
		make_raw(&m, "minus", type64[i], &negative, 8);
		must_open();
		uint64_t found = 0;
		enum status status = gguf_u64(&g, GGUF_REQUIRED, "minus", 0, UINT64_MAX, &found);
		if (type64[i] == GGUF_U64)
			assert_true(status == STATUS_OK && found == (uint64_t)-3);
		else
			refused(status, "-3");
	}
}

static void integers_outside_the_range(void **state)
{
	(void)state;
	uint32_t found = 5;
	make_u64(&m, "n", (uint64_t)1 << 32);
	make_u32(&m, "ten", 10);
	must_open();
	refused(gguf_u32(&g, GGUF_REQUIRED, "n", 0, UINT32_MAX, &found), "4294967296");
	refused(gguf_u32(&g, GGUF_REQUIRED, "ten", 11, 20, &found), "expected 11 to 20");
	refused(gguf_u32(&g, GGUF_REQUIRED, "ten", 0, 9, &found), "key 'ten' is 10");
	assert_int_equal(found, 5);
	assert_int_equal(gguf_u32(&g, GGUF_REQUIRED, "ten", 10, 10, &found), STATUS_OK);
	assert_int_equal(found, 10);
}

static void floats(void **state)
{
	(void)state;
	const double third = 1.0 / 3, large = 1e300;
	float found = 0;
	make_f32(&m, "f32", 0.5f);
	make_raw(&m, "f64", GGUF_F64, &third, 8);
	make_raw(&m, "large", GGUF_F64, &large, 8);
	make_f32(&m, "nan", NAN);
	make_u32(&m, "u32", 1);
	must_open();
	assert_int_equal(gguf_f32(&g, GGUF_REQUIRED, "f32", 0, 1, &found), STATUS_OK);
	assert_true(found == 0.5f);
	assert_int_equal(gguf_f32(&g, GGUF_REQUIRED, "f64", 0, 1, &found), STATUS_OK);
	assert_true(found == (float)third);
	refused(gguf_f32(&g, GGUF_REQUIRED, "large", 0, FLT_MAX, &found), "key 'large' is inf");
	refused(gguf_f32(&g, GGUF_REQUIRED, "nan", -FLT_MAX, FLT_MAX, &found), "key 'nan' is");
	refused(gguf_f32(&g, GGUF_REQUIRED, "u32", 0, 1, &found), "has type u32");
}

static void bools_and_strings(void **state)
{
	(void)state;
	bool yes = false;
	struct gguf_string text = {0};
	make_bool(&m, "yes", true);
	make_raw(&m, "two", GGUF_BOOL, "\2", 1);
	make_string(&m, "text", "caf\u00e9");
	make_string(&m, "empty", "");
	must_open();
	assert_int_equal(gguf_bool(&g, GGUF_REQUIRED, "yes", &yes), STATUS_OK);
	assert_true(yes);
	refused(gguf_bool(&g, GGUF_REQUIRED, "two", &yes), "key 'two' is 2");
	refused(gguf_bool(&g, GGUF_REQUIRED, "text", &yes), "has type string, expected bool");
	assert_int_equal(gguf_string(&g, GGUF_REQUIRED, "text", &text), STATUS_OK);
	assert_int_equal(text.len, 5);
	assert_memory_equal(text.data, "caf\u00e9", 5);
	assert_int_equal(gguf_string(&g, GGUF_REQUIRED, "empty", &text), STATUS_OK);
	assert_int_equal(text.len, 0);
	refused(gguf_string(&g, GGUF_REQUIRED, "yes", &text), "has type bool, expected string");
}

static void missing_keys(void **state)
{
	(void)state;
	uint32_t number = 42;
	float real = 1.5f;
	bool yes = true;
	struct gguf_string text = {"kept", 4};
	int32_t *list = NULL;
	size_t n = 9;
	make_u32(&m, "b", 1);
	must_open();
	refused(gguf_u32(&g, GGUF_REQUIRED, "a", 0, 9, &number), "key 'a' is missing");
	refused(gguf_f32(&g, GGUF_REQUIRED, "c", 0, 9, &real), "key 'c' is missing");
	refused(gguf_i32s(&g, GGUF_REQUIRED, "list", &list, &n), "key 'list' is missing");
	assert_int_equal(gguf_u32(&g, GGUF_OPTIONAL, "a", 0, 9, &number), STATUS_OK);
	assert_int_equal(gguf_f32(&g, GGUF_OPTIONAL, "a", 0, 9, &real), STATUS_OK);
	assert_int_equal(gguf_bool(&g, GGUF_OPTIONAL, "a", &yes), STATUS_OK);
	assert_int_equal(gguf_string(&g, GGUF_OPTIONAL, "a", &text), STATUS_OK);
	assert_int_equal(gguf_i32s(&g, GGUF_OPTIONAL, "a", &list, &n), STATUS_OK);
	assert_true(number == 42 && real == 1.5f && yes && text.len == 4 && !list && n == 9);
	assert_null(gguf_find(&g, "a"));
	assert_non_null(gguf_find(&g, "b"));
}

static void arrays(void **state)
{
	(void)state;
	const char *words[] = {"one", "", "three"};
	const int16_t small[] = {1, -2, 300};
	const uint64_t large[] = {1, (uint64_t)1 << 31};
	const float reals[] = {0.25f, -8};
	struct gguf_string *strings = NULL;
	int32_t *integers = NULL;
	float *numbers = NULL;
	size_t n = 0;
	make_strings(&m, "words", words, 3);
	make_array(&m, "small", GGUF_I16, small, 3, 2);
	make_array(&m, "large", GGUF_U64, large, 2, 8);
	make_array(&m, "reals", GGUF_F32, reals, 2, 4);
	make_array(&m, "none", GGUF_I32, NULL, 0, 4);
	make_u32(&m, "scalar", 1);
	must_open();
	assert_int_equal(gguf_strings(&g, GGUF_REQUIRED, "words", &strings, &n), STATUS_OK);
	assert_int_equal(n, 3);
	assert_true(strings[0].len == 3 && strings[1].len == 0 && strings[2].len == 5);
	assert_memory_equal(strings[2].data, "three", 5);
	free(strings);
	assert_int_equal(gguf_i32s(&g, GGUF_REQUIRED, "small", &integers, &n), STATUS_OK);
	assert_true(n == 3 && integers[0] == 1 && integers[1] == -2 && integers[2] == 300);
	free(integers);
	assert_int_equal(gguf_f32s(&g, GGUF_REQUIRED, "reals", &numbers, &n), STATUS_OK);
	assert_true(n == 2 && numbers[0] == 0.25f && numbers[1] == -8);
	free(numbers);
	assert_int_equal(gguf_i32s(&g, GGUF_REQUIRED, "none", &integers, &n), STATUS_OK);
	assert_int_equal(n, 0);
	free(integers);
	refused(gguf_i32s(&g, GGUF_REQUIRED, "large", &integers, &n), "element 1 of key 'large'");
	refused(gguf_i32s(&g, GGUF_REQUIRED, "words", &integers, &n), "array of integers");
	refused(gguf_f32s(&g, GGUF_REQUIRED, "small", &numbers, &n), "array of f32");
	refused(gguf_strings(&g, GGUF_REQUIRED, "reals", &strings, &n), "array of strings");
	refused(gguf_strings(&g, GGUF_REQUIRED, "scalar", &strings, &n), "not an array");
	uint32_t number;
	refused(gguf_u32(&g, GGUF_REQUIRED, "small", 0, 9, &number), "is an array");
}

static void tensors_of_every_type(void **state)
{
	(void)state;
	const int dtypes[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q4_0,
	                      DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q8_0,
	                      DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
	const int n = sizeof dtypes / sizeof *dtypes;
	const struct gguf_tensor *t;
	for (int i = 0; i < n; i++)
		make_tensor(&m, dtype_name(dtypes[i]), dtypes[i], 256, (uint64_t)(i + 1), 0, 1);
	must_open();
	for (int i = 0; i < n; i++) {
		const struct made_tensor *made = &m.tensors[i];
		enum status status = gguf_matrix(&g, GGUF_REQUIRED, dtype_name(dtypes[i]), 256,
		                                 (uint64_t)(i + 1), &t);
		assert_int_equal(status, STATUS_OK);
		assert_int_equal(t->type, dtypes[i]);
		assert_int_equal(t->count, 256 * (i + 1));
		assert_int_equal(t->bytes, made->data.n);
		assert_int_equal((uintptr_t)t->data % 32, 0);
		assert_memory_equal(t->data, made->data.data, t->bytes);
		assert_ptr_equal(t, gguf_find_tensor(&g, dtype_name(dtypes[i])));
	}
}

static void tensors_of_another_shape(void **state)
{
	(void)state;
	const struct gguf_tensor *t;
	make_tensor(&m, "w", DTYPE_F32, 8, 4, 0, 1);
	make_tensor(&m, "cube", DTYPE_F32, 8, 4, 0, 1);
	m.tensors[1].n_dims = 3;
	m.tensors[1].dims[1] = m.tensors[1].dims[2] = 2;
	make_tensor(&m, "v", DTYPE_F32, 8, 0, 0, 1);
	must_open();
	refused(gguf_matrix(&g, GGUF_REQUIRED, "w", 4, 8, &t),
	        "tensor 'w' is [8 x 4], expected [4 x 8]");
	refused(gguf_matrix(&g, GGUF_REQUIRED, "cube", 8, 2, &t), "tensor 'cube' is [8 x 2 x 2]");
	refused(gguf_matrix(&g, GGUF_REQUIRED, "x", 4, 8, &t), "tensor 'x' is missing");
	assert_int_equal(gguf_matrix(&g, GGUF_OPTIONAL, "x", 4, 8, &t), STATUS_OK);
	assert_null(t);
	assert_int_equal(gguf_matrix(&g, GGUF_REQUIRED, "v", 8, 1, &t), STATUS_OK);
}

/* A file may hold tensors that we cannot read, as long as nobody asks for them. */
static void foreign_types(void **state)
{
	(void)state;
	const struct gguf_tensor *t;
	struct made_tensor *q3 = make_tensor(&m, "q3", DTYPE_F32, 256, 0, 0, 1);
	q3->type = 11;
	q3->data.n = 110;
	make_tensor(&m, "new", DTYPE_F32, 32, 0, 0, 1)->type = 1234;
	make_tensor(&m, "ids", DTYPE_I32, 4, 0, 0, 0);
	must_open();
	assert_int_equal(gguf_find_tensor(&g, "q3")->bytes, 110);
	refused(gguf_matrix(&g, GGUF_REQUIRED, "q3", 256, 1, &t), "unsupported type q3_k");
	refused(gguf_matrix(&g, GGUF_REQUIRED, "new", 32, 1, &t), "unsupported type ? (1234)");
	refused(gguf_matrix(&g, GGUF_REQUIRED, "ids", 4, 1, &t), "unsupported type i32");
	assert_string_equal(gguf_tensor_type_name(DTYPE_BF16), "bf16");
	assert_string_equal(gguf_type_name(GGUF_F64), "f64");
	assert_string_equal(gguf_type_name(GGUF_TYPES), "?");
}

static void other_alignments(void **state)
{
	(void)state;
	for (uint32_t alignment = 8; alignment <= 4096; alignment *= 4) {
		make_close(&m);
		make_u32(&m, "general.alignment", m.alignment = alignment);
		make_tensor(&m, "a", DTYPE_F32, 3, 0, 0, 1);
		make_tensor(&m, "b", DTYPE_F32, 5, 0, 0, 1);
		must_open();
		const struct gguf_tensor *b = gguf_find_tensor(&g, "b");
		assert_memory_equal(b->data, m.tensors[1].data.data, 20);
	}
}

/* Wrong without the data running out, so that no other check stands in. */
static void wrong_layouts(void **state)
{
	(void)state;
	struct made_tensor *a = make_tensor(&m, "a", DTYPE_F32, 64, 64, 0, 1);
	a->dims[0] = a->dims[1] = (uint64_t)1 << 32; /* 2^64 elements */
	refused(open_made(), "tensor 'a' has too many elements");
	a->dims[0] = a->dims[1] = 48;
	a->type = DTYPE_Q8_0;
	refused(open_made(), "tensor 'a' of type q8_0 has rows of 48, not a multiple of 32");
	a->dims[0] = 96;
	a->type = DTYPE_Q6_K;
	refused(open_made(), "tensor 'a' of type q6_k has rows of 96, not a multiple of 256");
	a->dims[0] = a->dims[1] = 8;
	make_u32(&m, "general.alignment", 48);
	a->type = DTYPE_F32;
	refused(open_made(), "key 'general.alignment' is 48, not a power of two");
	make_u32(&m, "general.alignment", 64);
	m.alignment = 32;
	make_tensor(&m, "b", DTYPE_F32, 8, 0, 0, 1);
	a->data.n = 256 + 32;
	refused(open_made(), "tensor 'b' starts at offset 288, not a multiple of 64");
}

static void every_truncation(void **state)
{
	(void)state;
	struct blob file;
	make_u32(&m, "k", 1);
	make_tensor(&m, "a", DTYPE_F32, 8, 0, 0, 1); /* 32 bytes: the file ends with them */
	make_write(&m, &file);
	while (file.n--) {
		blob_save(&file, path);
		refused(gguf_open(path, &g),
		        file.n >= m.data_at ? "inside the data of tensor 'a'" : "");
	}
	file.n = 0;
	blob_free(&file);
}

static void many_keys_are_found(void **state)
{
	(void)state;
	char key[16];
	for (uint32_t i = 0; i < MADE_PAIRS; i++) {
		snprintf(key, sizeof key, "key%u", i * 7919 % 1000);
		make_u32(&m, key, i);
	}
	must_open();
	for (uint32_t i = 0; i < MADE_PAIRS; i++) {
		uint32_t found = 0;
		snprintf(key, sizeof key, "key%u", i * 7919 % 1000);
		assert_int_equal(gguf_u32(&g, GGUF_REQUIRED, key, 0, 99, &found), STATUS_OK);
		assert_int_equal(found, i);
	}
	assert_null(gguf_find(&g, "key"));
	assert_null(gguf_find(&g, ""));
}

static void what_is_no_file(void **state)
{
	(void)state;
	gguf_close(&g);
	assert_int_not_equal(gguf_open("/no/such/file.gguf", &g), STATUS_OK);
	assert_string_equal(fail_message(), "/no/such/file.gguf: No such file or directory");
	assert_int_not_equal(gguf_open("/tmp", &g), STATUS_OK);
	assert_string_equal(fail_message(), "/tmp: not a regular file");
	assert_null(g.path);
	assert_null(g.file);
}

/* The fuzz target over a valid file and mutations of it. */
static void fuzzing(void **state)
{
	(void)state;
	struct blob file;
	make_qwen2(&m);
	make_write(&m, &file);
	fuzz_mutations(gguf_fuzz, file.data, m.data_at + 64, 4000, 1);
	blob_free(&file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(empty_file_opens),
	        TEST(every_integer_type),
	        TEST(integers_outside_the_range),
	        TEST(floats),
	        TEST(bools_and_strings),
	        TEST(missing_keys),
	        TEST(arrays),
	        TEST(tensors_of_every_type),
	        TEST(tensors_of_another_shape),
	        TEST(foreign_types),
	        TEST(other_alignments),
	        TEST(many_keys_are_found),
	        TEST(wrong_layouts),
	        TEST(every_truncation),
	        TEST(what_is_no_file),
	        TEST(fuzzing),
	};
	int file = mkstemp(path);
	if (file < 0)
		return 1;
	close(file);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
