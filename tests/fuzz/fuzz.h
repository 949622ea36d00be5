/* Fuzz targets: for libFuzzer (`scripts/fuzz`), for the test that runs each over its committed
 * corpus, and for tests that run one over mutations of a valid input. A target gives up by abort()
 * when what it found is wrong. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* Opens the bytes as a GGUF file and reads all of it. */
int gguf_fuzz(const uint8_t *data, size_t n);
/* Loads the bytes as a model's file. */
int model_fuzz(const uint8_t *data, size_t n);
/* Tokenises the bytes with the bundled model's vocabulary and checks that decoding gives them back.
 */
int tokenizer_fuzz(const uint8_t *data, size_t n);
/* Reads the bytes as a CSV file, whole and up to a torn last row. */
int csv_fuzz(const uint8_t *data, size_t n);
/* Emits a header from the bytes as a device's journal, and appends to it. */
int journal_fuzz(const uint8_t *data, size_t n);
/* Parses the bytes as everything that is written on a command line or in a cell of a journal. */
int text_fuzz(const uint8_t *data, size_t n);

/* Calls target on the input and `count` mutations of it, always the same ones for a seed. */
void fuzz_mutations(int (*target)(const uint8_t *data, size_t n), const uint8_t *input, size_t n,
                    int count, uint32_t seed);

/* As the runner does before it touches a device, and looks at every row of every tensor. */
MUST_CHECK enum status load_model(const char *path);

/* What decoding gives back of bytes without special tokens, by utf8proc alone: valid UTF-8 in
 * normal form C, other bytes as they are. `to` has room for four times as many. Returns their
 * number. */
size_t normal_bytes(const uint8_t *text, size_t len, uint8_t *to);

/* What targets share. */
#define FUZZ_PATH 64
/* A file in memory that holds the bytes; its path and its descriptor, to be closed. */
int fuzz_file(const uint8_t *data, size_t n, char path[FUZZ_PATH]);
/* Aborts unless the latest failure is one line that names this. */
void fuzz_message(const char *name);
/* So that no compiler leaves out what was read to compute this. */
void fuzz_use(size_t sum);
/* Says why and aborts. */
void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
