/* What becomes of verdicts later: on the same device, and when tuning again. */
#ifndef TUNER_VERIFY_H
#define TUNER_VERIFY_H

#include "tuner/tune.h"

/* Times every verdict of this device beside its default and its runner-up again, within so many
 * seconds in all (0: less than two minutes); a CSV row of each on stdout. STATUS_VIOLATION when it
 * is shown of one that it no longer holds: it fails or one of the two is faster by more than
 * RACE_MATTERS; the decode loop's rows can fail alone, for their times apart from the step say
 * nothing of them. Rows that cannot be told in their share of the time, or not even set up, are no
 * violation. `rival_folder`: other journals, whose verdicts on the same launches, of parts of the
 * space too, are timed beside them; a row does not hold when one is faster by more than 3 %; NULL:
 * none. Lists separated by commas leave out other kernels and shapes; NULL: none. */
MUST_CHECK enum status verify(const char *folder, const char *rival_folder,
                              const struct tune_options *options, double seconds);

/* What it costs that shapes without a row get the nearest one's: times every row of kernels that
 * lend them beside the row that its shape would be lent if it had none, and beside the default. A
 * CSV row of each on stdout, the sum on stderr. Rows whose case has no other shape are left out. */
MUST_CHECK enum status lend(const char *folder, const struct tune_options *options);

struct tuned_row;
/* Whether a verdict is of this device and of the kernels and shapes that were asked for. */
bool verdict_wanted(const struct tuned_row *verdict, const struct device_info *info,
                    const struct tune_options *options);

/* Tunes n times from scratch, each with the next seed and a journal of its own in
 * folder/<device>/repeat-<i>.csv, which is removed in the end; then times the different winners of
 * a row beside each other. A flip is a difference between one tune and the next that this
 * separates by more than RACE_MATTERS. A CSV row of each task on stdout, the sum on stderr. */
MUST_CHECK enum status repeat(const char *folder, const struct tune_options *options, int n);

/* Prints why a verdict is what it is: all its candidates with their times. Needs no device.
 * `words`, separated by spaces, must all be among those of kernel, shape and case. */
MUST_CHECK enum status explain(const char *folder, const char *words);

#endif
