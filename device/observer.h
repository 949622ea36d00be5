// C++20.
/* Events of the host engine, for the race detector. While there is an observer, one worker runs
 * all blocks. */
#ifndef DEVICE_OBSERVER_H
#define DEVICE_OBSERVER_H

#include "device/simt_host.h"

namespace simt
{

struct observer {
	void (*boundary)(); /* see engine_boundary() */
	void (*launch)(bool dependent, unsigned cluster);
	/* Of the blocks of that rank: what is private to the engine, and what they share. */
	void (*memory)(unsigned rank, const char *engine_begin, const char *engine_end,
	               const char *shared_begin, const char *shared_end);
	void (*block_begin)(unsigned rank, unsigned number);
	void (*block_end)(unsigned rank); /* in a cluster */
	void (*sync_block)(unsigned rank);
	void (*sync_cluster)();
	void (*sync_warp)(const warp *w);
	void (*grid_wait)(const lane *l);
	/* 16 bytes, at issue and, but for bulk copies, at arrival; from null, zeros. */
	void (*copy)(const void *to, const void *from, const void *pc);
	/* Whether nobody can still be writing these 16 bytes. */
	bool (*settled)(const void *from);
	void (*release)(const unsigned *counter);
	void (*acquire)(const unsigned *counter);
};

void observe(const observer *o); /* null: nobody */

} // namespace simt

#endif
