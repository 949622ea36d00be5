// CUDA C++, by NVRTC.
/* A kernel whose blocks stamp themselves around a body that is the kernel's source as it is, see
 * jit_stamped(), which has defined STAMPED(what) as NAME##what and the two numbers of the
 * instance's launch bounds. Behind this `__global__` makes NAME, if that is defined as `unstamped`,
 * the body. */
#include "device/simt.h"
#include "device/stamp.h"

template <STAMPED(_case) K, STAMPED(_config) C>
static __device__ void unstamped(const STAMPED(_args) a);

namespace simt
{

SIMT_FN unsigned long long &ready_ns()
{
	static __shared__ unsigned long long ns;
	return ns;
}

SIMT_FN void wait_and_stamp()
{
	grid_wait();
	if (threadIdx.x == 0)
		ready_ns() = time_ns();
}

} // namespace simt

template <STAMPED(_case) K, STAMPED(_config) C>
__global__ void __launch_bounds__(STAMPED_THREADS, STAMPED_MIN_BLOCKS)
        STAMPED()(const STAMPED(_args) a, struct stamp *stamps)
{
	const unsigned long long begin = threadIdx.x == 0 ? simt::time_ns() : 0;
	unstamped<K, C>(a);
	simt::sync_block();
	if (threadIdx.x == 0)
		stamps[blockIdx.y * gridDim.x + blockIdx.x] = {begin, simt::ready_ns(),
		                                               simt::time_ns()};
}

#undef __global__
#undef __launch_bounds__
#define __global__ static __device__ __forceinline__
#define __launch_bounds__(...)
#define grid_wait wait_and_stamp
