/* results/tuned.h, written from the journals of all devices. Needs no device. */
#ifndef TUNER_EMIT_H
#define TUNER_EMIT_H

#include "core/status.h"

/* Longest cache that rows of attention cover. */
#define EMIT_MAX_LENGTH 131072

/* Reads folder/<device>/journal.csv of every device and replaces the header at `path`. Of each
 * device, kernel, case and shape the newest verdict becomes a row, those of the present kernel
 * sources before older ones. A journal row that cannot be understood is left out with a warning
 * that names file and line. */
MUST_CHECK enum status emit_header(const char *folder, const char *path, int *n_rows);

#endif
