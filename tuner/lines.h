/* Lines from a pipe or socket, with a deadline. */
#ifndef TUNER_LINES_H
#define TUNER_LINES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { MAX_LINE = 32768 };

struct lines {
	int fd;
	pthread_mutex_t *lock; /* let go while waiting; may be NULL */
	size_t used;
	char buffer[MAX_LINE], line[MAX_LINE];
};

/* The next complete line without its end, valid until the next call. NULL when there is none by the
 * time `until` of seconds_now(), then *late is true; or when there will be none. A past time asks
 * for what has come. */
char *lines_next(struct lines *lines, double until, bool *late);

#endif
