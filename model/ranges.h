/* NVTX ranges of one domain, "warpsmith": token, layer, operation. Nothing where the header was
 * missing at build. */
#ifndef MODEL_RANGES_H
#define MODEL_RANGES_H

#include <stdint.h>

/* The payload is the position, and of an operation the bytes that its launch must move. */
void range_push(const char *name, uint64_t payload);
void range_pop(void);

#endif
