#include "tuner/lines.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "core/progress.h"

/* Takes the first line out of the buffer. */
static char *take(struct lines *lines)
{
	char *end = memchr(lines->buffer, '\n', lines->used);
	if (!end)
		return NULL;
	size_t n = (size_t)(end - lines->buffer);
	memcpy(lines->line, lines->buffer, n);
	lines->line[n] = 0;
	lines->used -= n + 1;
	memmove(lines->buffer, end + 1, lines->used);
	return lines->line;
}

static bool wait_for(const struct lines *lines, double seconds)
{
	struct pollfd ready = {.fd = lines->fd, .events = POLLIN};
	if (lines->lock)
		pthread_mutex_unlock(lines->lock);
	int n = poll(&ready, 1, seconds > 0 ? (int)(1e3 * seconds) + 1 : 0);
	if (lines->lock)
		pthread_mutex_lock(lines->lock);
	return n > 0;
}

char *lines_next(struct lines *lines, double until, bool *late)
{
	char *line;
	*late = false;
	while (!(line = take(lines))) {
		double left = until - seconds_now();
		if (lines->used == sizeof lines->buffer)
			return NULL;
		if (!wait_for(lines, left)) {
			*late = left <= 0;
			if (*late)
				return NULL;
			continue;
		}
		ssize_t n = read(lines->fd, lines->buffer + lines->used,
		                 sizeof lines->buffer - lines->used);
		if (n == 0 || (n < 0 && errno != EINTR))
			return NULL;
		lines->used += n > 0 ? (size_t)n : 0;
	}
	return line;
}
