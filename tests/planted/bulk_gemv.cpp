// C++20.
/* Products whose weights come in bulk, some of clusters: instances that no table has for the host.
 * Compiled as test_races compiles all kernels. */
#define WATCHED "gemv"
#include "tests/planted/watched.h"

#include "core/variants.h"
#undef DEFINE_VARIANTS
#define DEFINE_VARIANTS(...)
#include "kernels/gemv.cu"

namespace
{

template <gemv_case K, gemv_config C>
variant instance_of()
{
	static_assert(gemv_legal(K, C, simt::kTarget));
	variant v = {};
	memcpy(v.kase.value, &K, sizeof K);
	memcpy(v.config.value, &C, sizeof C);
	v.entry = KERNEL_ENTRY(gemv<K, C>);
	return v;
}

constexpr gemv_config bulk(int math, int lanes, int slices, int unroll, int held, int copy,
                           int cluster)
{
	return {.math = math,
	        .rows = 2,
	        .lanes = lanes,
	        .slices = slices,
	        .tiles = 2,
	        .unroll = unroll,
	        .held = held,
	        .copy = copy,
	        .cluster = cluster,
	        .blocks = 1,
	        .min_blocks = 1,
	        .trigger = 1,
	        .early = 1,
	        .ahead = 0,
	        .ahead_mb = 4};
}

} // namespace

/* Of each case of a decode step one; rows of whose scales do not begin at multiples of 16 bytes. */
extern "C" const struct variant *bulk_gemv(int *n);
const struct variant *bulk_gemv(int *n)
{
	static const variant all[] = {
	        instance_of<gemv_case{DTYPE_Q8_0, DTYPE_F32, 0, EPILOGUE_RESIDUAL},
	                    bulk(GEMV_INT, 16, 1, 4, 0, 2, 2)>(),
	        instance_of<gemv_case{DTYPE_Q8_0, DTYPE_F32, 1, EPILOGUE_SWIGLU},
	                    bulk(GEMV_INT, 32, 2, 2, 1, 3, 4)>(),
	        instance_of<gemv_case{DTYPE_Q8_0, DTYPE_F32, 1, EPILOGUE_QKV},
	                    bulk(GEMV_FMA, 8, 1, 8, 0, 2, 1)>(),
	        instance_of<gemv_case{DTYPE_Q8_0, DTYPE_F32, 1, EPILOGUE_ARGMAX},
	                    bulk(GEMV_FMA, 32, 1, 2, 1, 4, 1)>(),
	};
	*n = static_cast<int>(std::size(all));
	return all;
}
