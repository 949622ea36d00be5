/* The runner as a function: everything that warpsmith-run does, on streams that a test can give it.
 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

#include <stdio.h>

#include "core/status.h"

/* Data goes to `out`, messages to stderr. */
MUST_CHECK enum status run(int argc, char **argv, FILE *out);

#endif
