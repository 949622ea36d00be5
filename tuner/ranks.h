/* The processes of one tune, where mpirun started several, each with a device of its own. The
 * first, rank 0, is the tuner. Each of the others is a relay: it starts and ends a worker process
 * (worker.h) for rank 0 and passes lines between the two. */
#ifndef TUNER_RANKS_H
#define TUNER_RANKS_H

#include <stdbool.h>

#include "core/status.h"

/* Finds the others. A relay stays in here until rank 0 has ended or is lost; then *done is true. */
MUST_CHECK enum status ranks_open(char **argv, bool *done);
/* Before the program ends with this exit code, which it returns. */
int ranks_close(int exit_code);

/* Rank 0 included; 1 when nobody started several. */
int ranks_count(void);
/* A stream to the relay of a rank > 0, which ends when the rank is lost: heartbeats are missing. */
int ranks_link(int rank);
/* Name of its machine; that of rank 0 too. */
const char *ranks_host(int rank);

/* The relay's work, until the stream ends. It reads
 *	!start DEVICE   starts a worker; of GPUs "cuda" is number `local_rank` of this machine
 *	!stop, !kill    ends it, now or when it is done
 * and any other line is the worker's. Back come the worker's lines, and when it has ended
 *	!end WAIT_STATUS */
void relay_run(int link, int local_rank);

#endif
