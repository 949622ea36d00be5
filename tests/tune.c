#define _GNU_SOURCE
#include "tests/tune.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "tuner/journal.h"

#include <cmocka.h> /* last: it takes the name `fail` */

int finish(pid_t pid)
{
	int wait_status;
	assert_int_equal(waitpid(pid, &wait_status, 0), pid);
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

void sleep_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&time, NULL);
}

int count_rows(const char *path, const char *status)
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
