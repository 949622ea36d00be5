/* The generated header: what becomes of journals of several devices, older spaces and damage, and
 * that it compiles. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/csv.h"
#include "tuner/emit.h"
#include "tuner/journal.h"

#include <cmocka.h> /* last: it takes the name `fail` */

static char folder[] = "/tmp/emit-XXXXXX", header[64];
static char *text; /* of the header */

static const struct device_info gpu = {.name = "Some GPU",
                                       .slug = "some-gpu",
                                       .target = {90, 32},
                                       .sm_count = 132,
                                       .bus_gbps = 4814.2,
                                       .driver = "570.1",
                                       .toolkit = "13.0"};
static const struct device_info host = {.name = "host",
                                        .slug = "host",
                                        .target = {0, 1},
                                        .sm_count = 2,
                                        .driver = "6.1",
                                        .toolkit = "gcc 12"};

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/emit-XXXXXX");
	if (!mkdtemp(folder))
		return 1;
	snprintf(header, sizeof header, "%s/results", folder);
	mkdir(header, 0755);
	snprintf(header, sizeof header, "%s/results/tuned.h", folder);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	free(text);
	text = NULL;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static const char *journal_path(const char *slug)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s/journal.csv", folder, slug);
	return path;
}

/* A verdict of a device, with the key row before it. */
struct verdict {
	const struct device_info *info;
	const char *kernel, *kase, *shape, *config, *us, *status, *source_hash;
	const char *regret, *step, *space_hash, *samples;
};

static void put(struct verdict v)
{
	struct journal journal;
	struct provenance provenance;
	char key_text[PROVENANCE_TEXT];
	provenance_of(kernel_find(v.kernel), v.info, &provenance);
	if (v.source_hash || v.space_hash) {
		if (v.source_hash)
			strcpy(provenance.source_hash, v.source_hash);
		if (v.space_hash)
			strcpy(provenance.space_hash, v.space_hash);
		provenance_format(&provenance, key_text);
		assert_int_equal(provenance_parse(key_text, &provenance), STATUS_OK);
	}
	provenance_format(&provenance, key_text);
	assert_int_equal(journal_open(journal_path(v.info->slug), &journal), STATUS_OK);
	const char *key[N_JOURNAL_COLUMNS] = {provenance.key, v.kernel};
	key[JOURNAL_status] = "key";
	key[JOURNAL_reason] = key_text;
	assert_int_equal(journal_append(&journal, key), STATUS_OK);
	const char *cell[N_JOURNAL_COLUMNS] = {provenance.key, v.kernel, v.kase, v.shape, v.config};
	cell[JOURNAL_us] = v.us;
	cell[JOURNAL_status] = v.status;
	cell[JOURNAL_gbps] = "50";
	cell[JOURNAL_ceiling_gbps] = "200";
	cell[JOURNAL_default_us] = "20";
	cell[JOURNAL_method] = "exhaustive + race";
	cell[JOURNAL_date] = "2026-01-02";
	cell[JOURNAL_samples] = v.samples;
	cell[JOURNAL_regret_percent] = v.regret;
	cell[JOURNAL_step] = v.step;
	if (v.step) {
		cell[JOURNAL_step_percent] = "1.5";
		cell[JOURNAL_step_percent_lo] = "1.25";
		cell[JOURNAL_step_percent_hi] = "1.75";
	}
	assert_int_equal(journal_append(&journal, cell), STATUS_OK);
	journal_close(&journal);
}

#define GEMV_CASE "w=bf16 x=f32 norm=0 epilogue=residual"
#define GEMV                                                                                \
	"math=0 rows=4 lanes=16 slices=1 tiles=8 unroll=1 blocks=3 min_blocks=2 trigger=0 " \
	"early=32 "                                                                         \
	"ahead=1 ahead_mb=8"
/* As assert_has() takes them: all values of a configuration, in the order of the kernel's list. */
#define GEMV_ROW     "{" GEMV "})"
#define GEMV_ROWS(n) "{rows=" #n "})"
#define ATTENTION    "head_dim=64 group=7 kv=bf16"

