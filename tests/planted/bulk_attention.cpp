// C++20.
/* Attention by bulk copies: instances that no table has for the host. Compiled as test_races
 * compiles all kernels. */
#define WATCHED "gqa_attention"
#include "tests/planted/watched.h"

#include "core/variants.h"
#undef DEFINE_VARIANTS_TRACED
#define DEFINE_VARIANTS_TRACED(...)
#include "kernels/gqa_attention.cu"

namespace
{

template <gqa_attention_case K, gqa_attention_config C>
variant instance_of()
{
	static_assert(gqa_attention_legal(K, C, simt::kTarget));
	variant v = {};
	memcpy(v.kase.value, &K, sizeof K);
	memcpy(v.config.value, &C, sizeof C);
	v.entry = KERNEL_ENTRY(gqa_attention<K, C>);
	return v;
}

constexpr gqa_attention_config bulk(int splits, int warps, int unroll, bool early, int stages,
                                    bool prefetch)
{
	return {.splits = splits,
	        .combiners = 1,
	        .poll = 0,
	        .warps = warps,
	        .lanes = 16,
	        .unroll = unroll,
	        .min_blocks = 1,
	        .math = 1,
	        .copy = COPY_BULK,
	        .early = early,
	        .stages = stages,
	        .prefetch = prefetch,
	        .trigger = 0};
}

constexpr gqa_attention_case wide = {128, 1, DTYPE_BF16}, grouped = {64, 7, DTYPE_BF16};

} // namespace

extern "C" const struct variant *bulk_attention(int *n);
const struct variant *bulk_attention(int *n)
{
	static const variant all[] = {
	        instance_of<wide, bulk(2, 1, 1, true, 2, true)>(),
	        instance_of<grouped, bulk(4, 2, 1, true, 3, true)>(),
	        instance_of<grouped, bulk(1, 1, 2, true, 2, false)>(),
	        instance_of<grouped, bulk(2, 2, 1, false, 2, true)>(),
	};
	*n = static_cast<int>(std::size(all));
	return all;
}
