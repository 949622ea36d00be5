#include "model/arch.h"

#include <math.h>
#include <string.h>

static const struct arch *const archs[] = {&qwen2};

const struct arch *arch_find(struct gguf_string name)
{
	for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
		if (strlen(archs[i]->name) == name.len &&
		    !memcmp(archs[i]->name, name.data, name.len))
			return archs[i];
	return NULL;
}

int hparams_extent(const struct hparams *h, enum extent extent)
{
	const int sizes[] = {
	        [EXTENT_ONE] = 1,
	        [EXTENT_HIDDEN] = h->hidden,
	        [EXTENT_Q] = h->heads * h->head_dim,
	        [EXTENT_KV] = h->kv_heads * h->head_dim,
	        [EXTENT_FFN] = h->ffn,
	        [EXTENT_VOCAB] = h->vocab,
	};
	return sizes[extent];
}

enum status hparams_check(const struct hparams *h, const char *where)
{
	if (h->heads % h->kv_heads)
		return fail(STATUS_FAILED, "%s: %d query heads do not divide by %d key/value heads",
		            where, h->heads, h->kv_heads);
	if (h->head_dim % 8 || h->head_dim < 8 || h->head_dim > 256)
		return fail(
		        STATUS_UNSUPPORTED,
		        "%s: heads of %d elements are not supported, multiples of 8 up to 256 are",
		        where, h->head_dim);
	if (h->hidden % 8)
		return fail(STATUS_UNSUPPORTED,
		            "%s: an embedding length of %d is not supported, multiples of 8 are",
		            where, h->hidden);
	if (!(h->eps > 0) || !isfinite(h->eps) || !(h->rope_base > 1) || !isfinite(h->rope_base))
		return fail(STATUS_FAILED, "%s: RMS epsilon %g or RoPE base %g out of range", where,
		            h->eps, h->rope_base);
	return STATUS_OK;
}
