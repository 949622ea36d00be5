#include "tuner/crew.h"

#include <stdio.h>

void crew_open(struct crew *crew)
{
	*crew = (struct crew){.status = STATUS_OK};
	pthread_mutex_init(&crew->lock, NULL);
	pthread_cond_init(&crew->changed, NULL);
	pthread_mutex_lock(&crew->lock);
}

void crew_close(struct crew *crew)
{
	pthread_mutex_unlock(&crew->lock);
	pthread_cond_destroy(&crew->changed);
	pthread_mutex_destroy(&crew->lock);
}

void crew_leave(struct crew *crew)
{
	if (crew)
		pthread_mutex_unlock(&crew->lock);
}

void crew_enter(struct crew *crew)
{
	if (crew)
		pthread_mutex_lock(&crew->lock);
}

void crew_wait(struct crew *crew)
{
	crew->n_idle++;
	pthread_cond_wait(&crew->changed, &crew->lock);
	crew->n_idle--;
}

void crew_changed(struct crew *crew)
{
	pthread_cond_broadcast(&crew->changed);
}

void crew_fail(struct crew *crew, enum status status)
{
	if (crew->status == STATUS_OK) {
		crew->status = status;
		snprintf(crew->message, sizeof crew->message, "%s", fail_message());
	}
	crew_changed(crew);
}

enum status crew_status(const struct crew *crew)
{
	return crew->status == STATUS_OK ? STATUS_OK : fail(crew->status, "%s", crew->message);
}
