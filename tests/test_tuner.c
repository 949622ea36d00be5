/* The tuner as a program: killed and resumed, interrupted, and with kernels that crash, hang and
 * lie. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tuner/journal.h"

#include <cmocka.h> /* last: it takes the name `fail` */

enum { KILLS = 10 };

static char folder[] = "/tmp/tuner-XXXXXX";

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/tuner-XXXXXX");
	return !mkdtemp(folder);
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static const char *in_folder(const char *name)
{
	static char path[2][128];
	static int turn;
	turn = !turn;
	snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
	return path[turn];
}

/* Messages of the tuner go to folder/messages. */
static pid_t start(const char *program, const char *results, const char *kernels,
                   const char *shapes)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		const char *messages = in_folder("messages");
		if (!freopen(messages, "w", stderr) || !freopen("/dev/null", "w", stdout))
			_exit(99);
		execl(program, program, "--kernel", kernels, "--shape", shapes, "--journal",
		      results, (char *)NULL);
		_exit(99);
	}
	return pid;
}

static int finish(pid_t pid)
{
	int wait_status;
	assert_int_equal(waitpid(pid, &wait_status, 0), pid);
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

/* A whole file; "" when there is none. */
static char *read_text(const char *path)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *file = fopen(path, "r");
	if (!file || getdelim(&text, &bytes, 0, file) < 0) {
		free(text);
		text = strdup("");
	}
	if (file)
		fclose(file);
	return text;
}

static bool has_message(const char *part)
{
	char *messages = read_text(in_folder("messages"));
	bool found = strstr(messages, part) != NULL;
	free(messages);
	return found;
}

/* Length up to the last complete row. */
static size_t complete_bytes(const char *text)
{
	const char *end = strrchr(text, '\n');
	return end ? (size_t)(end + 1 - text) : 0;
}

/* Rows with this status, or all measurements when it is NULL. Fails the test on two rows of one
 * measurement. */
static int count_rows(const char *path, const char *status)
{
	struct journal journal;
	int n = 0;
	assert_int_equal(journal_read(path, &journal), STATUS_OK);
	for (int i = 0; i < journal.n_rows; i++) {
		const struct journal_row *row = &journal.rows[i];
		if (!row->cell[JOURNAL_round][0])
			continue;
		assert_ptr_equal(journal_find(&journal, row->cell), row);
		n += !status || !strcmp(row->cell[JOURNAL_status], status);
	}
	journal_close(&journal);
	return n;
}

static void sleep_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&time, NULL);
}

#define REPLAYED_KERNELS "gemv,gqa_attention,rms_norm"
#define REPLAYED_SHAPES  "896x896,14/2/64,896"

/* Times are known, so whatever happened on the way, the table is that of an undisturbed tune. */
static void killed_and_resumed(void **state)
{
	(void)state;
	setenv("REPLAY_SLEEP_US", "500", 1);
	assert_int_equal(
	        finish(start(REPLAY, in_folder("whole"), REPLAYED_KERNELS, REPLAYED_SHAPES)), 0);
	int whole = count_rows(in_folder("whole/replay/journal.csv"), NULL);
	assert_true(whole > 100);

	srand(1);
	int killed = 0;
	for (int i = 0; i < KILLS; i++) {
		char *before = read_text(in_folder("killed/replay/journal.csv"));
		pid_t pid = start(REPLAY, in_folder("killed"), REPLAYED_KERNELS, REPLAYED_SHAPES);
		sleep_ms(20 + rand() % 100);
		kill(pid, SIGKILL);
		killed += finish(pid) == 128 + SIGKILL;
		char *after = read_text(in_folder("killed/replay/journal.csv"));
		assert_true(strlen(after) >= complete_bytes(before));
		assert_memory_equal(before, after, complete_bytes(before));
		free(before);
		free(after);
	}
	assert_true(killed > 0);
	assert_int_equal(
	        finish(start(REPLAY, in_folder("killed"), REPLAYED_KERNELS, REPLAYED_SHAPES)), 0);
	assert_true(count_rows(in_folder("killed/replay/journal.csv"), NULL) >= whole);

	char *one = read_text(in_folder("whole/tuned.h")),
	     *other = read_text(in_folder("killed/tuned.h"));
	assert_non_null(strstr(one, "ROW(gqa_attention"));
	assert_string_equal(one, other);
	free(one);
	free(other);
}

