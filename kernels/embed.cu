// math:   y = row *token of the embedding table, as f32.
// layout: one block; thread i takes chunks of 16 bytes i, i + threads, ...
// bound:  latency: one row.
#include "core/variants.h"
#include "kernels/embed.h"
#include "kernels/vec.h"

template <embed_case K, embed_config C>
__global__ void __launch_bounds__(C.warps *simt::kWarp) embed(const embed_args a)
{
	constexpr int chunk = vec::kChunk<K.w>;
	simt::grid_launch_dependents();
	simt::grid_wait();
	const int token = *a.token;
	const bool known = token >= 0 && token < a.n_rows;
	const vec::planes w = vec::planes_of<K.w>(a.w, a.scale, (size_t)a.n_rows * a.n);

	for (int i = threadIdx.x * chunk; i < a.n; i += C.warps * simt::kWarp * chunk) {
		const size_t element = (size_t)(known ? token : 0) * a.n + i;
		float row[chunk];
		vec::decode<K.w>(simt::load128(vec::at<K.w>(w.quants, element)),
		                 vec::load_trim<K.w>(w, (unsigned)element), element, row);
		if (!known)
			vec::fill(row, simt::bits_to_float(0x7fc00000));
		vec::store<DTYPE_F32>(a.y, i, row);
	}
}

DEFINE_VARIANTS(embed, EMBED)
