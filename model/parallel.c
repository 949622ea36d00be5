#define _POSIX_C_SOURCE 200809L
#include "model/parallel.h"

#include <pthread.h>
#include <unistd.h>

enum { MAX_THREADS = 64 };

struct share {
	void (*body)(void *context, size_t first, size_t last);
	void *context;
	size_t first, last;
};

static void *run_share(void *share)
{
	const struct share *s = share;
	s->body(s->context, s->first, s->last);
	return NULL;
}

void parallel_for(size_t n, void (*body)(void *context, size_t first, size_t last), void *context)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t threads = cores < 1 ? 1 : cores > MAX_THREADS ? MAX_THREADS : (size_t)cores;
	struct share shares[MAX_THREADS];
	pthread_t ids[MAX_THREADS];
	size_t started = 0;
	if (threads > n)
		threads = n;
	for (size_t t = 0; t < threads; t++)
		shares[t] = (struct share){body, context, n * t / threads, n * (t + 1) / threads};
	while (started + 1 < threads &&
	       !pthread_create(&ids[started], NULL, run_share, &shares[started]))
		started++;
	/* What got no thread is done here. */
	for (size_t t = started; t < threads; t++)
		run_share(&shares[t]);
	for (size_t t = 0; t < started; t++)
		pthread_join(ids[t], NULL);
}