static int emit(void)
{
	int n;
	size_t bytes;
	assert_int_equal(emit_header(folder, header, &n), STATUS_OK);
	FILE *file = fopen(header, "r");
	assert_non_null(file);
	free(text);
	text = NULL;
	assert_true(getdelim(&text, &bytes, 0, file) > 0);
	fclose(file);
	return n;
}

/* Whether a kernel source compiles against the header; the compiler's messages go to `messages`. */
static bool compiles(const char *kernel, char *messages, size_t bytes)
{
	char command[1024];
	snprintf(command, sizeof command,
	         CXX
	         " -std=c++20 -fsyntax-only -Wall -Werror -Wno-unknown-pragmas -DSIMT_WARP=1 -I%s "
	         "-I" SOURCE_DIR " -x c++ " SOURCE_DIR "/kernels/%s.cu 2>&1",
	         folder, kernel);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	size_t n = fread(messages, 1, bytes - 1, pipe);
	messages[n] = 0;
	while (fgetc(pipe) != EOF)
		;
	return pclose(pipe) == 0;
}

/* What stands for "{rows=4}": the values of gemv with the defaults of all else. */
static char *expand(const char *part)
{
	const struct kernel *gemv = kernel_find("gemv");
	static char expanded[1024];
	char config[256];
	int n = snprintf(expanded, sizeof expanded, "%.*s", (int)strcspn(part, "{"), part);
	if (!part[n])
		return expanded;
	const char *end = strchr(part, '}');
	int value[MAX_PARAMS];
	snprintf(config, sizeof config, "%.*s", (int)(end - part - n - 1), part + n + 1);
	for (int i = 0; i < gemv->n_params; i++)
		value[i] = gemv->params[i].default_value;
	assert_int_equal(params_parse(gemv->params, gemv->n_params, config, value), STATUS_OK);
	for (int i = 0; i < gemv->n_params; i++)
		n += snprintf(expanded + n, sizeof expanded - (size_t)n, i ? ", %d" : "%d",
		              value[i]);
	snprintf(expanded + n, sizeof expanded - (size_t)n, "%s", end + 1);
	return expanded;
}

static void assert_has(const char *template)
{
	const char *part = expand(template);
	if (!strstr(text, part))
		fail_msg("'%s' is not in:\n%s", part, text);
}

static void assert_lacks(const char *part)
{
	if (strstr(text, part))
		fail_msg("'%s' is in:\n%s", part, text);
}

static void rows_of_all_devices(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x4864", GEMV, "10", "win"});
	put((struct verdict){&host, "gemv", GEMV_CASE, "896x4864",
	                     "math=0 rows=1 lanes=32 slices=1 tiles=1 unroll=4 blocks=8 "
	                     "min_blocks=1 trigger=1 early=1 ahead=0 ahead_mb=4",
	                     "300", "tie"});
	assert_int_equal(emit(), 2);
	assert_has("#define TUNED_DEVICES_CUDA(X, K) \\\n\tX(K, SOME_GPU, \"Some GPU\", 90, 32, "
	           "132, 4814.2, "
	           "\"570.1\", \"13.0\", ");
	assert_has("#define TUNED_DEVICES_HOST(X, K) \\\n\tX(K, HOST, \"host\", 0, 1, 2, 0.0, "
	           "\"6.1\", \"gcc 12\", ");
	assert_has("#define TUNED_DEVICES_HOST32(X, K)\n");
	assert_has("ROW(gemv, (DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_RESIDUAL), 896, 4864, 0, "
	           "0, BESIDE_NONE, " GEMV_ROW " /* 10.00 us, 25 % of 200 GB/s, 2.00x, win */\n");
	assert_has("ROW(gemv, (DTYPE_BF16, DTYPE_F32, 0, EPILOGUE_RESIDUAL), 896, 4864, 0, 0, "
	           "BESIDE_NONE, "
	           "{rows=1 tiles=1 blocks=8}) /* 300.00 us, 25 % of 200 GB/s, 0.07x, tie */\n");
	assert_has("#define TUNED_SOME_GPU_ADVANCE(ROW)\n");
	assert_lacks("stale");
}

