/* The tuner's memory: results/<device>/journal.csv, append-only. Each measurement, failure and
 * verdict is one row, so a search that was killed repeats its steps against the journal and goes on
 * where it stopped. */
#ifndef TUNER_JOURNAL_H
#define TUNER_JOURNAL_H

#include "bench/csv.h"
#include "core/kernel.h"

/* key       hash of what results depend on; see struct provenance
 * round     of the race that the row belongs to; 0 is the screening; empty for keys and verdicts
 * us        of one launch: median of the samples
 * status    "ok", a failure, a verdict ("win", "tie", "default") or "key"
 * reason    of a failure, grounds of a verdict, text of a key
 * seconds   that the row took to obtain
 * regret    of a verdict by ranges: time beyond that of the fastest at this length
 * step      of the decode loop: "qwen2.5-0.5b at 1024", and how many percent more tokens/s a trial
 *           makes than the step before it, or a verdict than the default; the chance that a verdict
 *           is wrong
 * tried     configurations that a verdict rests on */
/* clang-format off */
#define JOURNAL_COLUMNS(X)                                                                         \
	X(key)                                                                                     \
	X(kernel)                                                                                  \
	X(case)                                                                                    \
	X(shape)                                                                                   \
	X(config) X(round) X(us) X(status) X(reason) X(samples) X(seconds) X(gbps) X(ceiling_gbps) \
	        X(default_us) X(runner_up) X(runner_up_us) X(method) X(date) X(step)               \
	                X(step_percent) X(step_percent_lo) X(step_percent_hi)                      \
	                        X(step_error_percent) X(regret_percent) X(tried)
/* clang-format on */

/* In the method of verdicts on a part of the space, before it says which. */
#define SUBSPACE_METHOD ", only "
/* The method of verdicts by the decode loop. */
#define DECODE_METHOD "decode loop"

#define JOURNAL_COLUMN_ENTRY(name) JOURNAL_##name,
enum journal_column { JOURNAL_COLUMNS(JOURNAL_COLUMN_ENTRY) N_JOURNAL_COLUMNS };

/* Columns up to here tell measurements apart. */
#define N_JOURNAL_IDENTITY (JOURNAL_round + 1)

struct journal_row {
	const char *cell[N_JOURNAL_COLUMNS]; /* never NULL */
	int line;                            /* in the file */
};

struct journal {
	char *path;
	struct csv_log log;
	struct journal_row *rows;
	int n_rows, capacity;
	int *slots, n_slots; /* hash table: row index + 1, by identity */
};

/* For appending: makes the folder, locks the file, cuts a torn last row. */
MUST_CHECK enum status journal_open(const char *path, struct journal *journal);
/* For reading alone; a torn last row is passed over. */
MUST_CHECK enum status journal_read(const char *path, struct journal *journal);
void journal_close(struct journal *journal);

/* The latest row of this identity; NULL when there is none. `identity` has N_JOURNAL_IDENTITY
 * texts. */
const struct journal_row *journal_find(const struct journal *journal, const char *const *identity);
/* Writes the row to disk, then makes it findable. NULL cells are empty. */
MUST_CHECK enum status journal_append(struct journal *journal,
                                      const char *const cell[N_JOURNAL_COLUMNS]);
/* Says, once, what a key of this kernel's rows stands for. */
struct provenance;
MUST_CHECK enum status journal_key(struct journal *journal, const struct kernel *kernel,
                                   const struct provenance *provenance);
/* NaN when the cell is empty or no number. */
double journal_number(const struct journal_row *row, enum journal_column column);

/* What the rows of one key were measured on and with. */
struct provenance {
	char key[17];
	struct device_info info; /* name, slug, target, sm_count, bus_gbps, driver, toolkit */
	char source_hash[17];    /* of the kernel */
	char space_hash[17];     /* of its tunables: names, defaults and values */
};

void provenance_of(const struct kernel *kernel, const struct device_info *info,
                   struct provenance *provenance);
#define PROVENANCE_TEXT 512
/* "device=...; slug=...": what the key is the hash of. */
void provenance_format(const struct provenance *provenance, char text[PROVENANCE_TEXT]);
/* Fails on text that provenance_format would not write. */
MUST_CHECK enum status provenance_parse(const char *text, struct provenance *provenance);

#endif
