/* Several workers at one tune: a thread for each, of which one at a time runs and the others wait
 * for their devices. Whoever runs holds the crew's lock, so nothing else needs one. */
#ifndef TUNER_CREW_H
#define TUNER_CREW_H

#include <pthread.h>

#include "core/status.h"

struct crew {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* something that an idle worker may wait for */
	int n_idle, n_helping;  /* workers that wait, and that work for others */
	enum status status;     /* of the first that failed, which ends the work of all */
	char message[1024];
};

/* The caller then holds the lock, until crew_close(). */
void crew_open(struct crew *crew);
void crew_close(struct crew *crew);
/* Around work that touches nothing of the others; `crew` may be NULL. */
void crew_leave(struct crew *crew);
void crew_enter(struct crew *crew);
/* Lets others run until something has changed. */
void crew_wait(struct crew *crew);
void crew_changed(struct crew *crew);
/* Notes the caller's failure. */
void crew_fail(struct crew *crew, enum status status);
/* That failure, as the caller's own. */
MUST_CHECK enum status crew_status(const struct crew *crew);

#endif
