/* A tune of several ranks by mpirun: the same table as that of one, whoever is lost. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/progress.h"
#include "tests/tune.h"
#include "tuner/journal.h"
#include "tuner/lines.h"
#include "tuner/ranks.h"

#include <cmocka.h> /* last: it takes the name `fail` */

#define TUNE \
	"--quiet --kernel gemv,rms_norm,gqa_attention --shape 896x896,64x64,896x4864,896,14/2/64 "
#define SCRIPT "exec " SOURCE_DIR "/scripts/tune_ranks "

static char folder[] = "/tmp/ranks-XXXXXX";

static int set_up(void **state)
{
	char log[64];
	(void)state;
	strcpy(folder, "/tmp/ranks-XXXXXX");
	if (!mkdtemp(folder))
		return 1;
	snprintf(log, sizeof log, "%s/log", folder);
	setenv("REPLAY_LOG", log, 1);
	setenv("WARPSMITH_TUNE", REPLAY, 1);
	setenv("RANKS", "4", 1);
	setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
	unsetenv("REPLAY_SLEEP");
	unsetenv("REPLAY_GPU");
	unsetenv("REPLAY_DELAY_US");
	unsetenv("REPLAY_CRASH");
	if (!geteuid()) {
		setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
		setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
	}
	return 0;
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

/* Starts a command in the folder, in a process group of its own; its messages are in
 * folder/messages. */
static pid_t start(const char *command)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		setpgid(0, 0);
		if (chdir(folder) || !freopen("messages", "w", stderr) ||
		    !freopen("output", "w", stdout))
			_exit(99);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(99);
	}
	return pid;
}

static int run(const char *command)
{
	return finish(start(command));
}

/* The number that a shell command prints, in the folder. */
static int number(const char *command)
{
	char line[1024];
	int n = -1;
	snprintf(line, sizeof line, "cd %s && { %s; }", folder, command);
	FILE *pipe = popen(line, "r");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%d", &n), 1);
	pclose(pipe);
	return n;
}

/* Of a journal of the folder. */
static int count_rows_of(const char *name, const char *status)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s/replay/journal.csv", folder, name);
	return count_rows(path, status);
}

/* Whether a file of /proc has this text; ends of strings in it count as line ends. */
static bool proc_has(const char *pid, const char *name, const char *text)
{
	static char content[1 << 16];
	char path[300];
	snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
	int file = open(path, O_RDONLY);
	ssize_t n = file < 0 ? 0 : read(file, content, sizeof content - 1);
	if (file >= 0)
		close(file);
	for (ssize_t i = 0; i < n; i++)
		if (!content[i])
			content[i] = '\n';
	content[n > 0 ? n : 0] = 0;
	return strstr(content, text) != NULL;
}

/* The process of a rank, or its worker; 0 while there is none. */
static pid_t find_rank(int rank, bool worker)
{
	char variable[64];
	pid_t found = 0;
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	assert_non_null(proc);
	snprintf(variable, sizeof variable, "\nOMPI_COMM_WORLD_RANK=%d\n", rank);
	while (!found && (entry = readdir(proc)))
		if (proc_has(entry->d_name, "environ", folder) &&
		    proc_has(entry->d_name, "environ", variable) &&
		    !proc_has(entry->d_name, "cmdline", "sh\n-c\n") &&
		    proc_has(entry->d_name, "cmdline", "\n--worker\n") == worker)
			found = atoi(entry->d_name);
	closedir(proc);
	return found;
}

/* Of a rank that has measured something; what its workers are asked for is in the log. */
static pid_t wait_for_rank(int rank, bool worker)
{
	char command[64];
	for (int i = 0; i < 2000; i++) {
		const pid_t asking = find_rank(rank, false);
		snprintf(command, sizeof command, "cat log | grep -c '^%d\t'", (int)asking);
		const pid_t found = worker ? find_rank(rank, true) : asking;
		if (found && number(command) > 8)
			return found;
		sleep_ms(5);
	}
	fail_msg("rank %d does not measure", rank);
	return 0;
}

static void assert_same_header(void)
{
	assert_true(number("grep -c 'ROW(gqa_attention' one/tuned.h") > 0);
	assert_int_equal(number("cmp one/tuned.h many/tuned.h >&2; echo $?"), 0);
}

/* Of the log: lengths between those that are tuned, which are measured for ranges alone. */
#define OFF_THE_GRID "grep '@\\(127\\|509\\|2039\\)\t' log"

