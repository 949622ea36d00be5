#include "model/sizes.h"

#include <string.h>

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