static void nothing_becomes_an_empty_header(void **state)
{
	char messages[4096];
	(void)state;
	assert_int_equal(emit(), 0);
	assert_has("#define TUNED_DEVICES_CUDA(X, K)\n");
	assert_true(compiles("rms_norm", messages, sizeof messages));
}

static void header_compiles(void **state)
{
	char messages[8192];
	(void)state;
	put((struct verdict){&host, "rms_norm", "x=f32 residual=0", "896", "warps=2 unroll=4", "3",
	                     "win"});
	put((struct verdict){&gpu, "rms_norm", "x=f32 residual=0", "896", "warps=16 unroll=2", "3",
	                     "win"});
	assert_int_equal(emit(), 2);
	if (!compiles("rms_norm", messages, sizeof messages))
		fail_msg("%s", messages);
}

/* The build refuses a row that is not of the kernel's space, and says what to do. */
static void illegal_row_is_named_by_the_compiler(void **state)
{
	char messages[65536];
	(void)state;
	put((struct verdict){&host, "rms_norm", "x=f32 residual=0", "896", "warps=2 unroll=4", "3",
	                     "win"});
	emit();
	char *values = strstr(text, "BESIDE_NONE, 2, 4, 1)");
	assert_non_null(values);
	values[strlen("BESIDE_NONE, ")] = '3'; /* warps */
	assert_int_equal(write_file_atomically(header, text, strlen(text)), STATUS_OK);
	assert_false(compiles("rms_norm", messages, sizeof messages));
	assert_non_null(strstr(messages, "run 'warpsmith-tune --emit'"));
	assert_non_null(strstr(messages, "ROW(rms_norm, "));
}

static void missing_tunable_gets_its_default(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", "rows=4 gone=7", "10", "win"});
	assert_int_equal(emit(), 1);
	assert_has("896, 896, 0, 0, BESIDE_NONE, " GEMV_ROWS(4));
}

/* A verdict of a case that the kernel had before it had all its fields is no row. */
static void case_of_other_fields_is_left_out(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gemv", "w=bf16 x=f32 epilogue=residual", "896x896", GEMV, "10",
	                     "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE " gone=1", "896x896", GEMV, "10", "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "1152x896", GEMV, "10", "win"});
	assert_int_equal(emit(), 1);
	assert_has("1152, 896, 0, 0, BESIDE_NONE, " GEMV_ROW);
	assert_lacks(" 896, 896, 0, 0");
}

static void unlisted_value_is_kept_as_a_comment(void **state)
{
	char messages[8192];
	(void)state;
	put((struct verdict){&host, "rms_norm", "x=f32 residual=0", "896", "warps=3 unroll=4", "3",
	                     "win"});
	put((struct verdict){&host, "rms_norm", "x=f32 residual=0", "3584", "warps=4 unroll=4", "3",
	                     "win"});
	emit();
	assert_has("/* left out (warps=3): ROW(rms_norm");
	assert_has("\tROW(rms_norm, (DTYPE_F32, 0), 3584, 0, 0, 0, BESIDE_NONE, 4, 4, 1)");
	if (!compiles("rms_norm", messages, sizeof messages))
		fail_msg("%s", messages);
}

static void present_sources_come_before_newer_rows(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", GEMV, "10", "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", "rows=1", "5", "win",
	                     "0123456789abcdef"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "1152x896", "rows=1", "5", "win",
	                     "0123456789abcdef"});
	assert_int_equal(emit(), 2);
	assert_has("896, 896, 0, 0, BESIDE_NONE, " GEMV_ROW
	           " /* 10.00 us, 25 % of 200 GB/s, 2.00x, win */");
	assert_has("1152, 896, 0, 0, BESIDE_NONE, " GEMV_ROWS(
	        1) " /* 5.00 us, 25 % of 200 GB/s, 4.00x, win, "
	           "stale */");
	assert_has("\"0123456789abcdef\""); /* so that the runner warns */
}

