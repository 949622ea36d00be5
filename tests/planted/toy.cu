// math:   y = x * factor; one tunable value does not compile, one spills.
// layout: one block.
// bound:  nothing.
#include "core/param.h"
#include "device/simt.h"

struct toy_case {
	int factor;
};

struct toy_config {
	int warps, locals;
};

struct toy_args {
	float *y;
	const float *x;
	int n;
};

template <toy_case K, toy_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) toy(const toy_args a)
{
	static_assert(C.warps != 3, "three warps are planted not to compile");
	SIMT_SHARED(float[256], part);
	float v[C.locals];
	simt::grid_wait();
	for (int i = 0; i < C.locals; i++)
		v[i] = a.x[(i * 1024 + (int)threadIdx.x) % a.n];
	part[threadIdx.x % 256] = v[0];
	simt::sync_block();
#pragma unroll 1
	for (int round = 0; round < a.n; round += 1 << 20)
		for (int i = 0; i < C.locals; i++)
			v[i] = simt::fma(v[i], v[(i + 7) % C.locals], part[i]);
	for (int i = (int)threadIdx.x; i < a.n; i += C.warps * simt::kWarp)
		a.y[i] = a.x[i] * K.factor;
	for (int i = 1; i < C.locals; i++)
		a.y[a.n + i * 1024 + (int)threadIdx.x] = v[i];
}
