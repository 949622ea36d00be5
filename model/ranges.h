/* NVTX ranges of one domain, "warpsmith": token, layer, operation. Nothing where the header was
 * missing at build. */
#ifndef MODEL_RANGES_H
#define MODEL_RANGES_H

#include <stdint.h>

/* The payload is the position. */
void range_push(const char *name, uint64_t position);
void range_pop(void);

#endif