/* Every measurement is made once, on all devices together, and each race stays on its own: of the
 * ranges of lengths, which race the same again, all of a length. */
static void four_ranks_make_the_same_table(void **state)
{
	(void)state;
	assert_int_equal(run(REPLAY " " TUNE "--journal one"), 0);
	assert_int_equal(run("mv log log1"), 0);
	setenv("REPLAY_SLEEP", "100", 1);
	assert_int_equal(run(SCRIPT TUNE "--journal many"), 0);
	assert_same_header();
	assert_int_equal(count_rows_of("many", NULL), count_rows_of("one", NULL));
	assert_int_equal(number("cut -f 1 log | sort -u | wc -l"), 4);
	assert_int_equal(number("cut -f 2- log | sort > a; cut -f 2- log1 | sort | cmp - a >&2; "
	                        "echo $?"),
	                 0);
	assert_int_equal(
	        number("grep '\tround\t' log | grep -v gqa_attention | cut -f 1,3-5 | sort -u | "
	               "cut -f 2- | sort | uniq -d | wc -l"),
	        0);
	assert_true(number(OFF_THE_GRID " | cut -f 1 | sort -u | wc -l") > 1);
	assert_int_equal(number(OFF_THE_GRID
	                        " | cut -f 1,5 | sort -u | cut -f 2 | sort | uniq -d | "
	                        "wc -l"),
	                 0);
}

/* A single search, too, is shared: its screenings, not its race. */
static void idle_ranks_screen_for_others(void **state)
{
	static const char tune[] = "--quiet --budget 120 --kernel gqa_attention "
	                           "--shape 14/2/64@4096 ";
	char command[256];
	(void)state;
	setenv("REPLAY_GPU", "90", 1); /* a space of some size */
	setenv("REPLAY_SLEEP", "100", 1);
	setenv("REPLAY_DELAY_US", "10000", 1); /* results come in any order */
	snprintf(command, sizeof command, SCRIPT "%s --journal many", tune);
	assert_int_equal(run(command), 0);
	assert_int_equal(number("grep '\tscreen\t' log | cut -f 1 | sort -u | wc -l"), 4);
	assert_int_equal(number("grep '\tscreen\t' log | cut -f 2- | sort | uniq -d | wc -l"), 0);
	assert_int_equal(number("grep '\tround\t' log | cut -f 1 | sort -u | wc -l"), 1);
	setenv("REPLAY_SLEEP", "0", 1);
	unsetenv("REPLAY_DELAY_US");
	snprintf(command, sizeof command, "mv log log1; " REPLAY " %s --journal one", tune);
	assert_int_equal(run(command), 0);
	assert_int_equal(
	        number("for l in log log1; do grep '\tscreen\t' $l | cut -f 2- | sort > $l.s; "
	               "done; cmp log.s log1.s >&2; echo $?"),
	        0);
	assert_int_equal(count_rows_of("many", NULL), count_rows_of("one", NULL));
	assert_same_header();
}

/* One rank is killed, another stands still, the worker of a third is killed: the rest of them make
 * the same table, what had been measured is not measured again, and nobody waits for ever. */
static void lost_ranks_cost_what_they_measured(void **state)
{
	(void)state;
	setenv("REPLAY_SLEEP", "400", 1);
	pid_t pid = start(SCRIPT TUNE "--journal many");
	kill(wait_for_rank(2, false), SIGKILL);
	kill(wait_for_rank(3, false), SIGSTOP);
	kill(wait_for_rank(1, true), SIGKILL);
	assert_int_equal(finish(pid), 0);
	assert_int_equal(number("grep -c 'rank [23] on .* is lost; the others' messages"), 2);
	int screenings = number("grep -c '\tscreen\t' log");
	setenv("REPLAY_SLEEP", "0", 1);
	assert_int_equal(run(REPLAY " " TUNE "--journal one"), 0);
	assert_same_header();
	int rows = count_rows_of("many", NULL);
	assert_int_equal(rows, count_rows_of("one", NULL));
	assert_int_equal(rows, count_rows_of("many", "ok"));
	int known = number("cut -d , -f 6 many/replay/journal.csv | grep -c '^0$'");
	assert_in_range(screenings, known, known + 3);
}