/* A row of another space is marked, and the device's hash is not the present one. */
static void another_space_is_stale(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "1152x896", GEMV, "5", "win",
	                     .space_hash = "fedcba9876543210"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", GEMV, "10", "win"});
	assert_int_equal(emit(), 2);
	assert_has("896, 896, 0, 0, BESIDE_NONE, " GEMV_ROW
	           " /* 10.00 us, 25 % of 200 GB/s, 2.00x, win */");
	assert_has("1152, 896, 0, 0, BESIDE_NONE, " GEMV_ROW
	           " /* 5.00 us, 25 % of 200 GB/s, 4.00x, win, stale */");
	assert_has("\"fedcba9876543210\", \"2026-01-02\"");
}

static void newest_verdict_counts(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", "rows=1", "10", "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", "rows=4", "10", "win"});
	assert_int_equal(emit(), 1);
	assert_has("896, 896, 0, 0, BESIDE_NONE, " GEMV_ROWS(4));
}

static void lengths_become_ranges(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gqa_attention", ATTENTION, "14/2/64@4096", "splits=32", "9",
	                     "win"});
	put((struct verdict){&gpu, "gqa_attention", ATTENTION, "14/2/64@64", "splits=2", "3",
	                     "win"});
	put((struct verdict){&gpu, "gqa_attention", ATTENTION, "14/2/64@256", "splits=2", "4",
	                     "win"});
	put((struct verdict){&gpu, "gqa_attention", ATTENTION, "28/4/64@256", "splits=2", "4",
	                     "win"});
	assert_int_equal(emit(), 3);
	assert_has("(64, 7, DTYPE_BF16), 14, 2, 1, 1024, BESIDE_NONE, 2,");
	assert_has("(64, 7, DTYPE_BF16), 14, 2, 1025, 131072, BESIDE_NONE, 32,");
	assert_has("(64, 7, DTYPE_BF16), 28, 4, 1, 131072, BESIDE_NONE, 2,");
}

/* What was fastest alone does not replace what the decode loop chose, unless that is of old
 * sources. */
static void decode_loop_decides(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", "rows=4", "10", "win",
	                     .step = "m at 1024"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", "rows=1", "9", "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "1152x896", "rows=4", "10", "win",
	                     "0123456789abcdef", .step = "m at 1024"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "1152x896", "rows=1", "9", "win"});
	assert_int_equal(emit(), 2);
	assert_has("896, 896, 0, 0, BESIDE_NONE, " GEMV_ROWS(4));
	assert_has("1152, 896, 0, 0, BESIDE_NONE, " GEMV_ROWS(1));
}

static void put_length(const char *shape, const char *config, const char *regret, const char *step)
{
	put((struct verdict){&gpu, "gqa_attention", ATTENTION, shape, config, "9", "win",
	                     .regret = regret, .step = step});
}

/* A range says its worst regret; what the decode loop confirmed has a place in it, or one of its
 * own. */
static void ranges_say_their_regret(void **state)
{
	(void)state;
	put_length("14/2/64@64", "splits=2", "0.5", NULL);
	put_length("14/2/64@127", "splits=2", "1.25", NULL);
	put_length("14/2/64@256", "splits=2", "0", NULL);
	put_length("14/2/64@509", "splits=32", "0.75", NULL);
	put_length("14/2/64@1024", "splits=32", "0", NULL);
	assert_int_equal(emit(), 2);
	assert_has("14, 2, 1, 360, BESIDE_NONE, 2,");
	assert_has("14, 2, 361, 131072, BESIDE_NONE, 32,");
	assert_has("win, at most 1.25 % over the fastest at 3 lengths */");
	assert_has("win, at most 0.75 % over the fastest at 2 lengths */");
	put_length("14/2/64@128", "splits=2", NULL, "m at 128");
	assert_int_equal(emit(), 2);
	assert_has("at 128, 25 % of 200 GB/s, 2.22x, win, at most 0.50 % over the fastest at 2 "
	           "lengths, in the step of m at 128 +1.50 % tokens/s (+1.25 +1.75) */");
	put_length("14/2/64@128", "splits=8", NULL, "m at 128");
	assert_int_equal(emit(), 4);
	assert_has("14, 2, 1, 90, BESIDE_NONE, 2,");
	assert_has("14, 2, 91, 181, BESIDE_NONE, 8,");
	assert_has("14, 2, 182, 360, BESIDE_NONE, 2,");
}

