#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/gguf.h"
#include "tests/fuzz/fuzz.h"

/* Each key by each getter: one fits or none does, and what a fitting one returns lies in the file.
 */
static size_t read_pair(const struct gguf *g, const char *key)
{
	uint64_t u64 = 0;
	float f32 = 0;
	bool yes = false;
	struct gguf_string string = {0}, *strings = NULL;
	int32_t *integers = NULL;
	float *floats = NULL;
	size_t n = 0, sum = 0;
	sum += gguf_u64(g, GGUF_REQUIRED, key, 0, UINT64_MAX, &u64) == STATUS_OK;
	sum += gguf_f32(g, GGUF_REQUIRED, key, 0, 1, &f32) == STATUS_OK;
	sum += gguf_bool(g, GGUF_REQUIRED, key, &yes) == STATUS_OK;
	if (gguf_string(g, GGUF_REQUIRED, key, &string) == STATUS_OK && string.len)
		sum += (uint8_t)string.data[string.len - 1];
	if (gguf_strings(g, GGUF_REQUIRED, key, &strings, &n) == STATUS_OK)
		for (size_t i = 0; i < n; i++)
			sum += strings[i].len ? (uint8_t)strings[i].data[strings[i].len - 1] : 0;
	sum += gguf_i32s(g, GGUF_REQUIRED, key, &integers, &n) == STATUS_OK;
	sum += gguf_f32s(g, GGUF_REQUIRED, key, &floats, &n) == STATUS_OK;
	free(strings);
	free(integers);
	free(floats);
	return sum;
}

static size_t read_tensor(const struct gguf *g, const struct gguf_tensor *t)
{
	const struct gguf_tensor *found;
	size_t sum = 0;
	if (gguf_matrix(g, GGUF_REQUIRED, t->name, t->dims[0], t->dims[1], &found) != STATUS_OK)
		return 0;
	for (size_t i = 0; i < found->bytes; i += 512)
		sum += ((const uint8_t *)found->data)[i];
	return sum + ((const uint8_t *)found->data)[found->bytes - 1];
}

int gguf_fuzz(const uint8_t *data, size_t n)
{
	struct gguf g;
	char path[FUZZ_PATH], key[256];
	const int file = fuzz_file(data, n, path);
	if (gguf_open(path, &g) == STATUS_OK) {
		for (size_t i = 0; i < g.n_pairs; i++) {
			snprintf(key, sizeof key, "%.*s", (int)g.pairs[i].key.len,
			         g.pairs[i].key.data);
			fuzz_use(read_pair(&g, key));
		}
		for (size_t i = 0; i < g.n_tensors; i++)
			fuzz_use(read_tensor(&g, &g.tensors[i]));
		gguf_close(&g);
	} else {
		fuzz_message(path);
	}
	close(file);
	return 0;
}
