/* Progress with an estimate of the time left, on stderr: one redrawn line on a terminal, else a
 * line now and then. */
#ifndef CORE_PROGRESS_H
#define CORE_PROGRESS_H

#include <stdbool.h>

#include "core/seconds.h"

struct progress {
	const char *label;
	double total;          /* in any unit of work */
	double started, shown; /* seconds, monotonic clock */
	bool quiet, terminal;
};

void progress_start(struct progress *progress, const char *label, double total, bool quiet);
/* `note` (may be NULL) is shown behind the estimate. */
void progress_update(struct progress *progress, double done, const char *note);
/* Takes the line off the terminal, before something else is printed there. */
void progress_clear(const struct progress *progress);
void progress_finish(struct progress *progress, const char *note);

#endif
