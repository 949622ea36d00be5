/* --bench: tokens per second of the whole model at one cache length. */
#ifndef MODEL_DECODE_BENCH_H
#define MODEL_DECODE_BENCH_H

#include <stdio.h>

#include "model/decoder.h"

/* Cache rows that a measurement at a length needs. */
int decode_bench_capacity(int length);

/* Prints one line to `to` and, unless csv is NULL, adds a row to csv/DEVICE/decode.csv. */
MUST_CHECK enum status decode_bench(struct decoder *decoder, int length, bool quiet,
                                    const char *csv, FILE *to);

#endif