/* What was measured alone near a length of the decode loop makes way for its choice, but not from
 * twice as far on. */
static void decode_loop_decides_nearby(void **state)
{
	(void)state;
	put_length("14/2/64@512", "splits=2", "0", NULL);
	put_length("14/2/64@513", "splits=4", "0", NULL);
	put_length("14/2/64@2039", "splits=4", "0", NULL);
	put_length("14/2/64@2048", "splits=2", "0", NULL);
	put_length("28/4/64@1000", "splits=2", "0", NULL);
	assert_int_equal(emit(), 4);
	put_length("14/2/64@1024", "splits=8", NULL, "m at 1024");
	assert_int_equal(emit(), 4);
	assert_has("14, 2, 1, 724, BESIDE_NONE, 2,");
	assert_has("14, 2, 725, 1448, BESIDE_NONE, 8,");
	assert_has("14, 2, 1449, 131072, BESIDE_NONE, 2,");
	assert_has("28, 4, 1, 131072, BESIDE_NONE, 2,");
}

static void put_loop(const char *beside, const char *config)
{
	char shape[64];
	snprintf(shape, sizeof shape, "14/2/64@1024%s", beside);
	put_length(shape, config, NULL, "m at 1024");
}

/* What the loops of two models confirmed at one length are two rows of one range, beside what was
 * fastest alone there, for launches alone; of one model the newest counts. */
static void rows_say_what_they_run_beside(void **state)
{
	(void)state;
	put_length("14/2/64@256", "splits=2", "0", NULL);
	put_length("14/2/64@1024", "splits=4", "0", NULL);
	put_length("14/2/64@4096", "splits=2", "0", NULL);
	put_loop(" beside q8_0", "splits=32");
	put_loop(" beside q4_k", "splits=2");
	put_loop(" beside q8_0", "splits=16");
	assert_int_equal(emit(), 5);
	assert_has("(head_dim, group, kv), m, k, len_min, len_max, beside, splits,");
	assert_has("14, 2, 1, 512, BESIDE_NONE, 2,");
	assert_has("14, 2, 513, 2048, BESIDE_NONE, 4,");
	assert_has("14, 2, 513, 2048, BESIDE_Q4_K, 2,");
	assert_has("14, 2, 513, 2048, BESIDE_Q8_0, 16,");
	assert_has("14, 2, 2049, 131072, BESIDE_NONE, 2,");
	/* one of a journal that does not say it keeps its place */
	put_loop("", "splits=8");
	assert_int_equal(emit(), 5);
	assert_has("14, 2, 513, 2048, BESIDE_NONE, 8,");
	assert_has("14, 2, 513, 2048, BESIDE_Q8_0, 16,");
	/* neighbours of one configuration and model are one row */
	put_length("14/2/64@4096 beside q8_0", "splits=16", NULL, "m at 4096");
	assert_int_equal(emit(), 5);
	assert_has("14, 2, 1, 512, BESIDE_NONE, 2,");
	assert_has("14, 2, 513, 2048, BESIDE_NONE, 8,");
	assert_has("14, 2, 513, 2048, BESIDE_Q4_K, 2,");
	assert_has("14, 2, 513, 131072, BESIDE_Q8_0, 16,");
	assert_has("14, 2, 2049, 131072, BESIDE_NONE, 2,");
}

/* Ranges of rows alone end where the next of them begins; those of a loop where another's do, or of
 * a row alone that no loop replaces in a step. */
static void rows_alone_are_for_launches_alone(void **state)
{
	(void)state;
	put_length("14/2/64@1024", "splits=4", "0", NULL);
	put_length("14/2/64@1500", "splits=32", "0", NULL);
	put_length("14/2/64@20000", "splits=2", "0", NULL);
	put_loop(" beside q4_k", "splits=2");
	put_length("14/2/64@4096 beside q8_0", "splits=16", NULL, "m at 4096");
	assert_int_equal(emit(), 5);
	assert_has("14, 2, 1, 1239, BESIDE_NONE, 4,");
	assert_has("14, 2, 1240, 5477, BESIDE_NONE, 32,");
	assert_has("14, 2, 5478, 131072, BESIDE_NONE, 2,");
	assert_has("14, 2, 1, 2048, BESIDE_Q4_K, 2,");
	assert_has("14, 2, 2049, 9050, BESIDE_Q8_0, 16,");
}

