// CUDA C++.
/* Put before a kernel's source: its launches sleep for pseudo-random times behind the point from
 * which the next launch may start, and before they store anything. What does not wait for them
 * then reads what was there before. With WITHOUT_WAIT the kernel does not wait, and does not sleep
 * either, so that it is sure to be too early. */
#include "device/simt.h"

namespace simt
{

/* Up to 2^DELAY_BITS ns, another time in each warp of each launch. */
SIMT_FN void delay()
{
	const unsigned place = (blockIdx.y * gridDim.x + blockIdx.x) * 32 + warp_id();
	__nanosleep(((unsigned)clock_cycles() ^ place * 0x9e3779b9u) * 0x85ebca6bu >>
	            (32 - DELAY_BITS));
}

SIMT_FN void wait_and_delay()
{
	grid_wait();
	delay();
}

SIMT_FN void launch_dependents_and_delay()
{
	grid_launch_dependents();
	delay();
}

SIMT_FN void do_not_wait() {}

} // namespace simt

#ifdef WITHOUT_WAIT
#define grid_wait do_not_wait
#else
#define grid_wait              wait_and_delay
#define grid_launch_dependents launch_dependents_and_delay
#endif
