#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tuner/emit.h"
#include "tuner/journal.h"

static char folder[] = "/tmp/warpsmith-fuzz-XXXXXX", device[64], path[80], header[64];

static void remove_folder(void)
{
	unlink(path);
	unlink(header);
	rmdir(device);
	rmdir(folder);
}

static void make_folder(void)
{
	if (device[0])
		return;
	if (!mkdtemp(folder))
		fuzz_fail("cannot make %s", folder);
	snprintf(device, sizeof device, "%s/device", folder);
	snprintf(path, sizeof path, "%s/journal.csv", device);
	snprintf(header, sizeof header, "%s/tuned.h", folder);
	if (mkdir(device, 0700))
		fuzz_fail("cannot make %s", device);
	atexit(remove_folder);
}

static void save(const uint8_t *data, size_t n)
{
	FILE *file = fopen(path, "wb");
	if (!file || fwrite(data, 1, n, file) != n || fclose(file))
		fuzz_fail("cannot write %s", path);
}

/* What a journal that could be opened for appending has more, it has when it is read again. */
static void append(void)
{
	const char *cell[N_JOURNAL_COLUMNS] = {"key", "kernel", "case, of \"one\"", "shape"};
	const char *const identity[N_JOURNAL_IDENTITY] = {cell[0], cell[1], cell[2],
	                                                  cell[3], "",      ""};
	struct journal journal;
	if (journal_open(path, &journal) != STATUS_OK) {
		fuzz_message(path);
		return;
	}
	const int n = journal.n_rows;
	if (journal_append(&journal, cell) != STATUS_OK)
		fuzz_fail("cannot append: %s", fail_message());
	journal_close(&journal);
	if (journal_read(path, &journal) != STATUS_OK || journal.n_rows != n + 1 ||
	    journal_find(&journal, identity) != &journal.rows[n])
		fuzz_fail("an appended row is not there: %s", fail_message());
	journal_close(&journal);
}

int journal_fuzz(const uint8_t *data, size_t n)
{
	int n_rows;
	make_folder();
	save(data, n);
	if (emit_header(folder, header, &n_rows) != STATUS_OK)
		fuzz_message(path);
	append();
	return 0;
}
