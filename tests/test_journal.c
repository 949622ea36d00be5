/* The tuner's journal: rows are found again, torn tails are cut, foreign files are refused. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tuner/journal.h"

#include <cmocka.h> /* last: it takes the name `fail` */

static char folder[] = "/tmp/journal-XXXXXX", path[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/journal-XXXXXX");
	if (!mkdtemp(folder))
		return 1;
	snprintf(path, sizeof path, "%s/a/b/journal.csv", folder);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static void append(struct journal *journal, const char *config, int round, const char *us,
                   const char *reason)
{
	char number[16];
	const char *cell[N_JOURNAL_COLUMNS] = {"key", "gemv", "w=bf16", "8x32", config};
	snprintf(number, sizeof number, "%d", round);
	cell[JOURNAL_round] = number;
	cell[JOURNAL_us] = us;
	cell[JOURNAL_status] = "ok";
	cell[JOURNAL_reason] = reason;
	assert_int_equal(journal_append(journal, cell), STATUS_OK);
}

static const struct journal_row *find(const struct journal *journal, const char *config, int round)
{
	char number[16];
	const char *identity[] = {"key", "gemv", "w=bf16", "8x32", config, number};
	snprintf(number, sizeof number, "%d", round);
	return journal_find(journal, identity);
}

static long file_size(void)
{
	struct stat info;
	return stat(path, &info) ? -1 : (long)info.st_size;
}

static void add_text(const char *text)
{
	FILE *file = fopen(path, "a");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void rows_are_found_again(void **state)
{
	struct journal journal;
	char config[32], us[32];
	(void)state;
	for (int run = 0; run < 2; run++) {
		assert_int_equal(journal_open(path, &journal), STATUS_OK);
		assert_int_equal(journal.n_rows, 2000 * run);
		for (int i = 0; i < 2000; i++) {
			snprintf(config, sizeof config, "warps=%d", i + 2000 * run);
			snprintf(us, sizeof us, "%d.5", i);
			append(&journal, config, run, us, "a \"quoted\", reason");
		}
		journal_close(&journal);
	}
	assert_int_equal(journal_read(path, &journal), STATUS_OK);
	assert_int_equal(journal.n_rows, 4000);
	const struct journal_row *row = find(&journal, "warps=1234", 0);
	assert_non_null(row);
	assert_float_equal(journal_number(row, JOURNAL_us), 1234.5, 0);
	assert_string_equal(row->cell[JOURNAL_reason], "a \"quoted\", reason");
	assert_int_equal(row->line, 1236);
	assert_null(find(&journal, "warps=1234", 1));
	assert_null(find(&journal, "warps=4000", 1));
	journal_close(&journal);
	journal_close(&journal);
}

static void latest_row_of_an_identity_is_found(void **state)
{
	struct journal journal;
	(void)state;
	assert_int_equal(journal_open(path, &journal), STATUS_OK);
	append(&journal, "warps=1", 0, "1", "");
	append(&journal, "warps=1", 0, "2", "");
	assert_float_equal(journal_number(find(&journal, "warps=1", 0), JOURNAL_us), 2, 0);
	journal_close(&journal);
}

static void torn_tail_is_cut(void **state)
{
	struct journal journal;
	(void)state;
	assert_int_equal(journal_open(path, &journal), STATUS_OK);
	append(&journal, "warps=1", 0, "1", "");
	journal_close(&journal);
	long whole = file_size();
	add_text("key,gemv,w=bf16,\"8x");
	long torn = file_size();

	assert_int_equal(journal_read(path, &journal),
	                 STATUS_OK); /* a reader leaves the file alone */
	assert_int_equal(journal.n_rows, 1);
	assert_int_equal(file_size(), torn);
	journal_close(&journal);

	assert_int_equal(journal_open(path, &journal), STATUS_OK);
	assert_int_equal(file_size(), whole);
	append(&journal, "warps=2", 0, "2", "");
	journal_close(&journal);
	assert_int_equal(journal_read(path, &journal), STATUS_OK);
	assert_int_equal(journal.n_rows, 2);
	journal_close(&journal);
}

static void bad_files_are_named(void **state)
{
	struct journal journal, second;
	(void)state;
	assert_int_equal(journal_open(path, &journal), STATUS_OK);
	assert_int_not_equal(journal_open(path, &second), STATUS_OK);
	assert_non_null(strstr(fail_message(), "another process"));
	journal_close(&journal);

	add_text("one,two\n");
	assert_int_not_equal(journal_read(path, &journal), STATUS_OK);
	assert_non_null(strstr(fail_message(), "journal.csv:2"));

	assert_int_equal(truncate(path, 0), 0);
	add_text("time,config\n");
	assert_int_not_equal(journal_open(path, &journal), STATUS_OK);
	assert_non_null(strstr(fail_message(), "journal.csv"));
	assert_int_not_equal(journal_read(path, &journal), STATUS_OK);
	assert_non_null(strstr(fail_message(), "no column 'key'"));
}

static void keys_tell_what_they_stand_for(void **state)
{
	static const struct param params[] = {{"warps", "", 4, NAMES_NUMBER, 2, {2, 4}}};
	static const struct param wider[] = {{"warps", "", 4, NAMES_NUMBER, 3, {2, 4, 8}}};
	const struct kernel kernel = {.name = "gemv", .params = params, .n_params = 1};
	const struct kernel more = {.name = "gemv", .params = wider, .n_params = 1};
	struct device_info info = {.name = "Some; \"GPU\"",
	                           .slug = "some-gpu",
	                           .target = {90, 32},
	                           .sm_count = 132,
	                           .bus_gbps = 4814.2,
	                           .driver = "1.2",
	                           .toolkit = "13"};
	struct provenance a, b;
	char text[PROVENANCE_TEXT];
	(void)state;
	provenance_of(&kernel, &info, &a);
	provenance_format(&a, text);
	assert_int_equal(provenance_parse(text, &b), STATUS_OK);
	assert_string_equal(a.key, b.key);
	assert_int_equal(b.info.target.sm, 90);
	assert_string_equal(b.info.slug, "some-gpu");
	assert_string_equal(b.info.driver, "1.2");

	provenance_of(&more, &info, &b);
	assert_string_not_equal(a.key, b.key);
	strcpy(info.driver, "1.3");
	provenance_of(&kernel, &info, &b);
	assert_string_not_equal(a.key, b.key);

	assert_int_not_equal(provenance_parse("device=x", &b), STATUS_OK);
	strcat(text, "; more=1");
	assert_int_not_equal(provenance_parse(text, &b), STATUS_OK);
}

#define JOURNAL_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        JOURNAL_TEST(rows_are_found_again),
	        JOURNAL_TEST(latest_row_of_an_identity_is_found),
	        JOURNAL_TEST(torn_tail_is_cut),
	        JOURNAL_TEST(bad_files_are_named),
	        JOURNAL_TEST(keys_tell_what_they_stand_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
