/* Fuzz targets, for libFuzzer (fuzz_gguf.c and fuzz_tokenizer.c built with -fsanitize=fuzzer and
 * -DFUZZ_MAIN) and for the tests, which run each over mutations of a valid input. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Opens the bytes as a GGUF file and reads all of it. */
int gguf_fuzz(const uint8_t *data, size_t n);
/* Tokenises the bytes with a small vocabulary and checks that decoding gives them back. */
int tokenizer_fuzz(const uint8_t *data, size_t n);

/* Calls target on the input and `count` mutations of it, always the same ones for a seed. */
void fuzz_mutations(int (*target)(const uint8_t *data, size_t n), const uint8_t *input, size_t n,
                    int count, uint32_t seed);

#endif