/* The first rank but 0 that measures for ranges. */
static int wait_for_ranges(void)
{
	char command[128];
	for (int i = 0; i < 2000; i++) {
		for (int rank = 1; rank < 4; rank++) {
			snprintf(command, sizeof command,
			         "touch log; " OFF_THE_GRID " | grep -c '^%d\t'",
			         (int)find_rank(rank, false));
			if (number(command) > 0)
				return rank;
		}
		sleep_ms(5);
	}
	fail_msg("no rank measures ranges");
	return 0;
}

/* The length that a lost rank was at is measured by another. */
static void ranges_go_on_without_a_rank(void **state)
{
	static const char tune[] = "--quiet --kernel gqa_attention --shape 14/2/64 ";
	char command[256];
	(void)state;
	setenv("REPLAY_SLEEP", "1000", 1);
	snprintf(command, sizeof command, SCRIPT "%s --journal many", tune);
	pid_t pid = start(command);
	int rank = wait_for_ranges();
	kill(find_rank(rank, false), SIGKILL);
	assert_int_equal(finish(pid), 0);
	snprintf(command, sizeof command, "grep -c 'rank %d on .* is lost; the others' messages",
	         rank);
	assert_int_equal(number(command), 1);
	setenv("REPLAY_SLEEP", "0", 1);
	snprintf(command, sizeof command, REPLAY " %s --journal one", tune);
	assert_int_equal(run(command), 0);
	assert_same_header();
	assert_int_equal(count_rows_of("many", "ok"), count_rows_of("one", "ok"));
}

/* What a candidate does to the worker of another rank is its own row, as ever. */
static void a_crash_in_another_rank_is_a_row(void **state)
{
	(void)state;
	setenv("REPLAY_CRASH", "rows=1 ", 1);
	assert_int_equal(run(SCRIPT TUNE "--journal many"), 0);
	assert_int_equal(run(REPLAY " " TUNE "--journal one"), 0);
	assert_same_header();
	int crashes = count_rows_of("one", "crash");
	assert_true(crashes > 0);
	assert_int_equal(count_rows_of("many", "crash"), crashes);
	assert_int_equal(number("grep -c 'crash,signal 11' many/replay/journal.csv"), crashes);
}

/* A relay's worker: what is left of a line when it ends is no answer. */
static int act_as_worker(void)
{
	char line[64];
	printf("hello\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		printf("got %shalf", line);
		fflush(stdout);
		if (!strcmp(line, "end\n"))
			return 3;
	}
	pause();
	return 0;
}

static void assert_line(struct lines *lines, const char *line)
{
	bool late;
	char *got = lines_next(lines, seconds_now() + 10, &late);
	assert_non_null(got);
	assert_string_equal(got, line);
}

static void a_relay_starts_and_ends_workers(void **state)
{
	static struct lines lines;
	static const char requests[] = "ignored\n!start\thost\nend\n";
	int ends[2];
	bool late;
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pid_t pid = fork();
	if (!pid) {
		close(ends[0]);
		relay_run(ends[1], 1);
		_exit(0);
	}
	close(ends[1]);
	lines.fd = ends[0];
	dprintf(ends[0], "%s", requests);
	assert_line(&lines, "hello");
	assert_line(&lines, "got end");
	assert_line(&lines, "!end\t768"); /* exit code 3 */
	dprintf(ends[0], "!kill\n!start\tcuda\na question\n");
	assert_line(&lines, "hello");
	assert_line(&lines, "got a question");
	dprintf(ends[0], "!kill\n!stop\n");
	assert_line(&lines, "!end\t9"); /* SIGKILL, once */
	assert_null(lines_next(&lines, seconds_now() + 0.1, &late));
	dprintf(ends[0], "!start\thost\n");
	assert_line(&lines, "hello");
	close(ends[0]);
	assert_int_equal(finish(pid), 0);
}

/* The same on devices that are there, whose times differ from run to run. */
static void a_host_device_is_lost(void **state)
{
	pid_t rank = 0;
	(void)state;
	setenv("WARPSMITH_TUNE", TUNE_PROGRAM, 1);
	pid_t pid = start(SCRIPT "--device " HOST " --quiet --quick --kernel rms_norm,rope --shape "
	                         "896,3584,14/2/64,28/4/128 --journal many");
	while (!find_rank(2, true))
		sleep_ms(5);
	rank = find_rank(2, false);
	assert_true(rank > 0);
	kill(rank, SIGKILL);
	assert_int_equal(finish(pid), 0);
	assert_int_equal(number("grep -c 'rank 2 on .* is lost; the others' messages"), 1);
	assert_int_equal(number("grep -c 'ROW(r' many/tuned.h"), 4);
}