static void a_finished_tune_measures_nothing(void **state)
{
	(void)state;
	unsetenv("REPLAY_SLEEP_US");
	assert_int_equal(finish(start(REPLAY, in_folder("a"), "gemv", "896x896")), 0);
	char *before = read_text(in_folder("a/replay/journal.csv"));
	assert_int_equal(finish(start(REPLAY, in_folder("a"), "gemv", "896x896")), 0);
	char *after = read_text(in_folder("a/replay/journal.csv"));
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void interrupted_says_how_to_go_on(void **state)
{
	(void)state;
	setenv("REPLAY_SLEEP_US", "20000", 1);
	pid_t pid = start(REPLAY, in_folder("a"), "gemv", "896x896");
	sleep_ms(300);
	kill(pid, SIGINT);
	assert_int_equal(finish(pid), 1);
	assert_true(has_message("the same command goes on from here"));
	int rows = count_rows(in_folder("a/replay/journal.csv"), NULL);
	assert_true(rows > 0);
	setenv("REPLAY_SLEEP_US", "0", 1);
	assert_int_equal(finish(start(REPLAY, in_folder("a"), "gemv", "896x896")), 0);
	assert_true(count_rows(in_folder("a/replay/journal.csv"), NULL) > rows);
}

static void two_tunes_do_not_share_a_journal(void **state)
{
	(void)state;
	setenv("REPLAY_SLEEP_US", "20000", 1);
	pid_t first = start(REPLAY, in_folder("a"), "gemv", "896x896");
	sleep_ms(300);
	assert_int_equal(finish(start(REPLAY, in_folder("a"), "gemv", "896x896")), 1);
	assert_true(has_message("another process is writing it"));
	kill(first, SIGKILL);
	finish(first);
}

static void what_the_command_line_refuses(void **state)
{
	static const struct {
		const char *arguments;
		int exit_code;
	} cases[] = {
	        {"--device tpu", 2},
	        {"--strategy luck", 2},
	        {"--budget 0", 2},
	        {"--budget 101%", 2},
	        {"--shape 14/3/64@10", 2},
	        {"--emit /dev/full", 1}, /* neither written nor replaced */
	        {"--emit /nonexistent/tuned.h", 1},
	        {"--version > /dev/full", 1},
	};
	char line[512];
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(line, sizeof line, "%s --journal %s %s 2> %s", PLANTED, folder,
		         cases[i].arguments, in_folder("messages"));
		int wait_status = system(line);
		if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != cases[i].exit_code)
			fail_msg("%s: not exit code %d", cases[i].arguments, cases[i].exit_code);
		assert_true(has_message("warpsmith-tune: "));
	}
}

/* A header that cannot be written is found before anything is measured. */
static void header_is_tried_first(void **state)
{
	static const char *const targets[] = {"/dev/full", "/nonexistent/tuned.h"};
	char line[512];
	(void)state;
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
		snprintf(line, sizeof line,
		         "%s -q --journal %s --kernel gemv --shape 64x256 --emit %s 2> %s", PLANTED,
		         folder, targets[i], in_folder("messages"));
		int wait_status = system(line);
		assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 1);
		assert_true(has_message(targets[i]));
		assert_int_equal(count_rows(in_folder(HOST "/journal.csv"), NULL), 0);
	}
}

/* The row of a planted configuration; its reason contains `reason`. */
static void assert_planted(const char *journal_path, const char *status, const char *reason)
{
	struct journal journal;
	int found = 0;
	assert_int_equal(journal_read(journal_path, &journal), STATUS_OK);
	for (int i = 0; i < journal.n_rows; i++)
		found += !strcmp(journal.rows[i].cell[JOURNAL_status], status) &&
		         strstr(journal.rows[i].cell[JOURNAL_reason], reason) != NULL;
	journal_close(&journal);
	assert_int_equal(found, 1);
}

/* Each fault costs its candidate one row with the reason, and the rest of the tune nothing. */
static void planted_faults_cost_one_row_each(void **state)
{
	(void)state;
	assert_int_equal(finish(start(PLANTED, in_folder("a"), "gemv", "64x256")), 0);
	const char *journal = strdup(in_folder("a/" HOST "/journal.csv"));
	assert_int_equal(count_rows(journal, "crash"), 1);
	assert_int_equal(count_rows(journal, "hang"), 1);
	assert_int_equal(count_rows(journal, "wrong"), 2);
	assert_planted(journal, "hang", "no answer within");
	assert_planted(journal, "wrong", "expected");
	assert_planted(journal, "wrong", "beyond the end of");
	int rows = count_rows(journal, NULL);
	assert_int_equal(finish(start(PLANTED, in_folder("a"), "gemv", "64x256")), 0);
	assert_int_equal(count_rows(journal, NULL), rows);
	free((char *)journal);
}

#define TUNER_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TUNER_TEST(killed_and_resumed),
	        TUNER_TEST(a_finished_tune_measures_nothing),
	        TUNER_TEST(interrupted_says_how_to_go_on),
	        TUNER_TEST(two_tunes_do_not_share_a_journal),
	        TUNER_TEST(what_the_command_line_refuses),
	        TUNER_TEST(header_is_tried_first),
	        TUNER_TEST(planted_faults_cost_one_row_each),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
