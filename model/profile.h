/* --profile: where the time of a replayed step goes, launch by launch. */
#ifndef MODEL_PROFILE_H
#define MODEL_PROFILE_H

#include <stdio.h>

#include "model/decoder.h"

/* Cache rows that a profile at a length needs. */
int profile_capacity(int length);

/* Prints a table of operations to `to` and, unless csv is NULL, adds a row per launch to
 * csv/DEVICE/profile.csv. On a GPU NVRTC compiles the launches' instances anew, with stamps. */
MUST_CHECK enum status profile(struct decoder *decoder, int length, bool quiet, const char *csv,
                               FILE *to);

#endif
