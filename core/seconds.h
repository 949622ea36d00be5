/* The clock of everything on the host; a file of its own so that a test can put another in its
 * place. */
#ifndef CORE_SECONDS_H
#define CORE_SECONDS_H

/* Seconds of the monotonic clock. */
double seconds_now(void);

#endif
