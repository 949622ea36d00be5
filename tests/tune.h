/* What tests of whole tunes share. */
#ifndef TESTS_TUNE_H
#define TESTS_TUNE_H

#include <sys/types.h>

/* Waits for a child; its exit code, or 128 + signal when it was killed. */
int finish(pid_t pid);

void sleep_ms(long ms);

/* Rows of a journal with this status, or all measurements when it is NULL. Fails the test on two
 * rows of one measurement. */
int count_rows(const char *path, const char *status);

#endif