/* In a step a loop's row serves until that of a length which it does not govern does, on both sides
 * over those that it does. */
static void a_loop_serves_what_it_governs(void **state)
{
	(void)state;
	put_length("14/2/64@300", "splits=12", "0", NULL);
	put_length("14/2/64@600", "splits=24", "0", NULL);
	put_length("14/2/64@1024", "splits=4", "0", NULL);
	put_length("14/2/64@2039", "splits=32", "0", NULL);
	put_length("14/2/64@2423", "splits=2", "0", NULL);
	put_loop(" beside q8_0", "splits=8");
	assert_int_equal(emit(), 6);
	assert_has("14, 2, 1, 424, BESIDE_NONE, 12,");
	assert_has("14, 2, 425, 2222, BESIDE_Q8_0, 8,");
	assert_has("14, 2, 1445, 2222, BESIDE_NONE, 32,");
	assert_has("14, 2, 2223, 131072, BESIDE_NONE, 2,");
}

/* What is of other sources as a whole keeps its ranges. */
static void old_loops_govern_old_rows(void **state)
{
	static const char *const shapes[] = {"14/2/64@512", "14/2/64@900", "14/2/64@2100"};
	(void)state;
	for (int i = 0; i < 3; i++)
		put((struct verdict){&gpu, "gqa_attention", ATTENTION, shapes[i], "splits=4", "9",
		                     "win", "0123456789abcdef"});
	put((struct verdict){&gpu, "gqa_attention", ATTENTION, "14/2/64@1024 beside q8_0",
	                     "splits=16", "9", "win", "0123456789abcdef", .step = "m at 1024"});
	assert_int_equal(emit(), 2);
	assert_has("14, 2, 1, 131072, BESIDE_NONE, 4,");
	assert_has("14, 2, 679, 1466, BESIDE_Q8_0, 16,");
}

/* Of old sources they make way for any of the present ones, and text that names no weights is none.
 */
static void loops_of_other_sources_make_way(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gqa_attention", ATTENTION, "14/2/64@1024 beside q8_0",
	                     "splits=16", "9", "win", "0123456789abcdef", .step = "m at 1024"});
	put_loop(" beside q9", "splits=16");
	assert_int_equal(emit(), 1);
	assert_has("14, 2, 1, 131072, BESIDE_Q8_0, 16,");
	put_length("14/2/64@64", "splits=4", "0", NULL);
	assert_int_equal(emit(), 1);
	assert_has("14, 2, 1, 131072, BESIDE_NONE, 4,");
}

static void header_with_models_compiles(void **state)
{
	char messages[8192];
	(void)state;
	put((struct verdict){&host, "gqa_attention", ATTENTION, "14/2/64@1024 beside q8_0",
	                     "splits=16", "9", "win", .step = "m at 1024"});
	assert_int_equal(emit(), 1);
	if (!compiles("gqa_attention", messages, sizeof messages))
		fail_msg("%s", messages);
}

/* Lengths of other sources are not between those of the present ones. */
static void old_lengths_make_way(void **state)
{
	(void)state;
	for (int fresh = 0; fresh < 2; fresh++) {
		static const char *const length[] = {"14/2/64@64", "14/2/64@127", "14/2/64@256"};
		for (int i = 0; i < 3; i += 1 + fresh)
			put((struct verdict){&gpu, "gqa_attention", ATTENTION, length[i],
			                     fresh ? "splits=8" : "splits=2", "9", "win",
			                     fresh ? NULL : "0123456789abcdef"});
		assert_int_equal(emit(), 1);
	}
	assert_has("14, 2, 1, 131072, BESIDE_NONE, 8,");
	assert_lacks("stale");
}

