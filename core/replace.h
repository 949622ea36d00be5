/* A file that is written beside the one it replaces: either all of it takes that one's place or
 * nothing does. */
#ifndef CORE_REPLACE_H
#define CORE_REPLACE_H

#include <stdio.h>

#include "core/status.h"

struct replacement {
	const char *path;
	char temporary[4096]; /* in the same folder; "" when there is none */
	FILE *file;           /* to be written to */
};

/* What is there and not a regular file is not replaced. */
MUST_CHECK enum status replacement_open(const char *path, struct replacement *r);
/* Once, after all was written: flush, fsync, rename. */
MUST_CHECK enum status replacement_commit(struct replacement *r);
/* Removes what was not committed. */
void replacement_close(struct replacement *r);

#endif
