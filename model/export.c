#include "model/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/progress.h"
#include "model/gguf_write.h"
#include "model/parallel.h"
#include "model/tokenizer.h"

enum {
	BYTES = 256,
	LETTERS = 26,
	/* Of Qwen2.5: bytes and merged tokens, with the special ones behind them. */
	REGULAR = 151643,
	TOKEN_TEXT = 32, /* holds any token's text */
};
#define CHUNK_BYTES          ((size_t)32 << 20)
#define QUANTISATION_VERSION 2 /* of ggml's blocks */

static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
enum { END_OF_TEXT, IM_START, IM_END, N_SPECIALS };

/* Ids: bytes, words, specials, padding. */
static int count_regular(int vocab)
{
	return vocab - N_SPECIALS < REGULAR ? vocab - N_SPECIALS : REGULAR;
}

/* aa ... zz, aaa ... zzz, aaaa ...; returns the length. */
static int word_text(int i, char text[TOKEN_TEXT])
{
	int length = 2, n = LETTERS * LETTERS;
	for (; i >= n; length++, n *= LETTERS)
		i -= n;
	text[length] = 0;
	for (int at = length - 1; at >= 0; at--, i /= LETTERS)
		text[at] = (char)('a' + i % LETTERS);
	return length;
}

static enum token_type token_text(int id, int vocab, char text[TOKEN_TEXT])
{
	int special = id - count_regular(vocab);
	if (id < BYTES) {
		utf8proc_ssize_t n = utf8proc_encode_char(tokenizer_byte_code(id), (uint8_t *)text);
		text[n] = 0;
	} else if (special < 0) {
		word_text(id - BYTES, text);
	} else if (special < N_SPECIALS) {
		snprintf(text, TOKEN_TEXT, "%s", specials[special]);
		return TOKEN_CONTROL;
	} else {
		snprintf(text, TOKEN_TEXT, "[PAD%d]", id);
		return TOKEN_UNUSED;
	}
	return TOKEN_NORMAL;
}

static void put_vocabulary(struct gguf_writer *w, int vocab)
{
	char text[TOKEN_TEXT], merge[TOKEN_TEXT + 1];
	int regular = count_regular(vocab);
	gguf_put_string(w, "tokenizer.ggml.model", "gpt2");
	gguf_put_string(w, "tokenizer.ggml.pre", "qwen2");
	gguf_put_array(w, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)vocab);
	for (int i = 0; i < vocab; i++) {
		token_text(i, vocab, text);
		gguf_put_element_string(w, text);
	}
	gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)vocab);
	for (int i = 0; i < vocab; i++)
		gguf_put_element_i32(w, (int32_t)token_text(i, vocab, text));
	gguf_put_array(w, "tokenizer.ggml.merges", GGUF_STRING, (uint64_t)(regular - BYTES));
	for (int i = 0; i < regular - BYTES; i++) {
		int half = (word_text(i, text) + 1) / 2;
		snprintf(merge, sizeof merge, "%.*s %s", half, text, text + half);
		gguf_put_element_string(w, merge);
	}
	gguf_put_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)(regular + IM_END));
	gguf_put_u32(w, "tokenizer.ggml.padding_token_id", (uint32_t)(regular + END_OF_TEXT));
	gguf_put_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)(regular + END_OF_TEXT));
	gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
}

static void put_keys(struct gguf_writer *w, const struct model *m)
{
	uint32_t type;
	gguf_put_string(w, "general.architecture", m->arch->name);
	gguf_put_string(w, "general.type", "model");
	gguf_put_string(w, "general.name", m->hparams.name);
	m->arch->write(&m->hparams, w);
	if (model_file_type(m->types, &type))
		gguf_put_u32(w, "general.file_type", type);
	gguf_put_u32(w, "general.quantization_version", QUANTISATION_VERSION);
	put_vocabulary(w, m->hparams.vocab);
}

struct exporter {
	struct gguf_writer file;
	struct progress progress;
	double bytes, written; /* of weights */
	uint8_t *buffer;
};

static enum status describe(void *context, const struct tensor *t)
{
	struct exporter *e = context;
	gguf_put_tensor(&e->file, t->name, t->dtype, t->cols, t->rows);
	e->bytes += (double)(t->rows * tensor_row_bytes(t));
	return STATUS_OK;
}

/* Rows [first, ...) of a tensor, one behind the other. */
struct rows_job {
	const struct tensor *tensor;
	size_t first;
	uint8_t *to;
};

static void make_rows(void *context, size_t first, size_t last)
{
	const struct rows_job *job = context;
	tensor_rows(job->tensor, job->first + first, last - first,
	            job->to + first * tensor_row_bytes(job->tensor));
}

static enum status write_tensor(void *context, const struct tensor *t)
{
	enum status status = STATUS_OK;
	struct exporter *e = context;
	const size_t row = tensor_row_bytes(t), step = CHUNK_BYTES / row;
	gguf_align(&e->file);
	for (size_t first = 0; first < t->rows; first += step) {
		struct rows_job job = {t, first, e->buffer};
		size_t n = t->rows - first < step ? t->rows - first : step;
		parallel_for(n, make_rows, &job);
		TRY(gguf_write_data(&e->file, e->buffer, n * row));
		e->written += (double)(n * row);
		progress_update(&e->progress, e->written, NULL);
	}
done:
	return status;
}

enum status export_gguf(const struct model *m, const char *path, bool quiet)
{
	enum status status;
	char note[64];
	struct exporter e = {0};
	TRY(gguf_create(path, &e.file));
	e.buffer = malloc(CHUNK_BYTES);
	if (!e.buffer)
		TRY(fail(STATUS_NO_MEMORY, "out of host memory"));
	put_keys(&e.file, m);
	TRY(model_each_tensor(m, describe, &e));
	progress_start(&e.progress, "writing weights", e.bytes, quiet);
	TRY(model_each_tensor(m, write_tensor, &e));
	TRY(gguf_commit(&e.file));
	snprintf(note, sizeof note, "%.1f MB", (double)e.file.at / 1e6);
	progress_finish(&e.progress, note);
done:
	gguf_writer_close(&e.file);
	free(e.buffer);
	return status;
}
