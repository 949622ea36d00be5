#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "model/tokenizer.h"
#include "tests/fuzz/fuzz.h"

/* Looks at every row, so that one outside the file is noticed. */
static enum status touch(void *sum, const struct tensor *t)
{
	float *row = malloc(t->cols * sizeof *row);
	if (!row)
		return fail(STATUS_NO_MEMORY, "no memory for a row of '%s'", t->name);
	for (size_t r = 0; r < t->rows; r++) {
		tensor_rows_f32(t, r, 1, row);
		*(float *)sum += row[t->cols - 1];
	}
	free(row);
	return STATUS_OK;
}

static enum status round_trip(const struct tokenizer *t, const char *words)
{
	enum status status;
	int32_t *ids = NULL;
	char *text = NULL;
	size_t n, len;
	TRY(tokenizer_encode(t, words, strlen(words), &ids, &n));
	TRY(tokenizer_decode(t, ids, n, &text, &len));
done:
	free(text);
	free(ids);
	return status;
}

/* First with words that the small vocabulary of the corpus has. */
static enum status use_tokenizer(const struct gguf *g)
{
	enum status status;
	struct tokenizer t = {0};
	TRY(tokenizer_open(g, &t));
	TRY(round_trip(&t, "the\nbeat the<|im_end|>"));
	TRY(round_trip(&t, "the thing is in \xff caf\u00e9<|im_end|>\n"));
done:
	tokenizer_close(&t);
	return status;
}

enum status load_model(const char *path)
{
	enum status status;
	struct model model = {0};
	float sum = 0;
	TRY(model_open(path, &model));
	TRY(model_each_tensor(&model, touch, &sum));
	TRY(use_tokenizer(&model.file));
done:
	model_close(&model);
	return status;
}

int model_fuzz(const uint8_t *data, size_t n)
{
	char path[FUZZ_PATH];
	const int file = fuzz_file(data, n, path);
	if (load_model(path) != STATUS_OK)
		fuzz_message(path);
	close(file);
	return 0;
}