/* Text in place of a device's journal, after its header row. */
static void add_text(const char *slug, const char *rows)
{
	struct journal journal;
	assert_int_equal(journal_open(journal_path(slug), &journal), STATUS_OK);
	journal_close(&journal);
	FILE *file = fopen(journal_path(slug), "a");
	assert_non_null(file);
	fputs(rows, file);
	fclose(file);
}

/* A row of these first cells, the rest empty. */
static void add_row(const char *slug, const char *cells)
{
	char row[256];
	int n = snprintf(row, sizeof row, "%s", cells), commas = 0;
	for (const char *c = cells; *c; c++)
		commas += *c == ',';
	for (; commas < N_JOURNAL_COLUMNS - 1; commas++)
		row[n++] = ',';
	strcpy(row + n, "\n");
	add_text(slug, row);
}

static void hostile_rows_are_left_out(void **state)
{
	(void)state;
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", GEMV, "10", "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x0", GEMV, "10", "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "4294969472x896", GEMV, "10", "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "2176x896", GEMV, "10", "win",
	                     .samples = "4294967392"});
	put((struct verdict){&gpu, "gemv", "w=q9 x=f32", "896x896", GEMV, "10", "win"});
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "1152x896", "rows=*/evil( \\", "*/ int",
	                     "win"});
	add_row("some-gpu", "key,no_such_kernel,a,b,c,,1,win");
	add_row("some-gpu", "nokey,gemv,w=bf16,896x896,rows=1,,1,win");
	add_text("some-gpu", "torn,gemv,w=bf16");
	assert_int_equal(emit(), 2);
	assert_has("896, 896, 0, 0, BESIDE_NONE, " GEMV_ROW);
	assert_lacks(" 2176, 896,"); /* what an int may hold of the first, and the second */
	assert_has("/* left out (rows=__evil(): ROW(gemv");
	assert_lacks("*/ int");
}

static void damaged_journal_leaves_the_header(void **state)
{
	int n;
	(void)state;
	put((struct verdict){&gpu, "gemv", GEMV_CASE, "896x896", GEMV, "10", "win"});
	emit();
	char *before = strdup(text);
	add_text("some-gpu", "too,few\n");
	assert_int_not_equal(emit_header(folder, header, &n), STATUS_OK);
	assert_non_null(strstr(fail_message(), "some-gpu/journal.csv:4"));
	FILE *file = fopen(header, "r");
	size_t bytes = strlen(before);
	char *after = calloc(1, bytes + 2);
	assert_int_equal(fread(after, 1, bytes + 1, file), bytes);
	assert_string_equal(before, after);
	fclose(file);
	free(before);
	free(after);
}

#define EMIT_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        EMIT_TEST(rows_of_all_devices),
	        EMIT_TEST(nothing_becomes_an_empty_header),
	        EMIT_TEST(header_compiles),
	        EMIT_TEST(illegal_row_is_named_by_the_compiler),
	        EMIT_TEST(missing_tunable_gets_its_default),
	        EMIT_TEST(case_of_other_fields_is_left_out),
	        EMIT_TEST(unlisted_value_is_kept_as_a_comment),
	        EMIT_TEST(present_sources_come_before_newer_rows),
	        EMIT_TEST(another_space_is_stale),
	        EMIT_TEST(newest_verdict_counts),
	        EMIT_TEST(decode_loop_decides),
	        EMIT_TEST(decode_loop_decides_nearby),
	        EMIT_TEST(lengths_become_ranges),
	        EMIT_TEST(ranges_say_their_regret),
	        EMIT_TEST(rows_say_what_they_run_beside),
	        EMIT_TEST(rows_alone_are_for_launches_alone),
	        EMIT_TEST(a_loop_serves_what_it_governs),
	        EMIT_TEST(old_loops_govern_old_rows),
	        EMIT_TEST(loops_of_other_sources_make_way),
	        EMIT_TEST(header_with_models_compiles),
	        EMIT_TEST(old_lengths_make_way),
	        EMIT_TEST(hostile_rows_are_left_out),
	        EMIT_TEST(damaged_journal_leaves_the_header),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
