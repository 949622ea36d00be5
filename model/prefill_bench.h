/* --bench --prefill: tokens per second of a prompt. */
#ifndef MODEL_PREFILL_BENCH_H
#define MODEL_PREFILL_BENCH_H

#include <stdio.h>

#include "model/prefill.h"

/* A prompt of `length` tokens from an empty cache to the logits of its last one, by chunks or, with
 * `prefill` NULL, by steps. Prints one line to `to` and, unless csv is NULL, adds a row to
 * csv/DEVICE/prefill.csv. */
MUST_CHECK enum status prefill_bench(struct decoder *decoder, struct prefill *prefill, int length,
                                     bool quiet, const char *csv, FILE *to);

#endif
