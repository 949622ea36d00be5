// Faults of a kernel, as C++: what a configuration must not do, one of each kind.
#ifndef TESTS_PLANTED_TUNER_FAULTS_H
#define TESTS_PLANTED_TUNER_FAULTS_H

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <unistd.h>

#include "device/simt.h"
#include "kernels/gemv.h"

/* Configurations of the host's subset (kernels/subsets.h) that are not the default. */
#if SIMT_WARP == 1
#define PLANTED_1 (C.rows == 1 && C.tiles == 1)
#define PLANTED_2 (C.rows == 1 && C.tiles == 4)
#define PLANTED_3 (C.rows == 2 && C.tiles == 1)
#define PLANTED_4 (C.rows == 4 && C.tiles == 1)
#else
#define PLANTED(l, s) (C.math == 0 && C.rows == 4 && C.blocks == 4 && C.lanes == l && C.slices == s)
#define PLANTED_1     PLANTED(8, 1)
#define PLANTED_2     PLANTED(8, 7)
#define PLANTED_3     PLANTED(32, 1)
#define PLANTED_4     PLANTED(32, 7)
#endif

inline void planted_delay(std::chrono::microseconds time)
{
	const auto until = std::chrono::steady_clock::now() + time;
	while (std::chrono::steady_clock::now() < until)
		;
}

/* Delays the first block: the one configuration by much, unless its weights are those of the launch
 * before; the others by less. */
template <bool WARM_WINS>
void planted_cache(const gemv_args &a)
{
	static std::atomic<const void *> last;
	const bool warm = last.exchange(a.w) == a.w;
	if (!WARM_WINS)
		planted_delay(std::chrono::microseconds(2000));
	else if (!warm)
		planted_delay(std::chrono::microseconds(6000));
}

template <gemv_case K, gemv_config C>
void planted_fault(gemv_args &a)
{
	if (K.epilogue == EPILOGUE_NONE) {
		if (PLANTED_1)
			abort();
		if (PLANTED_2 && a.m == 64)
			for (volatile bool endless = true; endless;)
				sleep(1); // a hang need not keep processors busy
		if (PLANTED_3)
			a.w = static_cast<const char *>(a.w) + 16;
		if (PLANTED_4)
			static_cast<float *>(a.y)[a.m] = 1;
	}
	/* wrong for some shapes alone */
	if (K.epilogue == EPILOGUE_RESIDUAL && PLANTED_1 && a.m % 96 == 0)
		a.w = static_cast<const char *>(a.w) + 16;
	if (K.epilogue == EPILOGUE_BIAS && a.m >= 896 && blockIdx.x == 0 && threadIdx.x == 0)
		planted_cache<PLANTED_1>(a);
}

#endif
