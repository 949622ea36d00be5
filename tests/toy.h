/* tests/planted/toy.cu as a kernel to compile: y = 3 x. */
#ifndef TESTS_TOY_H
#define TESTS_TOY_H

#include "device/jit.h"

#define TOY_PATH SOURCE_DIR "/tests/planted/toy.cu"
#define TOY_MAX  7
#define TOY_SPILLING \
	2         /* number of the instance with 32 warps and too many values for its registers */
#define TOY_BAD 3 /* of the one that does not compile */

struct toy_args {
	float *y;
	const float *x;
	int n;
};

/* Threads per block of instance i. */
unsigned toy_threads(int i);

/* The first n instances; text NULL: no source given. Lasts until the next call. */
struct jit_request toy_request(const char *text, int n, int sm);

/* The file as a string, to be freed; NULL when it cannot be read. */
char *toy_read_file(const char *path);

#endif
