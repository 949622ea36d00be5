/* How the host engine runs kernels; for tests. A schedule changes no result of a correct kernel. */
#ifndef DEVICE_HOST_CHECK_H
#define DEVICE_HOST_CHECK_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum schedule { SCHEDULE_FORWARD, SCHEDULE_REVERSE, SCHEDULE_RANDOM };

struct host_check {
	enum schedule schedule; /* order in which the threads of a block take turns */
	unsigned long seed;     /* of SCHEDULE_RANDOM */
	int workers;            /* threads that run blocks; 0: as many as device_open chose */
	/* Collectives must agree, asynchronous copies arrive at the wait, shared memory starts as
	 * NaN, a dependent launch must wait. On by default with 32 lanes. */
	bool checked;
};

struct host_check host_check_get(void);
/* Between launches. */
void host_check_set(struct host_check check);

#ifdef __cplusplus
}
#endif
#endif
