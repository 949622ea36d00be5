/* --replay: what it prints, how good the default strategy is on recorded kernels, and files that it
 * must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/command.h"

#include <cmocka.h> /* last: it takes the name `fail` */

enum { SEEDS = 21 };

#define HEADER "strategy,seed,evaluations,best_us,optimum_us,best_over_optimum\n"

static char path[] = "/tmp/landscape-XXXXXX";

static struct command_result run(const char *file, const char *strategy, const char *budget,
                                 const char *seeds)
{
	const char *argv[] = {TUNE,       "--replay", file,      "--strategy", strategy,
	                      "--budget", budget,     "--seeds", seeds,        NULL};
	return command_run(argv);
}

static int compare_numbers(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

/* best_over_optimum by seed, in order of size. */
static void ratios(const char *file, const char *strategy, const char *budget, int evaluations,
                   double ratio[SEEDS])
{
	char seeds[16], expected[64];
	snprintf(seeds, sizeof seeds, "%d", SEEDS);
	struct command_result result = run(file, strategy, budget, seeds);
	assert_int_equal(result.exit_code, 0);
	assert_int_equal(strncmp(result.out, HEADER, strlen(HEADER)), 0);
	char *line = result.out + strlen(HEADER);
	for (int i = 0; i < SEEDS; i++) {
		double best, optimum;
		snprintf(expected, sizeof expected, "%s,%d,%d,", strategy, i + 1, evaluations);
		assert_int_equal(strncmp(line, expected, strlen(expected)), 0);
		assert_int_equal(
		        sscanf(line + strlen(expected), "%lf,%lf,%lf", &best, &optimum, &ratio[i]),
		        3);
		assert_true(best >= optimum);
		assert_true(ratio[i] - best / optimum < 1e-4 && best / optimum - ratio[i] < 1e-4);
		line = strchr(line, '\n') + 1;
	}
	assert_string_equal(line, "");
	qsort(ratio, SEEDS, sizeof *ratio, compare_numbers);
	command_free(&result);
}

/* Beside the medians that random sampling without replacement has on these files. */
static void recorded_kernels(void **state)
{
	static const struct {
		const char *file, *budget;
		int evaluations;
		double most;   /* of the default strategy's median */
		double random; /* median of random sampling, in closed form */
	} cases[] = {
	        {"convolution_A4000.csv", "2.5%", 110, 1.10, 1.249},
	        {"convolution_A4000.csv", "10%", 437, 1.000001, 1.018},
	        {"dedispersion_W6600.csv", "2.5%", 279, 1.013, 1.050},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char file[512];
		double guided[SEEDS], random[SEEDS];
		snprintf(file, sizeof file, SOURCE_DIR "/tests/data/landscapes/%s", cases[i].file);
		ratios(file, "guided", cases[i].budget, cases[i].evaluations, guided);
		ratios(file, "random", cases[i].budget, cases[i].evaluations, random);
		printf("%s %s: guided %.3f, random %.3f\n", cases[i].file, cases[i].budget,
		       guided[SEEDS / 2], random[SEEDS / 2]);
		assert_true(guided[SEEDS / 2] <= cases[i].most);
		assert_true(random[SEEDS / 2] > 1 + (cases[i].random - 1) / 2);
		assert_true(random[SEEDS / 2] < 1 + (cases[i].random - 1) * 2);
	}
}

static void write_text(const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void files_of_any_columns(void **state)
{
	static const char *const texts[] = {
	        "a,time_us\n1,2\n2,3\n",
	        "a,b,time_us,status\n0.5,-1,2,ok\n0.25,-1,,compile_error\n",
	        "fixed,a,time_us,other,status\r\n7,1,1e3,x,ok\r\n7,2,5,,hang\r\n",
	        "\"block, x\",time_us\n\"3\",\"4.5\"\n",
	        "a,time_us,status\n1,9,ok\n2,0,wrong\n",
	};
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		write_text(texts[i]);
		struct command_result result = run(path, "guided", "100%", "2");
		assert_int_equal(result.exit_code, 0);
		assert_non_null(strstr(result.out, ",1.000000\n"));
		command_free(&result);
	}
}

static void nothing_found_is_infinitely_far(void **state)
{
	(void)state;
	write_text("a,time_us\n1,\n2,\n3,4\n");
	struct command_result result = run(path, "exhaustive", "1", "1");
	assert_string_equal(result.out, HEADER "exhaustive,1,1,inf,4,inf\n");
	command_free(&result);
}

static void hostile_files(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
	        {"", "no header row"},
	        {"a,b,time_us,status\n", "no rows"},
	        {"a,b,time\n1,2,3\n", "no column 'time_us'"},
	        {"time_us,a\n1,2\n", "no parameters before"},
	        {"a,a,time_us\n1,2,3\n", "two columns 'a'"},
	        {"a,b,time_us\n1,2\n", ":2: 2 fields"},
	        {"a,b,time_us\n1,2,3,4\n", ":2: 4 fields"},
	        {"a,b,time_us\n1,two,3\n", ":2: b: 'two'"},
	        {"a,b,time_us\n1,,3\n", ":2: b: ''"},
	        {"a,b,time_us\n1,nan,3\n", ":2: b: 'nan'"},
	        {"a,b,time_us\n1,inf,3\n", ":2: b: 'inf'"},
	        {"a,time_us\n1,fast\n", ":2: time_us: 'fast'"},
	        {"a,time_us\n1,-4\n", ":2: time_us: '-4'"},
	        {"a,time_us\n1,0\n", ":2: time_us: '0'"},
	        {"a,time_us\n1,nan\n", ":2: time_us: 'nan'"},
	        {"a,time_us,status\n1,,ok\n", ":2: time_us: ''"},
	        {"a,time_us\n1,5\n2,6\n1,7\n", ":4: the configuration of line 2 again"},
	        {"a,time_us\n1,\n2,\n", "no configuration has a time"},
	        {"a,time_us,status\n1,5,hang\n", "no configuration has a time"},
	        {"a,time_us\n\"1,5\n", ":2"},
	        {"\x7f"
	         "ELF\x02\x01\n",
	         "no column 'time_us'"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		write_text(cases[i].text);
		struct command_result result = run(path, "guided", "10%", "3");
		if (result.exit_code != 1 || !strstr(result.err, cases[i].message) ||
		    strchr(result.err, '\n') != strrchr(result.err, '\n'))
			fail_msg("'%s': exit code %d, message %s", cases[i].text, result.exit_code,
			         result.err);
		assert_string_equal(result.out, "");
		command_free(&result);
	}
}

static void refused_arguments(void **state)
{
	static const struct {
		const char *file, *strategy, *budget;
		int exit_code;
	} cases[] = {
	        {path, "luck", "10%", 2},     {path, "guided", "10s", 2},
	        {path, "guided", "0%", 2},    {"/nonexistent.csv", "guided", "10%", 1},
	        {"/tmp", "guided", "10%", 1},
	};
	(void)state;
	write_text("a,time_us\n1,2\n");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct command_result result =
		        run(cases[i].file, cases[i].strategy, cases[i].budget, "1");
		assert_int_equal(result.exit_code, cases[i].exit_code);
		command_free(&result);
	}
}

static int set_up(void **state)
{
	(void)state;
	int file = mkstemp(path);
	return file < 0 || close(file);
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(recorded_kernels),
	        cmocka_unit_test(files_of_any_columns),
	        cmocka_unit_test(nothing_found_is_infinitely_far),
	        cmocka_unit_test(hostile_files),
	        cmocka_unit_test(refused_arguments),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
