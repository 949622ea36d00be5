#include "model/sizes.h"

#include <string.h>

#include "core/dtype.h"

const struct model_size model_sizes[] = {
        /* name       layers hidden heads kv    ffn   vocab tied */
        {"qwen2.5-0.5b", 24, 896, 14, 2, 4864, 151936, true},
        {"qwen2.5-1.5b", 28, 1536, 12, 2, 8960, 151936, true},
        {"qwen2.5-3b", 36, 2048, 16, 2, 11008, 151936, true},
        {"qwen2.5-7b", 28, 3584, 28, 4, 18944, 152064, false},
        {"qwen2.5-14b", 48, 5120, 40, 8, 13824, 152064, false},
        {"qwen2.5-32b", 64, 5120, 40, 8, 27648, 152064, false},
        {"qwen2.5-72b", 80, 8192, 64, 8, 29568, 152064, false},
        {NULL, 0, 0, 0, 0, 0, 0, false},
};

const struct model_size *model_size_find(const char *name, size_t len)
{
	for (const struct model_size *size = model_sizes; size->name; size++)
		if (strlen(size->name) == len && !memcmp(size->name, name, len))
			return size;
	return NULL;
}

static const struct mixture mixtures[] = {
        {"q4_k_m", DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_Q6_K, DTYPE_Q5_K},
        {"q5_k_m", DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_Q6_K, DTYPE_Q5_K},
};

bool mixture_find(const char *name, struct mixture *mixture)
{
	for (size_t i = 0; i < sizeof mixtures / sizeof *mixtures; i++)
		if (!strcmp(mixtures[i].name, name)) {
			*mixture = mixtures[i];
			return true;
		}
	int dtype = dtype_parse(name);
	if (!dtype_is_real(dtype))
		return false;
	*mixture = (struct mixture){dtype_name(dtype), dtype, dtype, dtype, dtype};
	return true;
}

/* The first and the last eighth of the layers and every third between (use_more_bits() in
 * llama.cpp's llama-quant.cpp, which the other rules follow too). */
static bool has_more_bits(int layer, int n_layers)
{
	int eighth = n_layers / 8;
	return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
}

/* In place of a type whose block does not divide the rows. */
static int fallback(int dtype, size_t cols)
{
	static const int smaller[][2] = {
	        {DTYPE_Q4_K, DTYPE_Q5_0}, {DTYPE_Q5_K, DTYPE_Q5_1}, {DTYPE_Q6_K, DTYPE_Q8_0}};
	if (cols % (size_t)dtype_block(dtype) == 0)
		return dtype;
	for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++)
		if (smaller[i][0] == dtype)
			return fallback(smaller[i][1], cols);
	return DTYPE_F16;
}

int mixture_dtype(const struct mixture *m, enum mixture_part part, int layer, int n_layers,
                  size_t cols)
{
	int dtype = m->base;
	if (part == MIX_HEAD)
		dtype = m->head;
	else if ((part == MIX_VALUE || part == MIX_DOWN) && has_more_bits(layer, n_layers))
		dtype = m->more;
	else if (part == MIX_VALUE && n_layers == 80)
		dtype = m->deep_value;
	return fallback(dtype, cols);
}
