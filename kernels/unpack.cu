// math:   y = w, or the rows of w that a list names, decoded from any dtype.
// layout: a block per row; thread i takes chunks of 16 bytes of quants i, i + threads, ...
// bound:  memory: w is read once, y written once.
#include "core/variants.h"
#include "kernels/vec.h"
#include "kernels/unpack.h"

template <unpack_case K, unpack_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) unpack(const unpack_args a)
{
	constexpr int chunk = vec::kChunk<K.w>;
	simt::grid_launch_dependents();
	simt::grid_wait();
	const int row = K.gather ? a.tokens[blockIdx.x] : (int)blockIdx.x;
	const vec::planes w = vec::planes_of<K.w>(a.w, a.scale, (size_t)a.n_rows * a.k);

	for (int i = threadIdx.x * chunk; i < a.k; i += C.warps * simt::kWarp * chunk) {
		const size_t element = (size_t)row * a.k + i;
		float value[chunk];
		vec::decode<K.w>(simt::load128(vec::at<K.w>(w.quants, element)),
		                 vec::load_trim<K.w>(w, (unsigned)element), element, value);
		vec::store<K.y>(a.y, (size_t)blockIdx.x * a.k + i, value);
	}
}

DEFINE_DEFAULTS(unpack, UNPACK)