/* Ctrl-C reaches script and mpirun; the ranks end at a row, and the next run goes on there. */
static void interrupted_ranks_go_on(void **state)
{
	(void)state;
	setenv("REPLAY_SLEEP", "400", 1);
	pid_t pid = start(SCRIPT TUNE "--journal many");
	wait_for_rank(3, false);
	kill(-pid, SIGINT);
	assert_int_equal(finish(pid), 1);
	assert_int_equal(number("grep -c 'the same command goes on from here' messages"), 1);
	setenv("REPLAY_SLEEP", "0", 1);
	int rows = count_rows_of("many", NULL);
	assert_int_equal(run(REPLAY " " TUNE "--journal one"), 0);
	assert_true(rows > 0 && rows < count_rows_of("one", NULL));
	assert_int_equal(run(SCRIPT TUNE "--journal many"), 0);
	assert_same_header();
}

/* Other devices than rank 0 has are no help. */
static void ranks_must_have_one_model(void **state)
{
	static const struct {
		const char *setting, *message;
	} cases[] = {
	        {"REPLAY_SMS=2", "rank 1 on .* with 2 multiprocessors, rank 0 has replay with 1: "},
	        {"REPLAY_DRIVER=newer", "rank 1 on .* has driver newer "},
	};
	char command[512];
	(void)state;
	setenv("RANKS", "2", 1);
	setenv("WARPSMITH_TUNE", "./program", 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(command, sizeof command,
		         "{ echo '#!/bin/sh'; echo '[ $OMPI_COMM_WORLD_RANK = 0 ] || export %s';"
		         "echo 'exec %s \"$@\"'; } > program; chmod +x program",
		         cases[i].setting, REPLAY);
		assert_int_equal(run(command), 0);
		assert_int_equal(run(SCRIPT TUNE "--journal many"), 2);
		snprintf(command, sizeof command, "grep -c '^warpsmith-tune: %s' messages",
		         cases[i].message);
		assert_int_equal(number(command), 1);
		assert_int_equal(access("many/tuned.h", F_OK), -1);
	}
}

/* In a job the ranks are those of the job, and the script is a copy; elsewhere somebody must say
 * how many. What mpirun itself fails with is passed on. */
static void the_script_finds_program_and_ranks(void **state)
{
	(void)state;
	unsetenv("WARPSMITH_TUNE");
	assert_int_equal(run("cp " SOURCE_DIR "/scripts/tune_ranks job; mkdir bin;"
	                     "echo '#!/bin/sh' > bin/mpirun; echo 'echo \"$@\" > args; exit 7' >> "
	                     "bin/mpirun; chmod +x bin/mpirun"),
	                 0);
#define STUBBED "PATH=$PWD/bin:/usr/bin:/bin "
	assert_int_equal(
	        run(STUBBED "SLURM_JOB_ID=1 SLURM_SUBMIT_DIR=" SOURCE_DIR " exec ./job --quick"),
	        7);
	assert_int_equal(
	        number("grep -c ' " SOURCE_DIR "/scripts/with_build warpsmith-tune --quick$' args"),
	        1);
	assert_int_equal(number("grep -c -e ' -n ' args"), 0);
	assert_int_equal(run(STUBBED SCRIPT), 7);
	assert_int_equal(number("grep -c -e ' -n 4 ' args"), 1);
	assert_int_equal(run(STUBBED "RANKS=0 " SCRIPT), 2);
	assert_int_equal(number("grep -c 'RANKS=N says how many' messages"), 1);
}

#define RANKS_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* The tests that match the argument, if there is one. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        RANKS_TEST(four_ranks_make_the_same_table),
	        cmocka_unit_test(a_relay_starts_and_ends_workers),
	        RANKS_TEST(idle_ranks_screen_for_others),
	        RANKS_TEST(lost_ranks_cost_what_they_measured),
	        RANKS_TEST(ranges_go_on_without_a_rank),
	        RANKS_TEST(a_host_device_is_lost),
	        RANKS_TEST(a_crash_in_another_rank_is_a_row),
	        RANKS_TEST(interrupted_ranks_go_on),
	        RANKS_TEST(ranks_must_have_one_model),
	        RANKS_TEST(the_script_finds_program_and_ranks),
	};
	if (argc == 3 && !strcmp(argv[1], "--worker"))
		return act_as_worker();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
